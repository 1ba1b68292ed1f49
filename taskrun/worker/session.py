"""A worker's end of its channel while one call runs: sends what the function says, reads what the runner answers.

Any thread may use it. It never raises because of the channel: a task that has closed it goes on unheard.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from _socket import AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_STREAM
from _socket import socket as Socket  # noqa: N812 - the class, without the 5 ms of `socket`
from _thread import RLock, allocate_lock
from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING

from taskrun.frames import send_fds
from taskrun.worker import framing, wire
from taskrun.worker.stopping import interruption

if TYPE_CHECKING:
    from taskrun.worker.arena import Borrowed

PAUSE = 0.05
"""Seconds between two progress messages, on average; five may come at once."""
_BURST = 4 * PAUSE
_TURN = 0.05  # another thread may have read what this one waits for: look again after so long


class Speaker:
    """What a function may say while it runs, at a bearable pace; how it is sent is the subclass's affair.

    Attributes:
        progress_due: When (monotonic) the next progress may be sent.
        restored: JSON of the latest checkpoint.
    """

    restored: bytes | None = None

    def __init__(self) -> None:
        self.progress_due = 0.0
        self.suppressed: tuple[float, float | None, str] | None = None
        self._status = ""

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Sends a progress message, or keeps it as the latest one where the last was too short a time ago."""
        now = monotonic()
        if now < self.progress_due - _BURST and done != total:
            self.suppressed = done, total, message
            return
        self.progress_due = max(now, self.progress_due) + PAUSE
        self.suppressed = None
        self._check_progress(done, total, message)

    def status(self, text: str) -> None:
        """Sends a status, if it is a new one."""
        if text != self._status:
            self._status = text
            self._say_status(text)

    def flush(self) -> None:
        """Sends the latest progress that was kept back."""
        kept, self.suppressed = self.suppressed, None
        if kept is not None:
            with suppress(TypeError, ValueError):  # never checked, since it was kept back: not worth a task's result
                self._check_progress(*kept)

    def _check_progress(self, done: float, total: float | None, message: str) -> None:
        done = float(done)
        total = None if total is None else float(total)
        if done - done == 0 and (total is None or total - total == 0):  # finite
            self._say_progress(done, total, _text(message))

    def _say_progress(self, done: float, total: float | None, message: str) -> None:
        raise NotImplementedError

    def _say_status(self, text: str) -> None:
        raise NotImplementedError

    def time_left(self) -> float | None:
        """Seconds until the time is over, 0.0 after it; ``None``: no limit."""
        raise NotImplementedError

    def checkpoint(self, value: bytes) -> None:
        """Hands over a checkpoint and waits until it is on disk.

        Raises:
            OSError: It could not be written.
        """
        raise NotImplementedError


class Session(Speaker):
    """One call's conversation with the runner."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._socket = Socket(AF_UNIX, SOCK_STREAM, 0, descriptor)
        self._identity = identity(descriptor)
        self._reader = wire.Reader()
        self._sending = RLock()
        self._in_frame = False
        self._reading = allocate_lock()
        self._calls: list[wire.Call | wire.Serve | wire.ServeTasks] = []
        self._saved: dict[int, str] = {}
        self._checkpoints = 0
        self._deadline: float | None = None
        self.lost = False

    # --- the call -----------------------------------------------------------------------------------------------------

    def receive_call(self) -> wire.Call | wire.Serve | wire.ServeTasks | None:
        """Waits for the call; ``None``: there will be none."""
        while not self._calls and not self.lost:
            self._receive(wait=None)
        return self._calls.pop(0) if self._calls else None

    def start(self, call: wire.Call) -> None:
        """The function is about to be called: tells so, and starts its clock."""
        self._set_clock(call.time_left)
        self.restored = call.restored
        self.send(wire.Started())

    def renew(self) -> None:
        """Another call's turn: what the one before said is forgotten."""
        Speaker.__init__(self)
        self.restored = None
        self._deadline = None
        self._saved.clear()

    def finish(self, answer: wire.Result | wire.Failure) -> bool:
        """Sends what is left of progress and then the answer, the last frame; whether it could be sent."""
        self.flush()
        return self.send(answer)

    # --- what the function says ---------------------------------------------------------------------------------------

    def _say_progress(self, done: float, total: float | None, message: str) -> None:
        self.send(wire.Progress(done=done, total=total, message=message))

    def _say_status(self, text: str) -> None:
        self.send(wire.Status(text=text))

    # --- clock and checkpoints ----------------------------------------------------------------------------------------

    def time_left(self) -> float | None:
        """Seconds until the attempt's time is over, 0.0 after it; ``None``: no limit."""
        self._receive(wait=0.0)
        deadline = self._deadline
        return None if deadline is None else max(0.0, deadline - monotonic())

    def _set_clock(self, time_left: float | None) -> None:
        self._deadline = None if time_left is None else monotonic() + time_left

    def checkpoint(self, value: bytes) -> None:
        """Hands over a checkpoint and waits until it is on disk.

        Raises:
            OSError: It could not be written.
        """
        with self._sending:
            self._checkpoints += 1
            number = self._checkpoints
        self.send(wire.Checkpoint(id=number, value=value))
        while number not in self._saved:
            if self.lost:
                raise OSError("the checkpoint could not be handed over: the channel to the runner is closed")
            self._receive(wait=_TURN, until=number)
        if error := self._saved.pop(number):
            raise OSError(error)
        self.restored = value

    # --- the channel --------------------------------------------------------------------------------------------------

    def send(self, *messages: wire.AnyMessage) -> bool:
        """Sends messages, in one go; ``False``: nobody hears them."""
        return self.send_frame(b"".join(map(wire.encode, messages)))

    def send_frame(self, data: bytes, descriptor: int | None = None) -> bool:
        """Sends one frame whole, with a descriptor if there is one; ``False``: nobody hears it."""
        frame = memoryview(data)
        with interruption, self._sending:  # may be entered anew, by a signal handler of the task's own
            if self._in_frame:
                return False
            self._in_frame = True
            try:
                return self._send_all(frame, descriptor)
            finally:
                self._in_frame = False

    def fileno(self) -> int:
        """The descriptor of the channel, for who waits for it."""
        return self._socket.fileno()

    def receive_bytes(self, most: int, borrowed: Borrowed | None = None) -> bytes:
        """Waits for bytes of frames that are not ``wire``'s; empty: the runner has closed the channel.

        Args:
            most: So many at once.
            borrowed: Takes the descriptors that come along; ``None``: none do.
        """
        try:
            return self._socket.recv(most) if borrowed is None else borrowed.receive(self._socket, most)
        except OSError:
            return b""

    def _send_all(self, frame: memoryview, descriptor: int | None) -> bool:
        if not self._is_ours():
            return False
        while frame:
            try:
                if descriptor is None:
                    frame = frame[self._socket.send(frame, MSG_NOSIGNAL) :]
                else:  # it goes with the first byte
                    frame = frame[send_fds(self._socket, frame, [descriptor]) :]
                    descriptor = None
            except BlockingIOError:  # the task made it non-blocking
                select.select([], [self._socket], [])
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:  # too many descriptors are under way, of all processes
                    sleep(_TURN)
                    continue
                self.lost = True
                return False
        return True

    def _receive(self, *, wait: float | None, until: int | None = None) -> None:
        """Reads what has come; waits at most ``wait`` seconds for something, ``None``: however long it takes."""
        if not self._readable(wait):
            return
        with interruption:
            if not self._reading.acquire(blocking=False):
                return  # another thread is at it, for an instant
            try:
                if until not in self._saved and self._is_ours():
                    self._take(self._socket.recv(65536, MSG_DONTWAIT))
            except BlockingIOError:
                pass
            except (OSError, framing.Garbled):
                self.lost = True
            finally:
                self._reading.release()

    def _readable(self, wait: float | None) -> bool:
        try:
            return bool(select.select([self._socket], [], [], wait)[0])
        except (OSError, ValueError):
            self.lost = True
            return False

    def _take(self, data: bytes) -> None:
        if not data:
            self.lost = True
        for message in self._reader.feed(data):
            match message:
                case wire.ClockUpdate():
                    self._set_clock(message.time_left)
                case wire.CheckpointSaved():
                    self._saved[message.id] = message.error
                case wire.Call() | wire.Serve() | wire.ServeTasks():
                    self._calls.append(message)

    def _is_ours(self) -> bool:
        """Whether the descriptor is still the channel: a task may have closed it, and opened another thing there."""
        if not self.lost and identity(self._socket.fileno()) != self._identity:
            self.lost = True
        return not self.lost


def identity(descriptor: int) -> tuple[int, int]:
    """What a descriptor is open on, to be compared; (-1, -1): nothing."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def _text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()


current: Speaker | None = None
"""The session of this process while it is a worker that runs a call."""


setup = b""
"""What the program hands to each worker of a pool, for handlers of taskrun's own."""


def begin(session: Speaker | None) -> None:
    """Makes ``session`` this process's; ``None``: there is none any more."""
    global current  # noqa: PLW0603 - one per process, as the process has one call
    current = session


def forget_after_fork() -> None:
    """Called in the template: a process that a task forks is no worker, and must not write to its channel."""
    os.register_at_fork(after_in_child=lambda: begin(None))


def complain(text: str) -> None:
    """Says something in the task's own stderr, where nothing else is left to say it."""
    show(f"taskrun: {text}\n")


def show(text: str) -> None:
    """Writes to the task's own stderr, if it still has one."""
    with suppress(OSError, ValueError, AttributeError):
        print(text, end="", file=sys.stderr)  # noqa: T201 - the task's stderr, not ours
