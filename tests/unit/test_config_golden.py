"""Every kind of mistake in a file has one message, to the character.

`UPDATE_GOLDEN=1` writes what the messages are now; read the difference before it is committed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskrun import config
from taskrun.model import ProjectError

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "config"
FILES = sorted(GOLDEN.glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_mistake_has_its_message(path: Path):
    with pytest.raises(ProjectError) as caught:
        config.load_text(path.read_text(encoding="utf-8"))
    shown = config.render(caught.value.diagnostics)
    golden = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


def test_every_message_belongs_to_a_file():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {path.stem for path in FILES}
