"""The host's templates: starts them when they are needed, hands them requests, and copes with their deaths."""

from __future__ import annotations

import errno
import os
import time

from taskrun.frames import Disconnected, MalformedFrame
from taskrun.host.ending import how_it_ended
from taskrun.host.launch import SHORTAGE_DELAYS, LaunchFailed, bad_folder
from taskrun.host.loop import now
from taskrun.host.marks import add_mark, marks_of
from taskrun.host.signals import signal
from taskrun.host.template import IN_HAND, Request, Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from taskrun.host.launch import Launcher
    from taskrun.host.loop import Loop
    from taskrun.host.platform import Platform
    from taskrun.host.reaper import Reaper

_ADOPTION = 5.0  # seconds after which a worker that is named but not ours will never be
_DYING = 0.5  # seconds that the host waits for a template that it has killed
_FORK = 10.0  # seconds in which a template that is not importing forks; else it hangs
_SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class Templates:
    """All templates of a run, by the runner's key.

    Args:
        platform: Where processes are looked at.
        loop: Calls us.
        launcher: Starts interpreters.
        put: Sends a message to the runner.
        begin: Called with id, pid, mark, and whether to announce it, when a worker lives; returns when it is watched.
        soft_files: The soft limit of open files for tasks.
        forked: Whether the host is a fork of the runner.
    """

    def __init__(
        self,
        platform: Platform,
        loop: Loop,
        launcher: Launcher,
        put: Callable[..., None],
        begin: Callable[[int, int, str, bool], None],
        *,
        soft_files: int | None,
        forked: bool,
    ) -> None:
        self.reaper: Reaper
        self._platform = platform
        self._loop = loop
        self._launcher = launcher
        self._put = put
        self._begin = begin
        self._soft_files = soft_files
        self._forked = forked
        self._templates: dict[str, Template] = {}
        self._unadopted: set[int] = set()  # workers that were named, and are not our children yet
        self._closed = False
        self.kept: int | None = None

    def forks_open(self) -> bool:
        """Whether a child that nobody knows may be a worker."""
        return bool(self._unadopted) or any(template.open for template in self._templates.values())

    def pids(self) -> set[int]:
        """The pids of the templates that run."""
        running = (template for template in self._templates.values() if template.status is None)
        return {template.pid for template in running if template.pid is not None}

    # --- requests ---

    def declare(self, key: str, spec: dict[str, Any], log: int | None) -> None:
        """What the runner means by ``key``; ``log`` receives the template's output."""
        if key in self._templates:
            return
        init = {"sys_path": spec["sys_path"], "cwd": spec["cwd"], "preload": spec["preload"]}
        self._templates[key] = Template(spec["python"], init, spec["env"], 0 if log is None else log)

    def call(self, number: int, key: str, request: dict[str, Any], fds: list[int]) -> None:
        """A worker is wanted; answered by ``spawned`` or ``failed``."""
        mark = request["mark"]
        add_mark(request["env"], mark)
        request["mark"] = request["env"].get("TASKRUN_MARK", "")  # with those of the runs that we are below of
        self._want(key, Request(number, ("call", number, request), mark, request["cwd"], fds))

    def worker_argv(self, key: str) -> list[str]:
        """As of ``Template``."""
        return self._templates[key].worker_argv()

    def inspect(self, number: int, key: str, payload: bytes) -> None:
        """An inspection is wanted; answered by ``done`` with the reply, or ``failed``."""
        self._want(key, Request(number, ("inspect", number, payload), "", "", []))

    def withdraw(self, number: int) -> bool:
        """Answers a request at once; if its worker turns up later, it is killed. False: there is no such request."""
        for template in self._templates.values():
            for request in (*template.waiting, *template.resting, *template.open.values()):
                if request.id == number and not request.withdrawn:
                    self._put("failed", number, "withdrawn", 0, "withdrawn")
                    self._drop(template, request)
                    return True
        return False

    def _drop(self, template: Template, request: Request) -> None:
        """Nobody waits for the request any more; a template that is stuck in imports on its account ends."""
        request.withdrawn = True
        if request.id not in template.open:
            (template.waiting if request in template.waiting else template.resting).remove(request)
            request.close()
        importing = not template.ready or request.inspection
        if importing and not template.waiting and all(other.withdrawn for other in template.open.values()):
            self._end(template)

    def close(self) -> None:
        """No request is carried out any more; what waits is answered, and templates are left to the sweep."""
        self._closed = True
        for template in self._templates.values():
            for request in (*template.waiting, *template.resting, *template.open.values()):
                if not request.withdrawn:
                    self._put("failed", request.id, "withdrawn", 0, "withdrawn")
            template.waiting.clear()
            template.resting.clear()
            self._end(template)

    def _want(self, key: str, request: Request) -> None:
        self._wait_for(self._templates[key], request)

    def _wait_for(self, template: Template, request: Request) -> None:
        template.waiting.append(request)
        if template.control is None:
            self._start(template)
        else:
            self._pump(template)

    # --- a template's life ---

    def _start(self, template: Template) -> None:
        try:
            template.start(self._launcher, self.kept, soft_files=self._soft_files, forked=self._forked)
        except LaunchFailed as failure:
            self._refuse(template, failure.kind, failure.number, f"no template: {failure.message}")
            return
        except OSError as error:
            self._refuse(template, "resources", error.errno or 0, f"no template: {error.strerror}")
            return
        assert template.control is not None
        self._watch(template, template.pid)
        self._loop.watch(template.control.fd, lambda: self._receive(template))

    def _refuse(self, template: Template, kind: str, number: int, text: str) -> None:
        """Fails all that waits: trying again would end the same."""
        waiting, template.waiting = template.waiting, []
        for request in waiting:
            request.close()
            self._put("failed", request.id, kind, number, text)

    def _watch(self, template: Template, pid: int | None) -> None:
        """Takes ``pid`` for the template's process."""
        assert pid is not None
        template.pid, template.status = pid, None
        self.reaper.add_other(pid, lambda: self._exited(template, pid))
        if self._platform.exited(pid):
            self._loop.after(0, self.reaper.look)

    def _exited(self, template: Template, pid: int) -> None:
        """A template's process has ended; the template itself may live on in a fork."""
        _pid, status = os.waitpid(pid, 0)
        self.reaper.remove_other(pid)
        if template.pid != pid:
            return
        template.status = status
        self._receive(template)  # its last answers; they may name its successor
        if template.pid == pid and template.control is not None:
            inspecting = any(request.inspection for request in template.open.values())
            if not (status == 0 and inspecting):  # else a fork is about to take its place, or the socket ends
                self._lost(template)

    def _receive(self, template: Template) -> None:
        control = template.control
        if control is None:
            return
        control.flush()
        try:
            for message in control.receive():
                self._take(template, message)
        except (Disconnected, MalformedFrame):
            if template.control is control:
                self._lost(template)
            return
        if template.control is control:
            self._pump(template)

    def _take(self, template: Template, message: Any) -> None:
        match message:
            case ("ready", info):
                self._ready(template, info)
            case ("forked", number, pid):
                self._forked_one(template, number, pid, now() + _ADOPTION)
            case ("failed", number, code, text):
                self._failed(template, number, code, text)
            case ("inspected", number, payload, pid):
                if pid != template.pid:
                    self._watch(template, pid)
                request = template.open.pop(number, None)
                if request is not None and not request.withdrawn:
                    self._put("done", number, payload)
            case _:
                raise MalformedFrame(f"a template says {message!r:.100}")

    def _ready(self, template: Template, info: dict[str, Any]) -> None:
        from taskrun import __version__

        if info.get("version", __version__) != __version__:
            text = f"{template.python} has taskrun-cli {info['version']} installed, it must be {__version__} as here"
            self._refuse(template, "template", 0, text)
            self._end(template)
            return
        assert template.pid is not None
        template.environ = self._platform.environ(template.pid)
        template.ready = True
        template.close_errors()

    def _pump(self, template: Template) -> None:
        """Hands over what waits, as far as the template may have it."""
        control = template.control
        if control is None or not template.ready:
            return
        while template.waiting and len(template.open) < IN_HAND:
            request = template.waiting.pop(0)
            template.open[request.id] = request
            control.put(request.frame, request.fds)
            request.since = now()
            self._check_later(template)
        control.flush()
        self._loop.watch(control.fd, lambda: self._receive(template), write=control.pending)

    def _check_later(self, template: Template) -> None:
        if not template.checked:
            template.checked = True
            self._loop.after(_FORK, lambda: self._check_hanging(template))

    def _check_hanging(self, template: Template) -> None:
        """A template that imports nothing forks in time; while it inspects, others wait for that."""
        template.checked = False
        if not template.open:
            return
        oldest = min(request.since for request in template.open.values())
        if now() - oldest < _FORK or any(request.inspection for request in template.open.values()):
            self._check_later(template)
        else:
            self._lost(template)

    # --- answers ---

    def _forked_one(self, template: Template, number: int, pid: int, until: float) -> None:
        """A worker has been named; it is watched once it is our child, which may be a moment later."""
        request = template.open.pop(number, None)
        if request is None:
            raise MalformedFrame(f"a template forked for {number}, which nobody asked for")
        request.close()
        self._unadopted.add(pid)
        self._adopt(request, pid, until)

    def _adopt(self, request: Request, pid: int, until: float) -> None:
        exited = self._platform.exited(pid)
        if exited is None and now() < until:
            self._loop.after(0.001, lambda: self._adopt(request, pid, until))
            return
        self._unadopted.discard(pid)
        if exited is None:
            if not request.withdrawn:
                text = "the worker's process did not come to the host"
                self._put("failed", request.id, "template", errno.ECHILD, text)
            return
        self._begin(request.id, pid, request.mark, not request.withdrawn)
        if exited:
            self._loop.after(0, self.reaper.look)

    def _failed(self, template: Template, number: int, code: int, text: str) -> None:
        """The template could not fork, or not enter the folder."""
        request = template.open.pop(number, None)
        if request is None or request.withdrawn:
            if request is not None:
                request.close()
            return
        if code in _SHORTAGES and request.tries < len(SHORTAGE_DELAYS) and self.reaper.leaders:
            template.resting.append(request)
            self._loop.after(SHORTAGE_DELAYS[request.tries], lambda: self._want_again(template, request))
            request.tries += 1
            return
        request.close()
        if code in {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG}:
            failure = bad_folder(request.cwd, OSError(code, text))
            self._put("failed", number, failure.kind, failure.number, failure.message)
        else:
            kind = "resources" if code in _SHORTAGES else "template"
            what = "their template could not be forked" if request.inspection else "no worker could be forked"
            self._put("failed", number, kind, code, f"{what}: {text}")

    def _want_again(self, template: Template, request: Request) -> None:
        """A rest is over."""
        if request in template.resting:
            template.resting.remove(request)
            self._wait_for(template, request)

    # --- death ---

    def _lost(self, template: Template) -> None:
        """The template is dead, or must be: what it had in its hands is tried once more, in a new one."""
        was_ready = template.ready
        words = template.last_words()
        held = list(template.open.values())
        if template.status is None and template.pid is not None:
            self._end_process(template, template.pid)
        how = how_it_ended(template.status)
        self._end(template)
        self._kill_unnamed(template, held)
        if not was_ready:
            last = words.rsplit("\n", 1)[-1]
            self._refuse(template, "template", 0, f"{template.python} could not become a template: {last or how}")
            return
        self._put("notice", 0, f"a template of {template.python} was lost ({how}); it is started anew")
        for request in reversed(held):
            if request.withdrawn:
                request.close()
            elif request.repeated:
                request.close()
                self._put("failed", request.id, "template", 0, f"its template was lost twice ({how})")
            else:
                request.repeated = True
                template.waiting.insert(0, request)
        if template.waiting and not self._closed:
            self._start(template)

    def _end_process(self, template: Template, pid: int) -> None:
        """Kills a template's process and notes how it ended; one that does not die at once is reaped when it does."""
        if self._platform.exited(pid) is False:
            time.sleep(0.005)  # its socket ended first: let it finish what it dies of
            os.kill(pid, signal.SIGKILL)
        until = now() + _DYING
        while now() < until:
            try:
                reaped, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                return
            if reaped:
                template.status = status
                self.reaper.remove_other(pid)
                return
            time.sleep(0.0005)

    def _end(self, template: Template) -> None:
        """Lets go of the template's process; it ends of that, and is killed in case it does not."""
        if template.control is not None:
            self._loop.unwatch(template.control.fd)
            template.control.close()
            template.control = None
        template.close_errors()
        pid, template.pid = template.pid, None
        if pid is not None and template.status is None and self._platform.exited(pid) is False:
            os.kill(pid, signal.SIGKILL)
        for request in template.open.values():
            if request.withdrawn or self._closed:
                request.close()
        template.open.clear()
        template.ready = False

    def _kill_unnamed(self, template: Template, held: list[Request]) -> None:
        """Kills workers that the template had forked and not named yet: the repeated request must be the only one.

        They are known by their call's mark, or by the template's environment, which they share until they write it.
        """
        marks = {request.mark.encode() for request in held if request.mark}
        until = now() + 0.1
        while held and now() < until:
            found = False
            for seen in self.reaper.strays():
                known = seen.dead or seen.pid in self._unadopted
                environ = None if known else self._platform.environ(seen.pid)
                if environ and (environ == template.environ or marks.intersection(marks_of(environ))):
                    found = self._platform.signal(seen, signal.SIGKILL) or found
            if not found:
                return
