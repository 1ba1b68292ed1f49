"""A temporary project with the real command line in it: a test writes files, runs `taskrun`, says what it expects.

Whatever is started here is bounded in time, carries a mark in its environment, and is dead when the test ends. A
process that had to be killed for that is a failure of the test.

    project.tasks('''
        [tasks.hello]
        shell = "echo hello"
    ''')
    project.taskrun("run", "hello").succeeds().prints_exactly("hello\n")

    with project.terminal("run", "hello") as terminal:
        terminal.expect("hello")
        terminal.press(CTRL_C)
        terminal.finish().dies_of(signal.SIGINT)
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING, Self

import pytest
from support.commands import PATIENCE, POLL, Finished, Running, Terminal, dedent

import taskrun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_MARK = "TASKRUN_TEST_MARK"
_marks: set[str] = set()  # of all projects that this process has made
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(taskrun.__file__)))


class ProjectDir:
    """A folder with a `tasks.toml`, and the ways to run taskrun in it.

    Attributes:
        path: The project's folder.
        env: The whole environment of what is run; change it as the test needs. Of the tester's own only PATH is in it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "project"
        self.path.mkdir(parents=True)
        self._aside = folder / "aside"  # captured output, the home folder, the `taskrun` and `python` of shells
        home, programs, scratch = (self._aside / name for name in ("home", "bin", "tmp"))
        for each in (home, programs, scratch):
            each.mkdir(parents=True)
        self.command = (sys.executable, "-m", "taskrun")
        for name, command in (("taskrun", self.command), ("python", (sys.executable,))):
            shim = programs / name
            shim.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            shim.chmod(0o755)
        self._mark = secrets.token_hex(8)
        _marks.add(self._mark)
        self._running: list[Running | Terminal] = []
        self.env = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(scratch),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": _PACKAGE_ROOT,
            "PYTHONDONTWRITEBYTECODE": "1",
            _MARK: self._mark,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        self.close(expect_clean=kind is None)

    # --- files --------------------------------------------------------------------------------------------------------

    def write(self, name: str, text: str | bytes) -> Path:
        """Writes a file, with the folders above it; of text a common indentation is taken off."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    def tasks(self, toml: str) -> Self:
        """Writes `tasks.toml`."""
        self.write("tasks.toml", toml)
        return self

    def read(self, name: str) -> str:
        """A file's text."""
        return (self.path / name).read_text()

    # --- commands -----------------------------------------------------------------------------------------------------

    def taskrun(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        cwd: str = ".",
        timeout: float = PATIENCE,
    ) -> Finished:
        """Runs the command line to its end; stdout and stderr are no terminals, stdin is empty."""
        return self.start(*arguments, env=env, stdin=stdin, cwd=cwd).finish(timeout=timeout)

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | int | None = None,
        stdout: int | None = None,
        cwd: str = ".",
    ) -> Running:
        """Starts the command line in the background."""
        return self._start((*self.command, *arguments), env=env, stdin=stdin, stdout=stdout, cwd=cwd)

    def launch(self, *argv: str, env: Mapping[str, str] | None = None, cwd: str = ".") -> Running:
        """Starts another command in the background: a shell, `nohup`, `unshare`."""
        return self._start(argv, env=env, stdin=None, stdout=None, cwd=cwd)

    def sh(
        self, script: str, *, env: Mapping[str, str] | None = None, cwd: str = ".", timeout: float = PATIENCE
    ) -> Finished:
        """Runs a bash script in which `taskrun` is the one under test; a pipe fails where any part of it does."""
        argv = ("bash", "-o", "pipefail", "-c", script)
        return self._start(argv, env=env, stdin=None, stdout=None, cwd=cwd).finish(timeout=timeout)

    def terminal(
        self,
        *arguments: str,
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str = ".",
        rows: int = 24,
        columns: int = 100,
    ) -> Terminal:
        """Starts the command line, or another ``argv`` (an interactive shell for job control), in a terminal."""
        terminal = Terminal(
            argv or (*self.command, *arguments),
            cwd=str(self.path / cwd),
            env={**self.env, **(env or {})},
            rows=rows,
            columns=columns,
        )
        self._running.append(terminal)
        return terminal

    # --- the end ------------------------------------------------------------------------------------------------------

    def ended_early(self) -> Finished | None:
        """The command that was started last, if it has ended, for those who wait for something that it should do."""
        last = self._running[-1] if self._running else None
        return None if last is None or last.process.poll() is None else last.finish()

    @property
    def started(self) -> tuple[Running | Terminal, ...]:
        """All commands that were started here, in order."""
        return tuple(self._running)

    def left_behind(self) -> list[str]:
        """The processes that were started here and still live, as ``pid command``; found by their environment."""
        return [f"{pid} {command_line(pid)}" for pid in _marked(self._mark)]

    def expect_nothing_left(self, *, within: float = 10.0) -> Self:
        """Nothing that was started here lives on. Processes that clear their environment need ``pids_of``."""
        deadline = time.monotonic() + within
        while self.left_behind():
            assert time.monotonic() < deadline, f"left behind: {self.left_behind()}"
            time.sleep(POLL)
        return self

    def expect_only(self, pid: int, *, within: float = 10.0) -> Self:
        """Of all that was started here nothing lives on but this process."""
        deadline = time.monotonic() + within
        while (left := _marked(self._mark)) != [pid]:
            assert time.monotonic() < deadline, f"left behind: {left}, not only {pid}"
            time.sleep(POLL)
        return self

    def close(self, *, expect_clean: bool = True) -> None:
        """Ends what still runs, by force; raises AssertionError for what a command had left behind when it ended."""
        for each in self._running:
            each.close() if isinstance(each, Terminal) else each.kill()
        try:
            if expect_clean:
                self.expect_nothing_left()
        finally:
            for pid in _marked(self._mark):
                _signal_quietly(pid, signal.SIGKILL)

    def _start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None,
        stdin: bytes | int | None,
        stdout: int | None,
        cwd: str,
    ) -> Running:
        running = Running(
            argv,
            cwd=str(self.path / cwd),
            env={**self.env, **(env or {})},
            folder=self._aside,
            stdin=stdin,
            stdout=stdout,
        )
        self._running.append(running)
        return running


@pytest.fixture
def project(tmp_path: Path) -> Iterator[ProjectDir]:
    """An empty project; the test fails where something that it started is left."""
    with ProjectDir(tmp_path) as it:
        yield it


def pids_of(text: str) -> list[int]:
    """Live processes with this text in their command line, such as a number of seconds that nobody else sleeps.

    But for those that tests of another process have started: the same suite may run beside this one.
    """
    return [pid for pid in _all_pids() if text in command_line(pid) and not _is_strange(pid)]


def _is_strange(pid: int) -> bool:
    mark = re.search(rf"{_MARK}=(\w+)".encode(), _read_proc(pid, "environ"))
    return mark is not None and mark[1].decode() not in _marks


def command_line(pid: int) -> str:
    """A process's arguments, joined; empty for a zombie, a kernel thread and one that is gone."""
    return _read_proc(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def _marked(mark: str) -> list[int]:
    wanted = f"{_MARK}={mark}".encode()
    return [pid for pid in _all_pids() if wanted in _read_proc(pid, "environ")]


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc") else []


def _read_proc(pid: int, what: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:
            return file.read()
    except OSError:  # gone, or another user's
        return b""


def _signal_quietly(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
