"""What a job has to be before it is stored: checked against the file, in this process, without starting anything."""

from __future__ import annotations

import enum
import os
from pathlib import Path

import msgspec
import pytest

from taskrun import config
from taskrun.jobqueue.enqueueing import JobChecker
from taskrun.jobqueue.values import NewJob, NoSuchJob
from taskrun.model import NothingMatched, ProjectError, UsageError
from taskrun.resolve import globs

TASKS = """
[vars]
image = { type = "path", help = "the picture" }
size = { type = "int", default = 320, choices = [320, 640] }
commit = { shell = "exit 1" }
token = { env = "NOT_SET_HERE" }
hosts = { lines = "not-there-yet.txt" }
clips = { glob = "in/*.mov" }

[tasks.thumb]
run = ["convert", "{{ vars.image }}", "{{ vars.size }}"]
aliases = ["t"]

[tasks.report]
run = ["echo", "{{ vars.commit }}", "{{ vars.token }}", "{{ vars.hosts }}", "{{ env.ALSO_NOT_SET }}"]
dotenv = ["not-there-yet.env"]

[tasks.each]
foreach.side = ["left", "right", "a,b"]
foreach.level = [1, 2]
run = ["echo", "{{ side }}", "{{ level }}"]

[tasks.shelled]
foreach.line = { shell = "exit 1" }
run = ["echo", "{{ line }}"]

[tasks.group]
needs = ["report", "each"]

[tasks.ask]
run = ["sh"]
interactive = true

[tasks.asks-first]
needs = ["ask"]
run = ["true"]

[tasks.wrong]
run = ["echo", "{{ vars.nope }}"]

[tasks.call]
python = "m:f"
"""


class Colour(str, enum.Enum):  # noqa: UP042 - of this kind text and value are not the same
    RED = "red"


@pytest.fixture
def checker(tmp_path: Path) -> JobChecker:
    return JobChecker(config.load_text(TASKS, root=str(tmp_path)), {}, str(tmp_path))


class Length(float):
    """As numpy's float64 is one."""


class Count(enum.IntEnum):
    SEVEN = 7


def stored(checker: JobChecker, task: str, args: dict | None = None) -> tuple[str, dict]:
    job = checker.check(NewJob(task=task, args=args or {})).job
    return job.task, job.args


@pytest.mark.parametrize(
    ("task", "args", "kept"),
    [
        ("report", {}, ("report", {})),
        ("t", {"image": "a.png"}, ("thumb", {"image": "a.png"})),
        ("thumb", {"image": "/x/a.png", "size": 640}, ("thumb", {"image": "/x/a.png", "size": 640})),
        ("thumb", {"image": Path("in/a.png"), "size": "640"}, ("thumb", {"image": "in/a.png", "size": "640"})),
        ("each", {}, ("each", {})),
        ("each[side=left]", {}, ("each", {"side": "left"})),
        ("each[side=a,b,level=2]", {}, ("each", {"side": "a,b", "level": "2"})),
        ("each", {"side": "l*", "level": 1}, ("each", {"side": "l*", "level": 1})),
        ("shelled[line=anything]", {}, ("shelled", {"line": "anything"})),
        ("group", {"side": "left"}, ("group", {"side": "left"})),
        ("call", {"width": 3, "exact": True}, ("call", {"width": 3, "exact": True})),
        ("call", {"width": Length(3.5), "height": Count(7)}, ("call", {"width": 3.5, "height": 7})),
        ("call", {"colour": Colour.RED, "width": 0.5}, ("call", {"colour": "red", "width": 0.5})),
    ],
)
def test_what_fits_is_stored_under_the_tasks_own_name(checker, task, args, kept):
    name, given = stored(checker, task, args)
    assert (name, given) == kept
    assert msgspec.json.decode(msgspec.json.encode(given)) == given


@pytest.mark.parametrize(
    ("task", "args", "said"),
    [
        ("thum", {}, "there is no task `thum`; did you mean `thumb`?"),
        ("qqqqqq", {}, "there is no task `qqqqqq` in tasks.toml"),
        ("th*", {}, "`th*` is a pattern: a job is a run of one task"),
        ("thumb", {}, "`image` needs a value: give image=VALUE (the picture)"),
        ("thumb", {"image": "a", "size": "big"}, "`size=big`: must be a whole number"),
        ("thumb", {"image": "a", "size": 5}, "`size=5`: must be one of `320`, `640`"),
        ("thumb", {"image": "a", "sise": 320}, "nothing in this run knows `sise`; did you mean `size`?"),
        ("thumb", {"image": ["a"]}, "`image` is a list: an argument is a text, a number or a boolean"),
        ("thumb", {"image": "a\0b"}, "the value of `image` contains a NUL character"),
        ("thumb", {5: "a"}, "`5` is no name that an argument can have"),
        ("thumb", {"two words": "a"}, "`two words` is no name that an argument can have"),
        ("call", {"width": float("nan")}, "`width` is not a finite number"),
        ("call", {"width": 2**63}, "`width` is a whole number of more than 64 bits"),
        ("thumb[size=320]", {}, "`thumb` has no `foreach`, and so no instance `thumb[size=320]`"),
        ("each[edge=1]", {}, "`each[edge=1]` names no instance of `each`: its keys are `side=...`, `level=...`"),
        ("each[side=left]", {"side": "right"}, "`side` is both right and left"),
        ("ask", {}, "`ask` is interactive, and workers have no terminal"),
        ("asks-first", {}, "`asks-first` needs `ask`, which is interactive, and workers have no terminal"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(checker, task, args, said):
    with pytest.raises(UsageError) as caught:
        stored(checker, task, args)
    assert str(caught.value) == said


def test_a_pick_of_what_is_not_there_matches_nothing(checker):
    with pytest.raises(NothingMatched, match="no instance has `side=lef`: did you mean `left`"):
        stored(checker, "each[side=lef]")


def test_a_mistake_of_the_task_is_told_at_its_place(checker):
    with pytest.raises(ProjectError) as caught:
        stored(checker, "wrong")
    assert caught.value.diagnostics[0].span is not None


def test_paths_are_kept_so_that_they_mean_the_same_beside_the_file(tmp_path):
    project = config.load_text(TASKS, root=str(tmp_path))
    below = JobChecker(project, {}, str(tmp_path / "sub"))
    assert stored(below, "thumb", {"image": "a.png"})[1] == {"image": "sub/a.png"}
    assert stored(below, "thumb", {"image": "../a.png"})[1] == {"image": "a.png"}
    os.makedirs(tmp_path / "sub" / "in")
    (tmp_path / "sub" / "in" / "b.mov").touch()
    shown = config.load_text(TASKS + '\n[tasks.pack]\nrun = ["tar", "{{ vars.clips }}"]\n', root=str(tmp_path))
    assert stored(JobChecker(shown, {}, str(tmp_path / "sub")), "pack", {"clips": "in/*"})[1] == {"clips": "sub/in/*"}
    os.makedirs(tmp_path / "a[1]b")
    (tmp_path / "a[1]b" / "c.mov").touch()
    odd = JobChecker(shown, {}, str(tmp_path / "a[1]b"))
    assert stored(odd, "pack", {"clips": "*.mov"})[1] == {"clips": "a[[]1]b/*.mov"}
    assert [each.text for each in globs.expand("a[[]1]b/*.mov", str(tmp_path))] == ["a[1]b/c.mov"]


def test_a_key_that_is_empty_and_a_job_that_cannot_be_are_refused(checker):
    with pytest.raises(UsageError, match="must not be empty"):
        checker.check(NewJob(task="report", unique=""))
    for wrong in (
        {"priority": 1.5},
        {"unique": 5},
        {"after": "3"},
        {"delay": "1s"},
        {"at": True},
        {"max_attempts": None},
    ):
        with pytest.raises(UsageError, match=f"a job's `{next(iter(wrong))}` must be"):
            checker.check(NewJob(task="report", **wrong))
    for after in (0, -1, 2**63):
        with pytest.raises(NoSuchJob):
            checker.check(NewJob(task="report", after=after))
