"""Whether processes are really gone: by pid and start time, never by the pid alone."""

from __future__ import annotations

import os
import time
from typing import Self

PATIENCE = 10.0  # seconds in which what should be gone must be


def start_time(pid: int) -> int | None:
    """In clock ticks since boot; ``None``: there is no such process, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] == b"Z" else int(fields[19])


def zombies_of(pid: int) -> list[int]:
    """The dead children that ``pid`` has not reaped."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] == b"Z" and int(fields[1]) == pid:
                found.append(int(name))
    return found


def descriptors_of(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def state_of(pid: int) -> str:
    """The letter of its state; empty: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return ""


def name_of(pid: int) -> str:
    """The kernel's name for it; empty: it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


class Census:
    """Processes that were seen alive, to be looked for again."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def note(self, *pids: int) -> Self:
        """Remembers those that live."""
        for pid in pids:
            start = start_time(pid)
            if start is not None:
                self._seen[pid] = start
        return self

    def note_marked(self, mark: str) -> list[int]:
        """Remembers, and returns, all whose environment carries ``mark``."""
        found = [int(name) for name in os.listdir("/proc") if name.isdigit() and carries(int(name), mark)]
        self.note(*found)
        return found

    def alive(self) -> list[int]:
        """Those that still are the processes that were seen."""
        return [pid for pid, start in self._seen.items() if start_time(pid) == start]

    def assert_gone(self) -> None:
        """Waits for all to be gone.

        Raises:
            AssertionError: One is not.
        """
        assert self._seen, "nobody was ever seen"
        until = time.monotonic() + PATIENCE
        while left := self.alive():
            assert time.monotonic() < until, f"still alive: {left}"
            time.sleep(0.005)


def carries(pid: int, mark: str) -> bool:
    """Whether a process's environment carries ``mark``."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark.encode() in file.read()
    except OSError:
        return False


def wait_until(what: object, *, patience: float = PATIENCE) -> None:
    """Waits for a callable to be true.

    Raises:
        AssertionError: It never was.
    """
    until = time.monotonic() + patience
    while not what():  # type: ignore[operator]
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.005)
