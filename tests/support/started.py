"""Programs that a test starts and talks with, and that are gone when it ends."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def starting(program: str, *, stdin: int) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts a Python file with some words; what is left of all these is killed.

    Args:
        program: The file.
        stdin: What they get, unless the caller has something else for one of them.
    """
    running: list[subprocess.Popen[str]] = []

    def start(*words: Any, stdin: int = stdin) -> subprocess.Popen[str]:
        argv = [sys.executable, program, *map(str, words)]
        process = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
