"""One run of short attempts without end: whether memory, descriptors and speed of runner and host stay flat.

A few tasks of every kind fail, and are tried again at once and for ever: programs that do nothing or write, Python
calls, some that leave a process behind or run into their timeout. After the time is over the run is interrupted. Every
minute a line tells what runner, host and template hold, the dead that nobody has reaped, and attempts per second.

python tests/benchmarks/soak.py [--seconds N] [--quick]
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import side_by_side as bench

JOBS = 12
MARK = "TASKRUN_BENCH_MARK"
TASKS = """
[run]
jobs = {jobs}
[defaults]
log = false
retry = {{ attempts = 1000000000, delay = "1ms" }}
[tasks.nothing]
foreach.n = {{ range = [1, 4] }}
run = ["sh", "-c", "sleep 0.02; exit 1"]
[tasks.lines]
foreach.n = {{ range = [1, 4] }}
run = ["sh", "-c", "seq 200; seq 50 >&2; echo '::taskrun progress 1/2'; exit 1"]
[tasks.logged]
run = ["sh", "-c", "seq 100; sleep 0.2; exit 1"]
log = "1MiB"
[tasks.call]
foreach.n = {{ range = [1, 4] }}
python = "soak_calls:again"
[tasks.leaves]
run = ["sh", "-c", "sleep 60 & exit 1"]
[tasks.late]
run = ["sleep", "60"]
timeout = "200ms"
"""
CALLS = """
import time, taskrun

def again():
    for done in taskrun.track(range(3)):
        time.sleep(0.005)
    raise taskrun.Retry
"""
COLUMNS = ("minute", "attempts/s", "runner MB", "host MB", "template MB", "runner fds", "host fds", "zombies")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0, help="an hour, if nothing is said")
    parser.add_argument("--quick", action="store_true", help="a quarter of a minute: does it work?")
    given = parser.parse_args()
    seconds, every = (15.0, 5.0) if given.quick else (given.seconds, 60.0)
    print(
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, trio {version('trio')}, Linux {platform.release()}\n"
    )
    with bench.work_folder() as folder:
        soak(folder, seconds, every)


def soak(folder: str, seconds: float, every: float) -> None:
    with open(os.path.join(folder, "soak_calls.py"), "w", encoding="utf-8") as file:
        file.write(CALLS)
    with open(os.path.join(folder, "tasks.toml"), "w", encoding="utf-8") as file:
        file.write(TASKS.format(jobs=JOBS))
    words = ["nothing", "lines", "logged", "call", "leaves", "late", "--on-failure", "continue", "--grace", "500ms"]
    argv = [*bench.TASKRUN, "run", *words, "--ui", "none", "--output", "none"]
    began = time.monotonic()
    env = {**bench.environment(), MARK: folder}
    process = subprocess.Popen(argv, cwd=folder, env=env, stderr=subprocess.PIPE)
    count = Count(os.path.join(folder, ".taskrun", "runs", "latest", "events.jsonl"))
    try:
        show(COLUMNS)
        show(["-" * (len(name) - 1) + ":" for name in COLUMNS])
        until = began + every
        while until <= began + seconds + 1 and process.poll() is None:
            time.sleep(max(0.0, until - time.monotonic()))
            show([f"{(time.monotonic() - began) / 60:.1f}", f"{count.rate():.0f}", *held(process.pid)])
            until += every
    finally:
        end(process, count, f"{MARK}={folder}")


class Count:
    """Attempts per second, by the events that were written since the last time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._at = 0
        self._since = time.monotonic()
        self.attempts = 0

    def rate(self) -> float:
        found = 0
        with open(self._path, "rb") as file:
            file.seek(self._at)
            while piece := file.read(1 << 20):
                found += piece.count(b'"event":"task.start"')  # one between two pieces is missed now and then
            self._at = file.tell()
        now = time.monotonic()
        rate = found / (now - self._since)
        self._since, self.attempts = now, self.attempts + found
        return rate


def held(runner: int) -> list[str]:
    """What the three processes hold, as text."""
    host = next(pid for pid in children(runner) if name(pid) == "taskrun-host")
    template = next((pid for pid in children(host) if name(pid).startswith("taskrun-templat")), 0)
    memory = [f"{resident(pid):.1f}" for pid in (runner, host, template)]
    return [*memory, str(descriptors(runner)), str(descriptors(host)), str(zombies(host) + zombies(runner))]


def children(pid: int) -> list[int]:
    return [int(child) for child in read(f"/proc/{pid}/task/{pid}/children").split()]


def name(pid: int) -> str:
    return read(f"/proc/{pid}/comm").strip()


def resident(pid: int) -> float:
    """MB in memory."""
    lines = read(f"/proc/{pid}/status").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def zombies(pid: int) -> int:
    """Children that have been dead for a while: those of this instant are on their way to be reaped."""
    dead = [child for child in children(pid) if state(child) == "Z"]
    time.sleep(1.0)
    return sum(state(child) == "Z" for child in dead)


def state(pid: int) -> str:
    return read(f"/proc/{pid}/stat").rpartition(")")[2].strip()[:1]


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # it is gone
        return ""


def show(cells: tuple[str, ...] | list[str]) -> None:
    print(
        "| " + " | ".join(f"{cell:>{len(title)}}" for cell, title in zip(cells, COLUMNS, strict=True)) + " |",
        flush=True,
    )


def end(process: subprocess.Popen[bytes], count: Count, mark: str) -> None:
    """Interrupts the run, and says how it ended and what it left."""
    attempts, asked = count.attempts, time.monotonic()
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    left = [pid for pid in os.listdir("/proc") if pid.isdigit() and mark in read(f"/proc/{pid}/environ")]
    print(
        f"\n{attempts:,} attempts; interrupted, it ended with {process.returncode} after {time.monotonic() - asked:.2f} s"
        f" and left {len(left)} processes"
    )
    if process.returncode != -signal.SIGINT:
        sys.exit(said.decode(errors="replace")[-2000:])


if __name__ == "__main__":
    main()
