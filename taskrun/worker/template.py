"""A template: imports the user's modules once and forks a worker for each call. Runs until its host's socket ends.

One thread, and of its own nothing but the socket: what a worker must not inherit must not be here.
"""

from __future__ import annotations

import _socket
import atexit
import contextlib
import faulthandler
import gc
import io
import os
import signal
import sys
import types
from typing import Any, NoReturn

import taskrun
from taskrun import frames
from taskrun.worker import failures, probe, session, system, work
from taskrun.worker.stopping import interruption

_SOCKET = 3
_kept: list[object] = []  # what must not be freed, since something else still stands on it


def main(sock_fd: int) -> NoReturn:
    """The template's whole life; never returns.

    Args:
        sock_fd: A connected Unix stream socket to the host. Every other descriptor above 2 is closed.
    """
    status = work.BROKEN
    try:
        template = Template(sock_fd)
        try:
            template.serve()
        except (frames.Disconnected, ConnectionError, system.ParentGone):
            status = 0
    except BaseException as error:  # noqa: BLE001 - below are the host's frames, if this is a fork of it
        session.complain(f"a template failed:\n{failures.describe(error).traceback}")
    finally:
        os._exit(status)


class Template:
    """What the process that forks workers knows."""

    def __init__(self, sock_fd: int) -> None:
        gc.collect()  # objects of the host die while the descriptors that they close are still theirs
        gc.disable()
        self.host = os.getppid()
        self.cwd = "/"
        _take_descriptors(sock_fd)
        _take_signals()
        forget_program()
        system.set_name("taskrun-templat")
        system.die_with(self.host)
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, _SOCKET)
        self.reader = frames.FrameReader()
        self.environment = system.Environment()

    def serve(self) -> NoReturn:
        """Answers requests.

        Raises:
            Disconnected: The host is gone.
        """
        while True:
            for frame in self.reader.receive(self.socket):
                match frame:
                    case ("call", number, request):
                        self._call(number, request)
                    case ("inspect", number, payload):
                        self._inspect(number, payload)
                    case ("init", request):
                        self._init(request)

    def answer(self, *frame: object) -> None:
        """Sends a frame to the host."""
        self.socket.sendall(frames.pack(frame))

    def settle(self) -> None:
        """Modules have been imported: from here on forks share what there is."""
        self.environment.note_changes()
        _forget_exit_functions()
        system.flush()
        gc.collect()
        gc.freeze()

    # --- requests -----------------------------------------------------------------------------------------------------

    def _init(self, request: dict[str, Any]) -> None:
        with contextlib.suppress(frames.MalformedFrame):  # none came: where it writes is settled already
            log, *kept = self.reader.take_fds(2 if request.get("keeps") else 1)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            if kept:
                system.keep_open(kept[0])
        self.cwd = request["cwd"]
        os.chdir(self.cwd)
        sys.path[:0] = [folder for folder in request["sys_path"] if folder not in sys.path[:1]]
        reports = {name: probe.import_here(name) for name in request["preload"]}
        self.settle()
        self.answer(
            "ready",
            {
                "pid": os.getpid(),
                "version": taskrun.__version__,
                "errors": {name: report.error.message for name, report in reports.items() if report.error},
                "unclean": {name: report.unclean for name, report in reports.items() if report.unclean},
            },
        )

    def _inspect(self, number: int, payload: bytes) -> None:
        """Returns in the template, or in the probe that has taken its place."""
        try:
            reply = probe.inspect(self, payload)
        except OSError as error:  # only in the template: in the probe nothing gets out
            self.answer("failed", number, error.errno or 0, error.strerror or str(error))
        else:
            self.answer("inspected", number, reply, os.getpid())

    def _call(self, number: int, request: dict[str, Any]) -> None:
        descriptors: list[int] = []
        middle = 0
        try:
            descriptors = self.reader.take_fds(4 if request["stdin"] else 3)
            middle, pid = self._fork_worker(request, descriptors)
        except OSError as error:
            self.answer("failed", number, error.errno or 0, error.strerror or str(error))
        else:
            self.answer("forked", number, pid)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            if middle:
                os.waitpid(middle, 0)  # last, since its end takes a while

    def _fork_worker(self, request: dict[str, Any], descriptors: list[int]) -> tuple[int, int]:
        """Forks twice, so that the worker's parent is the host; returns the middle process's pid and the worker's.

        Raises:
            OSError: No process could be made, or the folder cannot be entered.
        """
        system.flush()
        os.chdir(request["cwd"])
        try:
            reading, writing = os.pipe()
            try:
                middle = system.fork_middle()
                if middle == 0:
                    self._middle(request, descriptors, writing)
            finally:
                os.close(writing)
            try:
                answer = os.read(reading, 8)
            finally:
                os.close(reading)
        finally:
            os.chdir(self.cwd)
        pid = int.from_bytes(answer, "little", signed=True)
        if pid > 0:
            return middle, pid
        os.waitpid(middle, 0)
        if pid == 0:
            raise ChildProcessError(0, "the process that makes the worker was killed")
        raise OSError(-pid, os.strerror(-pid))

    def _middle(self, request: dict[str, Any], descriptors: list[int], writing: int) -> NoReturn:
        """Forks the worker, tells its pid (or a negative errno), and exits."""
        try:
            middle = os.getpid()
            interruption.hold_back()
            try:
                worker = os.fork()
            except OSError as error:
                worker = -(error.errno or 1)
            if worker == 0:
                channel, *stdin, stdout, stderr = descriptors
                work.live(
                    work.Birth(
                        env=request["env"],
                        mark=request["mark"],
                        descriptors=(channel, stdin[0] if stdin else None, stdout, stderr),
                        environment=self.environment,
                        host=self.host,
                        middle=middle,
                    )
                )
            os.write(writing, worker.to_bytes(8, "little", signed=True))
        finally:
            os._exit(0)


# --- becoming a template ----------------------------------------------------------------------------------------------


def _take_descriptors(sock_fd: int) -> None:
    """The socket at 3, nothing above, ``/dev/null`` at 0, and streams that know no other encoding than UTF-8."""
    if sock_fd != _SOCKET:
        os.dup2(sock_fd, _SOCKET, inheritable=False)
    os.set_inheritable(_SOCKET, False)
    os.closerange(_SOCKET + 1, system.LAST_DESCRIPTOR)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(null, number)
    os.close(null)
    open_streams()


def open_streams() -> None:
    """Python's streams anew, for what 0 to 2 are now; UTF-8 whatever the locale."""
    # The old ones are kept: they would close or flush what is no longer theirs.
    _kept.extend((sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__))
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "rb", closefd=False)), "utf-8")
    sys.stdout = _output(1)
    sys.stderr = _output(2)
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)


def _output(number: int) -> io.TextIOWrapper:
    raw = io.FileIO(number, "wb", closefd=False)
    raw.name = f"<{'stdout' if number == 1 else 'stderr'}>"
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)


def _take_signals() -> None:
    """As in a fresh interpreter, but that INT, TERM and HUP are the worker's affair and mean nothing to a template."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # Python raises BrokenPipeError instead
    interruption.ignore()
    hear_signals()


def hear_signals() -> None:
    """What a worker hears: a stop, and that its stack is wanted."""
    interruption.install()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    session.forget_after_fork()
    # Both hold in forks, and name descriptor 2, which is the task's stderr there.
    faulthandler.enable(2)
    faulthandler.register(signal.SIGUSR1, 2, all_threads=True)


def forget_program() -> None:
    """The program that this one is a fork of is not the user's: its arguments, ``__main__`` and exit functions go."""
    _kept.append(sys.modules.get("__main__"))
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = ["taskrun"]
    atexit._clear()  # noqa: SLF001 - as above


def _forget_exit_functions() -> None:
    """Exit functions of modules belong to this process, not to each of its forks.

    A temporary folder that a module made is shared by them all. The standard library's functions that see to a
    process's own things are kept.
    """
    atexit._clear()  # noqa: SLF001 - there is no public way to begin anew after a fork
    if (logging := sys.modules.get("logging")) is not None:
        atexit.register(logging.shutdown)
    finalize = getattr(sys.modules.get("weakref"), "finalize", None)
    if finalize is not None and getattr(finalize, "_registered_with_atexit", False):
        for finalizer in list(finalize._registry):  # noqa: SLF001 - it lists them nowhere else
            finalizer.atexit = False
        atexit.register(finalize._exitfunc)  # noqa: SLF001 - it believes to be registered already
