"""One template as the host sees it: how it is started, what it has in its hands. It answers nobody by itself."""

from __future__ import annotations

import _socket
import os
import sys

from taskrun.host.control import Control
from taskrun.host.own import reset_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from taskrun.host.launch import Launcher

IN_HAND = 16  # requests that a template has at once; the rest waits here, so that its death costs little
_NEEDS_EXEC = ("PYTHON", "LD_", "DYLD_", "MALLOC_", "GLIBC_")  # variables that are read when a program starts
_NO_EXEC = frozenset({"PYTHONUNBUFFERED"})


class Request:
    """A call or an inspection on its way to a template.

    Attributes:
        id: The runner's number for it.
        frame: What the template gets.
        mark: The attempt's mark; empty for an inspection.
        cwd: The attempt's folder, for messages.
        fds: Descriptors that go along; ours until the answer, so that the request can be repeated.
        repeated: It was in the hands of a template that died, and is tried a second time.
        tries: How often it was put off for want of resources.
        since: When the template got it.
        withdrawn: Nobody waits for it any more.
    """

    __slots__ = ("cwd", "fds", "frame", "id", "mark", "repeated", "since", "tries", "withdrawn")

    def __init__(self, number: int, frame: tuple[Any, ...], mark: str, cwd: str, fds: list[int]) -> None:
        self.id = number
        self.frame = frame
        self.mark = mark
        self.cwd = cwd
        self.fds = fds
        self.repeated = False
        self.tries = 0
        self.since = 0.0
        self.withdrawn = False

    @property
    def inspection(self) -> bool:
        """Whether it keeps the template busy for as long as imports take."""
        return bool(self.frame[0] == "inspect")

    def close(self) -> None:
        """Closes its descriptors."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Template:
    """A template and the requests to it. It is started at the first of them, and again after its death.

    Attributes:
        python: Its interpreter.
        init: The content of its ``init`` frame.
        env: The environment of its imports; ``None``: the host's own.
        log: Where its output goes; ours.
        pid: ``None`` while it does not run.
        status: Wait status of that process, once it has been reaped: the pid may be anybody's then.
        control: The socket to it, while it runs.
        ready: It has imported what it was told to, and forks.
        environ: Its initial environment block, which an unnamed fork of it shares.
        waiting: Requests that it has not got.
        resting: Requests that it could not carry out for want of resources, and will get again.
        open: Requests in its hands, by id.
        checked: A look at whether it hangs is due.
    """

    def __init__(self, python: str | None, init: dict[str, Any], env: dict[str, str] | None, log: int) -> None:
        self.python = python or sys.executable
        self.init = init
        self.env = env
        self.log = log
        self.pid: int | None = None
        self.status: int | None = None
        self.control: Control | None = None
        self.ready = False
        self.environ: bytes | None = None
        self.waiting: list[Request] = []
        self.resting: list[Request] = []
        self.checked = False
        self.open: dict[int, Request] = {}
        self._errors = -1

    def start(self, launcher: Launcher, kept: int | None, *, soft_files: int | None, forked: bool) -> None:
        """Forks the host, where that is the wanted interpreter with its site packages; else execs the interpreter.

        Args:
            launcher: Execs it.
            kept: A descriptor that it and its workers inherit.
            soft_files: Limit of open files for it.
            forked: Whether the host may be forked.

        Raises:
            LaunchFailed: The interpreter cannot be started.
            OSError: No process can be made.
        """
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._errors, errors = os.pipe()
        os.set_blocking(self._errors, False)
        try:
            if forked and self.python == sys.executable and not self._needs_exec():
                self.pid = self._fork(theirs, errors, soft_files)
            else:
                self.pid = self._exec(launcher, theirs, errors)
        except BaseException:
            ours.close()
            self.close_errors()
            raise
        finally:
            theirs.close()
            os.close(errors)
        self.ready = False
        self.control = Control(ours)
        if kept is None:
            self.control.put(("init", self.init), [self.log])
        else:
            self.control.put(("init", {**self.init, "keeps": True}), [self.log, kept])
        self.control.flush()

    def _needs_exec(self) -> bool:
        """Whether a variable differs that only a fresh program would heed."""
        if self.env is None:
            return False
        here = os.environ
        names = {name for name in (*self.env, *here) if name.startswith(_NEEDS_EXEC)} - _NO_EXEC
        return any(self.env.get(name) != here.get(name) for name in sorted(names))

    def _fork(self, sock: _socket.socket, errors: int, soft_files: int | None) -> int:
        pid = os.fork()
        if pid == 0:
            self._become(sock, errors, soft_files)
        return pid

    def _become(self, sock: _socket.socket, errors: int, soft_files: int | None) -> NoReturn:
        """In the fork: leaves the host behind."""
        try:
            os.setsid()
            reset_signals()
            os.dup2(errors, 2)
            if soft_files is not None:
                from resource import RLIMIT_NOFILE, getrlimit, setrlimit

                setrlimit(RLIMIT_NOFILE, (soft_files, getrlimit(RLIMIT_NOFILE)[1]))
            if self.env is not None:
                os.environ.clear()
                os.environ.update(self.env)
            from taskrun.worker.template import main

            main(sock.fileno())
        except BaseException as error:  # noqa: BLE001 - the frames below us are the host's
            os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
        finally:
            os._exit(70)

    def _exec(self, launcher: Launcher, sock: _socket.socket, errors: int) -> int:
        argv = self._program("template", "main(3)")
        env = dict(os.environ) if self.env is None else self.env
        return launcher.launch(argv, env, "/", [0, errors, errors, sock.fileno()])

    def worker_argv(self) -> list[str]:
        """The command of a worker that is exec'd for its one call, without what the template imports at once."""
        from json import dumps  # a host on Linux never does this

        return [*self._program("alone", "main(sys.argv[1])", "call"), dumps(self.init["sys_path"])]

    def _program(self, module: str, call: str, *words: str) -> list[str]:
        """The interpreter with a module of ``taskrun.worker``."""
        if self.python != sys.executable:
            return [self.python, "-m", "taskrun.worker", *(words or (module,))]
        # Ours need not be installed: it is found beside the host's own modules.
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        code = f"import sys; sys.path.append({root!r}); from taskrun.worker.{module} import main; {call}"
        return [self.python, "-c", code]

    def last_words(self) -> str:
        """What it wrote to stderr before it had its log: why an interpreter could not become a template."""
        try:
            text = os.read(self._errors, 65536).decode("utf-8", "replace").strip() if self._errors >= 0 else ""
        except OSError:
            text = ""
        return text[-2000:]

    def close_errors(self) -> None:
        """It is ready, or gone: its stderr is read no longer."""
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1
