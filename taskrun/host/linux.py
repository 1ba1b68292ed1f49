"""Linux: ``/proc``, ``prctl`` and pidfds."""

from __future__ import annotations

import os
from time import CLOCK_BOOTTIME, clock_gettime_ns

from taskrun.host.platform import Platform, Seen
from taskrun.host.signals import signal

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_READ = os.O_RDONLY | os.O_CLOEXEC


class Linux(Platform):
    """Processes as ``/proc`` shows them.

    Args:
        one_thread: This process has one thread and does not fork itself: its children are then read faster.
    """

    adopts = True

    def __init__(self, *, one_thread: bool = False) -> None:
        self._own_list = -1
        if one_thread:
            try:
                self._own_list = os.open(f"/proc/{os.getpid()}/task/{os.getpid()}/children", _READ)
            except OSError:
                self._own_list = -1

    def become_subreaper(self) -> None:
        """Orphans below this process come to it from now on; not inherited over fork, kept over exec."""
        prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def set_name(self, name: str) -> None:
        """At most 15 characters."""
        prctl(_PR_SET_NAME, name.encode()[:15] + b"\0")

    def children(self) -> set[int]:
        """Own children, of every thread of this process."""
        if self._own_list >= 0:  # the way of every attempt's end: one system call
            data = os.pread(self._own_list, 65536, 0)
            if len(data) < 2048:
                return set(map(int, data.split()))
        return set(_children(os.getpid()))

    def tree(self, roots: set[int]) -> list[Seen]:
        """Breadth first."""
        found: list[Seen] = []
        due, known = list(roots), set(roots)
        for pid in due:
            seen = self.look(pid) or _gone(pid)
            found.append(seen)
            if not seen.dead:
                fresh = [child for child in _children(pid) if child not in known]
                known.update(fresh)
                due += fresh
        return found

    def strays(self, known: set[int]) -> list[Seen]:
        """The trees of the children that nobody knows: orphans that came to us."""
        unknown = self.children() - known
        return self.tree(unknown) if unknown else []

    def everyone(self, but: set[int] | None = None) -> list[Seen]:
        """The numbers in ``/proc``."""
        pids = {int(name) for name in _list("/proc") if name.isdigit()}
        return [self.look(pid) or _gone(pid) for pid in (pids - but if but else pids)]

    def latest(self) -> int:
        """The last field of ``/proc/loadavg``, which goes by our own namespace of pids."""
        return int((_read("/proc/loadavg") or b"0").split()[-1])

    def look(self, pid: int) -> Seen | None:
        """From ``/proc/PID/stat``; start is in clock ticks since boot."""
        data = _read(f"/proc/{pid}/stat")
        if not data:
            return None
        # The name is in brackets and may itself hold brackets and blanks.
        fields = data[data.rindex(b")") + 2 :].split(None, 20)
        return Seen(
            pid,
            fields[0].decode(),
            parent=int(fields[1]),
            group=int(fields[2]),
            session=int(fields[3]),
            start=int(fields[19]),
        )

    def stamp(self) -> int:
        """Clock ticks since boot, as start times are."""
        return clock_gettime_ns(CLOCK_BOOTTIME) // _TICK

    def start_since(self, pid: int, stamp: int) -> int:
        """Mostly it is the same tick still, which spares a look: that costs more than all the rest of a spawn."""
        return stamp if stamp == self.stamp() else super().start_since(pid, stamp)

    def environ(self, pid: int) -> bytes | None:
        """From ``/proc/PID/environ``, which is empty for a zombie and for a moment during an exec."""
        return _read(f"/proc/{pid}/environ")

    def exited(self, pid: int) -> bool | None:
        """By ``waitid`` with WNOWAIT: the zombie stays."""
        try:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return None

    def signal(self, seen: Seen, number: int) -> bool:
        """By pidfd, opened before the start time is compared: the pid cannot change hands in between."""
        try:
            fd = os.pidfd_open(seen.pid)
        except OSError:
            return self._signal_by_pid(seen, number)
        try:
            now = self.look(seen.pid)
            if now is None or now.start != seen.start:
                return False
            signal.pidfd_send_signal(fd, number)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def _signal_by_pid(self, seen: Seen, number: int) -> bool:
        """Without pidfds (seccomp, descriptors used up): the look and the kill are microseconds apart."""
        now = self.look(seen.pid)
        if now is None or now.start != seen.start:
            return False
        try:
            os.kill(seen.pid, number)
        except OSError:
            return False
        return True

    def peak(self, max_rss: int) -> int:
        """It counts in KiB. A small program shows the host's own size: the peak survives the exec."""
        return max_rss * 1024

    def resident(self, pid: int) -> int:
        """From ``/proc/PID/statm``, which counts in pages."""
        fields = (_read(f"/proc/{pid}/statm") or b"").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0

    def command(self, pid: int) -> str:
        """``/proc/PID/cmdline``, or the kernel's name for it in brackets where that is empty."""
        line = (_read(f"/proc/{pid}/cmdline") or b"").rstrip(b"\0").replace(b"\0", b" ")
        if not line:
            name = (_read(f"/proc/{pid}/comm") or b"").strip()
            line = b"[" + name + b"]" if name else b""
        return "".join(c if c.isprintable() else "?" for c in line.decode("utf-8", "replace")[:200])

    def memory_kills(self) -> int | None:
        """Of this process's control group, where memory is counted by group, else of the whole machine."""
        path, key = counter_of_memory_kills(_read("/proc/self/cgroup") or b"", "/sys/fs/cgroup")
        words = (_read(path) or b"").split()
        try:
            return int(words[words.index(key) + 1])
        except (ValueError, IndexError):
            return None

    def describe(self, pid: int) -> list[str]:
        """State, where it sleeps in the kernel, its system call, its threads."""
        seen = self.look(pid)
        if seen is None:
            return [f"{pid}: gone"]
        lines = [f"{pid}: {self.command(pid)}", f"  state: {_STATES.get(seen.state, seen.state)}"]
        for title, name in (("waits in", "wchan"), ("system call", "syscall")):
            text = (_read(f"/proc/{pid}/{name}") or b"").decode("utf-8", "replace").strip()
            if text and text != "0":
                lines.append(f"  {title}: {text}")
        threads = _list(f"/proc/{pid}/task")
        if len(threads) > 1:
            lines.append(f"  threads: {len(threads)}")
            for thread in threads[:16]:
                wchan = (_read(f"/proc/{pid}/task/{thread}/wchan") or b"").decode("utf-8", "replace")
                name = (_read(f"/proc/{pid}/task/{thread}/comm") or b"").decode("utf-8", "replace").strip()
                lines.append(f"    {thread} {name}: {wchan if wchan not in {'', '0'} else 'running'}")
        return lines


_STATES = {
    "R": "R (running)",
    "S": "S (sleeping)",
    "D": "D (uninterruptible sleep)",
    "T": "T (stopped by a signal)",
    "t": "t (stopped by a debugger)",
    "Z": "Z (ended, not reaped by its parent)",
    "I": "I (idle)",
}


def counter_of_memory_kills(groups: bytes, root: str) -> tuple[str, bytes]:
    """The file in which the kernel counts the kills, and the word before the number.

    Version 2 of control groups counts what is below a group with it, so that the nearest one above that counts will do;
    in a container the path may begin outside of what is mounted.

    Args:
        groups: Content of ``/proc/self/cgroup``.
        root: Where control groups are mounted.
    """
    for line in groups.decode("utf-8", "replace").splitlines():
        _number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            mount, name = f"{root}/memory", "memory.oom_control"
        elif not controllers:
            mount, name = root, "memory.events"
        else:
            continue
        while True:
            file = f"{mount}{path.rstrip('/')}/{name}"
            if os.path.exists(file):
                return file, b"oom_kill"
            if path in {"", "/"}:
                break
            path = os.path.dirname(path)
    return "/proc/vmstat", b"oom_kill"


def prctl(option: int, argument: int | bytes) -> bool:
    """``prctl(2)``; False where it, or ctypes, is missing."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(option, argument, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _gone(pid: int) -> Seen:
    """Was listed, and is no more."""
    return Seen(pid, "X", parent=0, group=0, session=0, start=0)


def _children(pid: int) -> list[int]:
    """Children of every thread, from the kernel's lists, or by a scan where the kernel was built without them."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        data = _read(f"/proc/{pid}/task/{thread}/children")
        if data is None and not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
            return _children_by_scan(pid)
        found += map(int, (data or b"").split())
    return found


def _children_by_scan(pid: int) -> list[int]:
    """Without CONFIG_PROC_CHILDREN (gVisor, small kernels): the parent field of every process."""
    return [seen.pid for seen in Linux().everyone() if seen.parent == pid]


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _read(path: str) -> bytes | None:
    """A whole small file; ``None``: it is gone or not ours to read."""
    try:
        fd = os.open(path, _READ)
    except OSError:
        return None
    try:
        data = os.read(fd, 65536)
        if len(data) < 2048:  # /proc gives at most a page of whole entries at a time: so little is all of it
            return data
        while piece := os.read(fd, 65536):
            data += piece
    except OSError:
        return None
    finally:
        os.close(fd)
    return data
