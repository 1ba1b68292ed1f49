"""A host of the simplest kind, for tests of templates and workers: it starts a template, asks it, and reaps.

The test's own process is the subreaper that the template's forks come to.
"""

from __future__ import annotations

import _socket
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import msgspec
from support.census import state_of, wait_until

from taskrun import frames
from taskrun.worker import wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 30.0  # seconds; nothing here takes one
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PR_SET_CHILD_SUBREAPER = 36


class Refused(Exception):  # noqa: N818 - it is what the template did
    """The template could not make a worker: errno and text."""


class FakeHost:
    """One template over a folder of modules."""

    def __init__(
        self,
        folder: Path,
        *,
        preload: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.folder = str(folder)
        self.log = os.open(f"{folder}/template.log", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.socket = ours
        high = os.dup(theirs.fileno())
        environment = {"PATH": os.environ["PATH"], "HOME": "/", "PADDING": "x" * 200, "PYTHONPATH": ROOT, **(env or {})}
        argv = [sys.executable, *options, "-m", "taskrun.worker", "template"]
        self.pid = os.posix_spawn(sys.executable, argv, environment, file_actions=[(os.POSIX_SPAWN_DUP2, high, 3)])
        os.close(high)
        theirs.close()
        self.reader = frames.FrameReader()
        self.number = 0
        request = {"sys_path": [self.folder], "cwd": self.folder, "preload": list(preload)}
        frames.send_fds(ours, frames.pack(("init", request)), [self.log])
        kind, self.ready = self.receive()
        assert kind == "ready"
        assert self.ready["pid"] == self.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the template; whatever it has left is a mistake."""
        if self.socket.fileno() < 0:
            return
        self.socket.close()
        wait(self.pid)
        self.reader.close()
        os.close(self.log)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def log_text(self) -> str:
        """What the template has written."""
        with open(f"{self.folder}/template.log", encoding="utf-8") as file:
            return file.read()

    def receive(self) -> Any:
        """The next frame."""
        while True:
            ready, _, _ = select.select([self.socket], [], [], PATIENCE)
            assert ready, "the template does not answer"
            if values := self.reader.receive(self.socket):
                assert len(values) == 1
                return values[0]

    def inspect(self, *sites: wire.CallSite, **more: Any) -> wire.InspectReply:
        """Asks for an inspection; the template may be another process afterwards."""
        payload = msgspec.msgpack.encode(wire.InspectRequest(calls=sites, **more))
        self.number += 1
        self.socket.sendall(frames.pack(("inspect", self.number, payload)))
        kind, number, reply, pid = self.receive()
        assert (kind, number) == ("inspected", self.number)
        if pid != self.pid:
            assert wait(self.pid) == 0
            self.pid = pid
        return msgspec.msgpack.decode(reply, type=wire.InspectReply)

    def fork(
        self, *, env: dict[str, str] | None = None, cwd: str | None = None, mark: str = "m1", stdin: int | None = None
    ) -> Worker:
        """A worker that waits for its call.

        Raises:
            Refused: The template says that it cannot.
        """
        ours, theirs = socket.socketpair()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        self.number += 1
        request = {
            "env": {"PATH": os.environ["PATH"]} if env is None else env,
            "cwd": cwd or self.folder,
            "mark": mark,
            "stdin": stdin is not None,
        }
        fds = [theirs.fileno(), *([] if stdin is None else [stdin]), out_end, err_end]
        frames.send_fds(self.socket, frames.pack(("call", self.number, request)), fds)
        answer = self.receive()
        theirs.close()
        os.close(out_end)
        os.close(err_end)
        if answer[0] == "failed":
            ours.close()
            os.close(out)
            os.close(err)
            raise Refused(*answer[2:])
        assert answer[:2] == ("forked", self.number)
        return Worker(answer[2], ours, out, err)

    def call(self, target: str, *args: Any, **kwargs: Any) -> Worker:
        """A worker that has been told what to call."""
        worker = self.fork()
        worker.tell(wire.Call(target=target, args=args, kwargs=kwargs))
        return worker

    def run(self, target: str, *args: Any, **kwargs: Any) -> Worker:
        """A worker that has ended."""
        return self.call(target, *args, **kwargs).finish()


class Worker:
    """The runner's view of one worker.

    Attributes:
        messages: What it has said so far.
        status: Its exit status, negative for a signal; set by ``finish``.
    """

    def __init__(self, pid: int, channel: socket.socket, out: int, err: int) -> None:
        self.pid, self.channel = pid, channel
        self.messages: list[wire.AnyMessage] = []
        self.status: int | None = None
        self._pipes = {out: bytearray(), err: bytearray()}
        self._out, self._err = out, err
        self._open = {out, err, channel.fileno()}
        self._reader = wire.Reader()

    def tell(self, message: wire.AnyMessage) -> None:
        self.channel.sendall(wire.encode(message))

    @property
    def out(self) -> str:
        return self._pipes[self._out].decode()

    @property
    def err(self) -> str:
        return self._pipes[self._err].decode()

    @property
    def result(self) -> Any:
        """The value; fails with the failure's text where there is none."""
        last = self.last
        assert isinstance(last, wire.Result), (last, self.err)
        return json.loads(last.value)

    @property
    def failure(self) -> wire.Failure:
        last = self.last
        assert isinstance(last, wire.Failure), (last, self.err)
        return last

    @property
    def last(self) -> wire.AnyMessage | None:
        return self.messages[-1] if self.messages else None

    def of(self, kind: type) -> list[Any]:
        """The messages of one kind."""
        return [message for message in self.messages if isinstance(message, kind)]

    def until(self, kind: type) -> Any:
        """Reads until a message of this kind has come."""
        for _ in self._read():
            if found := self.of(kind):
                return found[-1]
        raise AssertionError((kind, self.messages, self.err))

    def says(self, text: str) -> None:
        """Reads until stdout has ``text`` in it."""
        for _ in self._read():
            if text in self.out:
                return
        raise AssertionError((text, self.out, self.err))

    def computes(self) -> None:
        """Waits until it has used a tenth of a second of CPU since now: what it is in by then takes its time."""
        before = self._cpu()
        wait_until(lambda: self._cpu() > before + 0.1, patience=PATIENCE)

    def _cpu(self) -> float:
        with open(f"/proc/{self.pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[11]) / os.sysconf("SC_CLK_TCK")

    def sleeps(self) -> None:
        """Waits until it is in a system call that waits.

        A signal that comes in the moment before that is noticed by Python only when the call returns.
        """
        wait_until(lambda: state_of(self.pid) == "S", patience=PATIENCE)

    def finish(self) -> Self:
        """Reads to the end and reaps."""
        for _ in self._read():
            pass
        self._bury()
        return self

    def _bury(self) -> None:
        self.status = wait(self.pid)
        self.channel.close()
        for pipe in self._pipes:
            os.close(pipe)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def _read(self) -> Iterator[None]:
        """Reads piece by piece, until all is closed or the process is dead and everything read."""
        yield
        until = time.monotonic() + PATIENCE
        while self._open:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)  # the tests that come next count this process's children
                self._bury()
                raise AssertionError((self.messages, self.out, self.err))
            ready, _, _ = select.select(list(self._open), [], [], 0.1)
            for fd in ready:
                self._take(fd)
            yield
            if not ready and _is_dead(self.pid):
                return  # somebody else holds what is still open

    def _take(self, fd: int) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self.channel.recv(1 << 20) if fd == self.channel.fileno() else os.read(fd, 1 << 20)
        if not data:
            self._open.discard(fd)
        elif fd == self.channel.fileno():
            self.messages += self._reader.feed(data)
        else:
            self._pipes[fd] += data


def wait(pid: int) -> int:
    """Reaps, within bounds; exit status, negative for a signal."""
    watch = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([watch], [], [], PATIENCE)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(watch)
    assert ended, f"{pid} did not end"
    return os.waitstatus_to_exitcode(status)


def children() -> set[int]:
    """Children of this process, zombies included."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return {int(pid) for pid in file.read().split()}


def _is_dead(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
