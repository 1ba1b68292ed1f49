"""Commands that a test runs: in the background, in a pseudo-terminal, and what can be expected once they have ended.

Every wait has a bound. Nothing here knows taskrun.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CTRL_C, CTRL_Z, CTRL_BACKSLASH, CTRL_S, CTRL_Q, CTRL_D = "\x03", "\x1a", "\x1c", "\x13", "\x11", "\x04"

PATIENCE = 30.0
"""Seconds that anything may take before the test fails; generous, since machines of CI are slow."""

POLL = 0.02  # seconds between two looks at a file or at /proc

# Makes descriptor 0 the controlling terminal of the new session, then becomes the program.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_78=>])")


class Finished:
    """A command that has ended, and what can be expected of it. Each expectation returns the object again.

    Attributes:
        argv: What was run.
        status: The exit status, negative for the signal that ended it.
        out: Bytes of stdout; of a terminal all that it showed.
        err: Bytes of stderr; empty for a terminal.
    """

    def __init__(self, argv: Sequence[str], status: int, out: bytes, err: bytes) -> None:
        self.argv, self.status, self.out, self.err = tuple(argv), status, out, err
        self.stdout, self.stderr = out.decode(errors="replace"), err.decode(errors="replace")

    def __repr__(self) -> str:
        return (
            f"$ {shlex.join(self.argv)}\n-> {self.status}\n"
            f"--- stdout ---\n{self.stdout}\n--- stderr ---\n{self.stderr}\n---"
        )

    def exits(self, status: int) -> Self:
        """The exit status is this one."""
        assert self.status == status, f"expected exit status {status}\n{self!r}"
        return self

    def succeeds(self) -> Self:
        """The exit status is 0."""
        return self.exits(0)

    def dies_of(self, number: int) -> Self:
        """The process was ended by this signal, not by an exit status that looks like it."""
        return self.exits(-number)

    def prints(self, *texts: str) -> Self:
        """stdout has each of the texts in it, in this order."""
        _expect_in_order(self.stdout, texts, "stdout", self)
        return self

    def says(self, *texts: str) -> Self:
        """stderr has each of the texts in it, in this order."""
        _expect_in_order(self.stderr, texts, "stderr", self)
        return self

    def shows(self, *texts: str) -> Self:
        """What came on stdout or, after it, stderr has each of the texts in it, in this order; for a terminal or not."""
        _expect_in_order(self.stdout + self.stderr, texts, "stdout or stderr", self)
        return self

    def prints_exactly(self, text: str) -> Self:
        """stdout is this text; a common indentation is taken off, and a newline at its start."""
        assert self.stdout == dedent(text), f"stdout is not\n{dedent(text)}\n{self!r}"
        return self

    def says_exactly(self, text: str) -> Self:
        """stderr is this text; a common indentation is taken off, and a newline at its start."""
        assert self.stderr == dedent(text), f"stderr is not\n{dedent(text)}\n{self!r}"
        return self

    def never_says(self, *texts: str) -> Self:
        """None of the texts is on stdout or stderr."""
        for text in texts:
            assert text not in self.stdout, f"{text!r} is on stdout\n{self!r}"
            assert text not in self.stderr, f"{text!r} is on stderr\n{self!r}"
        return self

    def json(self) -> Any:
        """stdout, read as one JSON value."""
        return json.loads(self.stdout)

    def json_lines(self) -> list[Any]:
        """stdout, read as one JSON value a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]


class Running:
    """A command in the background, in a session of its own, its output in files so that nobody has to read it.

    Attributes:
        left_blocking: When it had ended, its standard streams were still in blocking mode.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        folder: Path,
        stdin: bytes | int | None,
        stdout: int | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.left_blocking = True
        name = secrets.token_hex(4)
        self._out, self._err, self._in = (folder / f"{name}.{kind}" for kind in ("out", "err", "in"))
        if isinstance(stdin, bytes):
            self._in.write_bytes(stdin)
        # Kept open, to see afterwards what was done to them.
        given = (self._in if isinstance(stdin, bytes) else Path(os.devnull)).open("rb")
        out, err = self._out.open("wb"), self._err.open("wb")
        self._streams = (given, out, err)
        self.process = subprocess.Popen(
            self.argv,
            cwd=cwd,
            env=dict(env),
            stdin=stdin if isinstance(stdin, int) else given,
            stdout=out if stdout is None else stdout,
            stderr=err,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Of the command itself."""
        return self.process.pid

    @property
    def stdout(self) -> str:
        """What has come until now."""
        return self._out.read_bytes().decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What has come until now."""
        return self._err.read_bytes().decode(errors="replace")

    def signal(self, number: int) -> Self:
        """Sends a signal to the command alone, as `kill` would."""
        self.process.send_signal(number)
        return self

    def wait_for(self, text: str, *, timeout: float = PATIENCE) -> Self:
        """Waits until the text is on stdout or stderr."""
        deadline = time.monotonic() + timeout
        while text not in self.stdout and text not in self.stderr:
            ended = self.process.poll() is not None
            if ended and (text in self.stdout or text in self.stderr):
                break
            assert not ended, f"ended before it said {text!r}\n{self._so_far()!r}"
            assert time.monotonic() < deadline, f"did not say {text!r} within {timeout} s\n{self._so_far()!r}"
            time.sleep(POLL)
        return self

    def finish(self, *, timeout: float = PATIENCE) -> Finished:
        """Waits for its end."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {timeout} s\n{self._so_far()!r}") from None
        self._let_go()
        return self._so_far()

    def kill(self) -> None:
        """Ends it and its process group by force."""
        _kill_session(self.process)
        self._let_go()

    def _let_go(self) -> None:
        for stream in self._streams:
            self.left_blocking = self.left_blocking and os.get_blocking(stream.fileno())
            stream.close()
        self._streams = ()

    def _so_far(self) -> Finished:
        status = self.process.returncode
        return Finished(self.argv, 999 if status is None else status, self._out.read_bytes(), self._err.read_bytes())


class Terminal:
    """A command in a pseudo-terminal, which is its controlling terminal: keys send real signals.

    Attributes:
        modes_before: The terminal's settings when it was opened.
        modes_after: Its settings when the command had ended and all that it showed was read; ``None`` before that.
    """

    def __init__(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], rows: int = 24, columns: int = 100
    ) -> None:
        self.argv = tuple(argv)
        self._seen = bytearray()
        self._read_to = 0  # how much of the text earlier `expect`s have used up
        self._master, slave = os.openpty()
        try:
            self.resize(rows, columns)
            self.modes_before, self.modes_after = self.settings(), None
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *argv],
                cwd=cwd,
                env={"TERM": "xterm-256color", **env},
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        finally:
            os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the command itself."""
        return self.process.pid

    @property
    def raw(self) -> bytes:
        """All that it has shown, with escape sequences."""
        return bytes(self._seen)

    @property
    def text(self) -> str:
        """All that it has shown, without escape sequences and carriage returns before newlines."""
        return _ESCAPES.sub("", self._seen.decode(errors="replace")).replace("\r\n", "\n")

    def expect(self, pattern: str, *, timeout: float = PATIENCE) -> re.Match[str]:
        """Waits until the regular expression matches after the last match, and returns the match."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.text
            found = re.compile(pattern).search(text, self._read_to)
            if found:
                self._read_to = found.end()
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} was not shown within {timeout} s; shown was\n{text}"
            assert self._read(left), f"ended without showing {pattern!r}; shown was\n{text}"

    def press(self, keys: str) -> Self:
        """Types; control characters act as in any terminal."""
        data = keys.encode()
        while data:
            data = data[os.write(self._master, data) :]
        return self

    def resize(self, rows: int, columns: int) -> Self:
        """Sets the size; the foreground process group gets SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        return self

    def settings(self) -> list[Any]:
        """The terminal's modes, to compare them before and after."""
        return termios.tcgetattr(self._master)

    def expect_cursor(self) -> None:
        """The cursor is visible. A key may take a frame's second half away, so what hides it is not just counted."""
        hidden, shown = self.raw.rfind(b"\x1b[?25l"), self.raw.rfind(b"\x1b[?25h")
        assert hidden <= shown, f"the cursor is hidden: {self.raw[max(0, hidden - 100) :]!r}"

    def wait_foreground(self, group: int, *, timeout: float = PATIENCE) -> Self:
        """Waits until the keyboard belongs to a process group, and reads meanwhile, as a terminal does."""
        deadline = time.monotonic() + timeout
        while os.tcgetpgrp(self._master) != group:
            assert time.monotonic() < deadline, f"{group} has not got the terminal; shown was\n{self.text}"
            self._read(POLL)
        return self

    def finish(self, *, timeout: float = PATIENCE) -> Finished:
        """Reads until the command has ended."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.close()
                raise AssertionError(f"did not end within {timeout} s; shown was\n{self.text}")
            self._read(POLL)
        while self._read(0):
            pass
        self.modes_after = self.settings()
        return Finished(self.argv, self.process.returncode, self.text.encode(), b"")

    def leave_unread(self, *, timeout: float = PATIENCE) -> int:
        """Waits for the command's end without reading what it shows; returns its exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.close()
            raise AssertionError(f"did not end within {timeout} s while nobody read") from None

    def hang_up(self) -> Self:
        """Closes the terminal, as a window that is closed does: its processes get SIGHUP, and errors when they write."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
        return self

    def close(self) -> None:
        """Ends it by force and gives the terminal back; twice is harmless."""
        _kill_session(self.process)
        self.hang_up()

    def _read(self, timeout: float) -> bool:
        """Reads what there is, waiting for it at most so long. False: nothing came, or nothing will."""
        if not select.select([self._master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last process has closed the terminal.
            return False
        self._seen += data
        return bool(data)


def dedent(text: str) -> str:
    return textwrap.dedent(text.removeprefix("\n"))


def _expect_in_order(haystack: str, texts: Sequence[str], where: str, finished: Finished) -> None:
    at = 0
    for text in texts:
        found = haystack.find(text, at)
        assert found >= 0, f"{text!r} is not on {where}{' after the text before it' if at else ''}\n{finished!r}"
        at = found + len(text)


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kills a session leader with its process group, and reaps it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has not called setsid yet, or is gone
            process.kill()
        process.wait(PATIENCE)
