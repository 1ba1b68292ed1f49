"""The entry's way of importing: what is mostly unused is executed when somebody looks into it, once, and whole."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from taskrun import __main__ as entry

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

NAME = "mostly_unused_module"


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the module, which notes its executions, and imports as the entry does."""
    runs: list[str] = []
    monkeypatch.setattr(entry, "_MOSTLY_UNUSED", frozenset({NAME}))
    monkeypatch.setattr(sys, "meta_path", [entry._LoadedWhenUsed(), *sys.meta_path])
    monkeypatch.setattr(sys, "taskrun_test_runs", runs, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> tuple[ModuleType, list[str]]:
        (tmp_path / f"{NAME}.py").write_text(f"import sys\nsys.taskrun_test_runs.append(__name__)\n{text}\n")
        importlib.invalidate_caches()
        return importlib.import_module(NAME), runs

    yield write
    sys.modules.pop(NAME, None)


def test_a_module_is_executed_at_the_first_look_and_never_again(plant):
    module, runs = plant("x = 1\ny = 2")
    assert importlib.import_module(NAME) is module
    assert (module.__name__, module.__spec__.name) == (NAME, NAME)
    assert runs == []
    assert (module.x, module.y, runs) == (1, 2, [NAME])


def test_names_may_be_imported_from_it(plant):
    _, runs = plant("x = 1")
    namespace: dict[str, object] = {}
    exec(f"from {NAME} import x", namespace)
    assert (namespace["x"], runs) == (1, [NAME])


def test_a_name_that_it_has_not_is_an_attribute_error_as_ever(plant):
    module, runs = plant("x = 1")
    assert not hasattr(module, "nope")
    with pytest.raises(AttributeError, match=f"module '{NAME}' has no attribute 'nope'"):
        module.nope  # noqa: B018 - the look is what is tested
    assert runs == [NAME]


def test_its_own_getattr_is_kept(plant):
    module, _ = plant("def __getattr__(name):\n    return name.upper()")
    assert module.anything == "ANYTHING"


def test_a_look_from_within_its_own_execution_does_not_go_round_in_circles(plant):
    module, runs = plant(f"import {NAME}\nfound = hasattr({NAME}, 'later')\nlater = 1")
    assert (module.found, module.later, runs) == (False, 1, [NAME])


def test_what_goes_wrong_in_it_is_told_at_the_look_and_tried_again_at_the_next(plant):
    module, runs = plant("if len(sys.taskrun_test_runs) == 1:\n    raise OSError('not now')\nx = 1")
    with pytest.raises(OSError, match="not now"):
        module.x  # noqa: B018 - the look is what is tested
    assert (module.x, runs) == (1, [NAME, NAME])


def test_two_threads_that_look_at_once_see_it_whole(plant):
    module, runs = plant("import time\nx = 1\ntime.sleep(0.05)\ny = 2")
    seen: list[int] = []
    start = threading.Barrier(4)

    def look() -> None:
        start.wait(10)
        seen.append(module.x + module.y)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (seen, runs) == ([3, 3, 3, 3], [NAME])


def test_a_module_that_does_not_exist_is_not_found_as_ever(plant):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(NAME)


def test_other_modules_are_none_of_its_business():
    assert entry._LoadedWhenUsed().find_spec("json") is None


@pytest.mark.parametrize("name", sorted(entry._MOSTLY_UNUSED))
def test_what_is_mostly_unused_exists(name):
    assert importlib.import_module(name)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run"], True),
        (["run", "a", "--", "--help"], True),
        (["run", "--help"], False),
        (["run", "-h"], False),
        (["run", "--dry-run", "a"], False),
        (["list", "run"], False),
        ([], False),
        (["--version"], False),
        (["--", "run"], False),
    ],
)
def test_a_host_is_forked_only_for_what_may_start_processes(words, expected):
    assert entry.needs_host(words) is expected
