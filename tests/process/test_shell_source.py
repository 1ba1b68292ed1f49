"""Command lines that are read for their output: ended, failed, endless, too slow, left running."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.linked import run

from taskrun.execute import shell_source
from taskrun.resolve import ShellFailed

if TYPE_CHECKING:
    from taskrun.link import Link


def read(command: str) -> str:
    """What it answers, or why not."""
    answers: list[str] = []

    async def body(link: Link) -> None:
        try:
            answers.append(await shell_source.read_shell(link, command, dict(os.environ), "/"))
        except ShellFailed as failed:
            answers.append(f"failed: {failed}")

    run(body)
    return answers[0]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("seq 3", "1\n2\n3\n"),
        ("true", ""),
        ("seq 3; exit 3", "failed: exit 3"),
        ("kill -SEGV $$", "failed: killed by SIGSEGV"),
        ("yes", "failed: it wrote more than 16 MiB"),
        ("trap '' TERM; head -c 17000000 /dev/zero; sleep 60", "failed: it wrote more than 16 MiB"),
        ("seq 2; sleep 60 &", "1\n2\n"),
    ],
)
def test_the_answer_is_what_it_printed_or_why_it_failed(command: str, answer: str) -> None:
    assert read(command) == answer


def test_one_that_takes_too_long_is_killed_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_source, "_PATIENCE", 1.0)
    assert read("trap '' TERM; sleep 61.25") == "failed: it took longer than 1 seconds"
    assert subprocess.run(["pgrep", "-f", "sleep 61.2[5]"], capture_output=True, check=False).stdout == b""
