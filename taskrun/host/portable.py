"""Any Unix without ``/proc``, macOS first: process groups, ``ps``, and no adoption. Best effort, and slower.

What it cannot do: a process that forks twice between two looks, and leaves its group, escapes. Nothing tells that such
a process belongs to an attempt, so it is not swept at the end of the run either.
"""

from __future__ import annotations

import os

from taskrun.host.platform import Platform, Seen
from taskrun.host.signals import signal

_COLUMNS = "pid=,ppid=,pgid=,uid=,stat=,lstart="


class Portable(Platform):
    """Processes as ``ps`` lists them."""

    adopts = False

    def become_subreaper(self) -> None:
        """There is no such thing: orphans go to init."""

    def set_name(self, name: str) -> None:
        """There is no call for it."""

    def children(self) -> set[int]:
        """From the list of all."""
        own = os.getpid()
        return {seen.pid for seen in self.everyone() if seen.parent == own}

    def tree(self, roots: set[int]) -> list[Seen]:
        """All from one list, so that it is consistent in itself."""
        by_parent: dict[int, list[Seen]] = {}
        found: list[Seen] = []
        for seen in self.everyone():
            by_parent.setdefault(seen.parent, []).append(seen)
            if seen.pid in roots:
                found.append(seen)
        for seen in found:
            found += [child for child in by_parent.get(seen.pid, ()) if child.pid not in roots]
        return found

    def strays(self, known: set[int]) -> list[Seen]:
        """All but ourselves and what is known: orphans went to init, where any process may be one."""
        known = known | {os.getpid()}
        return [seen for seen in self.everyone() if seen.pid not in known]

    def everyone(self, but: set[int] | None = None) -> list[Seen]:
        """One run of ``ps``, itself left out. Sessions are given as groups: ``ps`` cannot tell them everywhere."""
        pid, text = _run(["ps", "-axo", _COLUMNS])
        found = []
        for line in text.splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6 and int(fields[0]) != pid and not (but and int(fields[0]) in but):
                found.append(_seen(fields))
        return found

    def look(self, pid: int) -> Seen | None:
        """One run of ``ps``."""
        _pid, text = _run(["ps", "-o", _COLUMNS, "-p", str(pid)])
        fields = text.split(None, 5)
        return _seen(fields) if len(fields) == 6 else None

    def environ(self, pid: int) -> bytes | None:  # noqa: ARG002 - the interface's
        """Not to be had."""
        return None

    def exited(self, pid: int) -> bool | None:
        """By ``waitid`` where Python has it (on macOS since 3.13), else by the state that ``ps`` shows."""
        if hasattr(os, "waitid"):
            try:
                return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            except ChildProcessError:
                return None
        seen = self.look(pid)
        return None if seen is None or seen.parent != os.getpid() else seen.dead

    def signal(self, seen: Seen, number: int) -> bool:
        """A look, then the signal: there is nothing that would join the two."""
        now = self.look(seen.pid)
        if now is None or now.start != seen.start or now.dead:
            return False
        try:
            os.kill(seen.pid, number)
        except OSError:
            return False
        return True

    def peak(self, max_rss: int) -> int:
        """MacOS counts in bytes, the BSDs as Linux."""
        import sys

        return max_rss if sys.platform == "darwin" else max_rss * 1024

    def resident(self, pid: int) -> int:
        """From ``ps``, which counts in KiB."""
        text = _run(["ps", "-o", "rss=", "-p", str(pid)])[1].strip()
        return int(text) * 1024 if text.isdecimal() else 0

    def command(self, pid: int) -> str:
        """From ``ps``."""
        return _run(["ps", "-o", "command=", "-p", str(pid)])[1].strip()[:200]

    def describe(self, pid: int) -> list[str]:
        """Its command and the letters of its state."""
        seen = self.look(pid)
        return [f"{pid}: {self.command(pid)}", f"  state: {seen.state}"] if seen else [f"{pid}: gone"]


def _seen(fields: list[str]) -> Seen:
    pid, parent, group, _uid, state, start = fields
    return Seen(
        int(pid), state[:1], parent=int(parent), group=int(group), session=int(group), start=_number(start.strip())
    )


def _number(start: str) -> int:
    """A start time, to the second, as a number that grows: Sat Nov 21 22:52:33 2026."""
    from time import mktime, strptime

    try:
        return int(mktime(strptime(start)))
    except (ValueError, OverflowError):
        return 0


def _run(argv: list[str]) -> tuple[int, str]:
    """Runs a small program with its messages thrown away; its pid, and what it wrote (nothing if it failed)."""
    reading, writing = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writing, 1)]
        env = {"PATH": "/bin:/usr/bin:/sbin:/usr/sbin", "LC_ALL": "C"}
        pid = os.posix_spawnp(argv[0], argv, env, file_actions=actions, setsigdef=[signal.SIGPIPE])
    except OSError:
        os.close(reading)
        return 0, ""
    finally:
        os.close(writing)
    with open(reading, "rb") as output:
        text = output.read()
    os.waitpid(pid, 0)
    return pid, text.decode("utf-8", "replace")
