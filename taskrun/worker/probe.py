"""Imports modules in a fork of the template, which takes the template's place if that was clean.

A module that crashes, exits, hangs, or leaves threads or open files behind costs the fork and nothing else: the answers
on the other modules stand, and a new fork goes on without it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import msgspec

from taskrun import frames
from taskrun.worker import inspect_calls, system, targets, wire
from taskrun.worker.stopping import interruption

if TYPE_CHECKING:
    import _socket


class Prober(Protocol):
    """The template, as an inspection needs it.

    Attributes:
        host: Pid of the host.
        socket: The connection to it.
    """

    host: int
    socket: _socket.socket

    def settle(self) -> None:
        """Modules have been imported into this process."""


def import_here(name: str) -> wire.ModuleReport:
    """Imports one module into this process, and says what it left behind."""
    before = system.open_descriptors()
    started = time.monotonic()
    try:
        targets.import_module(name)
    except targets.TargetMistake as mistake:
        error: wire.Mistake | None = mistake.mistake
    else:
        error = None
    seconds = time.monotonic() - started
    return wire.ModuleReport(error=error, unclean=_left_behind(before), seconds=seconds)


def _left_behind(descriptors: set[int]) -> str:
    """What an import has left in this process that a fork would not have, or would have to share; empty: nothing."""
    if threads := _threads_left():
        return threads
    more = system.open_descriptors() - descriptors
    if more:
        first = min(more)
        try:
            what = os.readlink(f"/proc/self/fd/{first}")
        except OSError:
            what = f"descriptor {first}"
        others = f" and {len(more) - 1} more" if len(more) > 1 else ""
        return f"leaves {what}{others} open"
    return ""


def _threads_left() -> str:
    if (count := system.count_threads()) == 1:
        return ""
    threading = sys.modules.get("threading")
    names = [t.name for t in threading.enumerate() if t is not threading.main_thread()] if threading else []
    if not names:
        # Threads of C code, such as OpenBLAS's: many libraries end theirs before a fork. Does this one?
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # "multi-threaded, use of fork()"
            if (pid := os.fork()) == 0:
                os._exit(0)
        os.waitpid(pid, 0)
        if (count := system.count_threads()) == 1:
            return ""
    shown = f": {', '.join(names[:3])}" if names else ""
    return f"leaves {count - 1} thread{'s' * (count != 2)} running{shown}"


# --- an inspection ----------------------------------------------------------------------------------------------------


def inspect(template: Prober, payload: bytes) -> bytes:
    """Carries out an inspection; returns the encoded reply, in the template or in the fork that has replaced it.

    Raises:
        Disconnected: The host is gone.
        OSError: There is no room for the fork.
    """
    request = inspect_calls.request_decoder.decode(payload)
    inspection = _Inspection(template, request)
    inspection.run()
    return inspect_calls.encode(inspect_calls.merge(inspection.parts))


class _Inspection:
    """One inspection: the modules still to import, and what is known of the others."""

    def __init__(self, template: Prober, request: wire.InspectRequest) -> None:
        self.template = template
        self.request = request
        self.calls, refused = inspect_calls.by_module(request)
        self.parts = [wire.InspectReply(targets=refused)]
        self.clean: list[str] = []  # answered already; imported again by the next fork
        self.waiting = list(self.calls)

    def run(self) -> None:
        """Forks until every module has been answered for; may go on in the last fork."""
        while self.waiting:
            known = [name for name in self.calls if name in sys.modules and name in self.waiting]
            if known == self.waiting:
                for name in known:
                    self.parts.append(self._report(name, wire.ModuleReport()))
                return
            if self._probe():
                return

    def _report(self, name: str, report: wire.ModuleReport) -> wire.InspectReply:
        """The part of the reply that is about one module, which has been imported or has failed to."""
        part = wire.InspectReply(modules={name: report})
        if report.error is None:
            inspected = inspect_calls.inspect(self.calls[name], self.request.open_keys)
            part = msgspec.structs.replace(part, targets=inspected.targets, problems=inspected.problems)
        return part

    def _probe(self) -> bool:
        """Forks once. ``True``: this is the fork, and now the template; ``False``: this is the old one, go on."""
        system.flush()
        reading, writing = os.pipe()
        old = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if pid == 0:
            os.close(reading)
            if self._in_fork(old, writing):
                os.close(writing)
                return True
            os._exit(0)
        os.close(writing)
        try:
            self._follow(pid, reading)
        finally:
            os.close(reading)
        return False

    # --- in the fork --------------------------------------------------------------------------------------------------

    def _in_fork(self, old: int, writing: int) -> bool:
        """Imports, tells, and takes the template's place if all was clean."""
        try:
            interruption.ignore()
            system.die_with(old)
            for name in self.clean:
                _send(writing, ("importing", name))
                targets.import_module(name)
            while self.waiting:
                name = self.waiting.pop(0)
                _send(writing, ("importing", name))
                report = import_here(name)
                part = self._report(name, report)
                self.parts.append(part)
                _send(writing, ("part", inspect_calls.encode(part)))
                if report.unclean:
                    return False
            self._take_over(old, writing)
        except system.ParentGone:
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the old template must not be run twice
            sys.excepthook(*sys.exc_info())
            os._exit(70)
        return True

    def _take_over(self, old: int, writing: int) -> None:
        """Tells the old template to go, and waits until the host is this process's parent."""
        self.template.settle()
        system.outlive_parent()  # not unwatched: if the host dies now, somebody else adopts us, and we see that
        _send(writing, ("take-over", ""))
        system.await_adoption(old, self.template.host)
        system.die_with(self.template.host)

    # --- in the old template ------------------------------------------------------------------------------------------

    def _follow(self, pid: int, reading: int) -> None:
        """Listens to the fork until it ends, or takes over: then this process is not needed any more."""
        importing = ""
        reader = frames.FrameReader()
        while True:
            data = self._read(reading)
            if data is None:
                self._end_hanging(pid, importing)
                return
            if not data:
                break
            for kind, content in reader.feed(data):
                if kind == "importing":
                    importing = content
                elif kind == "part":
                    self._answered(inspect_calls.reply_decoder.decode(content))
                    importing = ""
                else:
                    _make_way()
        _, status = os.waitpid(pid, 0)
        if importing:
            self._unclean(importing, _how_it_ended(status))

    def _answered(self, part: wire.InspectReply) -> None:
        self.parts.append(part)
        for name, report in part.modules.items():
            self.waiting.remove(name)
            if not report.unclean and report.error is None:
                self.clean.append(name)

    def _unclean(self, name: str, why: str) -> None:
        if name in self.clean:  # it was clean the last time
            self.clean.remove(name)
            for index, part in enumerate(self.parts):
                if name in part.modules:
                    self.parts[index] = msgspec.structs.replace(part, modules={name: wire.ModuleReport(unclean=why)})
        else:
            self.waiting.remove(name)
            self.parts.append(wire.InspectReply(modules={name: wire.ModuleReport(unclean=why)}))

    def _read(self, reading: int) -> bytes | None:
        """What the fork says; ``None``: nothing within the time for one import.

        Raises:
            Disconnected: The host is gone: all is over.
        """
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        poll.register(self.template.socket, getattr(select, "POLLRDHUP", 0))
        limit = self.request.import_timeout
        ready = dict(poll.poll(None if limit is None else limit * 1000))
        if reading in ready:
            return os.read(reading, 65536)
        if ready:
            raise frames.Disconnected
        return None

    def _end_hanging(self, pid: int, importing: str) -> None:
        os.kill(pid, signal.SIGUSR1)  # its stack, into the log of templates
        time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        message = f"importing `{importing}` had not ended after {self.request.import_timeout:g} s"
        error = wire.Mistake(type="timeout", message=message)
        if importing in self.waiting:
            self.waiting.remove(importing)
        self.parts.append(wire.InspectReply(modules={importing: wire.ModuleReport(error=error)}))


def _send(descriptor: int, frame: tuple[str, Any]) -> None:
    data = memoryview(frames.pack(frame))
    while data:
        data = data[os.write(descriptor, data) :]


def _make_way() -> NoReturn:
    """The fork is the template from here on."""
    os._exit(0)


def _how_it_ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"is killed by {signal.Signals(os.WTERMSIG(status)).name} while it is imported"
    return f"ends the process with status {os.WEXITSTATUS(status)} while it is imported"
