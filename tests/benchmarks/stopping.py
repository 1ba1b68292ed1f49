"""Ctrl+C with 50 running tasks: from the signal to the end of the run, and what is left afterwards.

The floor is a script that starts the same commands, each in a session of its own, and kills their groups. Tasks are
obedient, or ignore the signal (with a grace period of one second), or have left a daemon in a session of its own.

python tests/benchmarks/stopping.py [--quick] [--rounds N]
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid

import side_by_side as bench

MARK = "TASKRUN_BENCH_MARK"
KINDS = {
    "obedient": "exec sleep 600",
    "stubborn": "trap '' INT TERM; sleep 600; sleep 600",
    "daemons": "setsid sh -c 'sleep 600 & sleep 600' & wait",
}
FLOOR = """
import os, signal, sys
pids = []
def stop(number, frame):
    for pid in pids:
        os.killpg(pid, int(sys.argv[3]))
signal.signal(signal.SIGINT, stop)
for _ in range(int(sys.argv[1])):
    pids.append(os.posix_spawn("/bin/sh", ["sh", "-c", sys.argv[2]], os.environ, setsid=True))
for pid in pids:
    os.waitpid(pid, 0)
"""


def main() -> None:
    given = bench.arguments(__doc__)
    count = 5 if given.quick else 50
    print(f"\n{count} running tasks, SIGINT to the runner alone\n")
    print(f"| {'':<12} | {'floor':>8} | left | {'taskrun':>8} | left |")
    print(f"| {'-' * 12} | {'-' * 7}: | ---: | {'-' * 7}: | ---: |")
    with bench.work_folder() as folder:
        for kind, command in KINDS.items():
            path = os.path.join(folder, "tasks.toml")
            names = [f"t{number}" for number in range(count)]
            each = {name: {"shell": command, "grace": 1} for name in names}
            bench.write_tasks(path, {**each, "all": {"needs": names}})
            number = signal.SIGKILL if kind == "stubborn" else signal.SIGTERM
            floor = [sys.executable, "-c", FLOOR, str(count), command, str(int(number))]
            runner = bench.taskrun(path, "-j", str(count), "all")
            figures = []
            for argv in (floor, runner):
                stops = [stop(argv, count, kind) for _ in range(given.rounds)]
                figures.append((min(seconds for seconds, _ in stops), max(left for _, left in stops)))
                shutil.rmtree(os.path.join(folder, ".taskrun"), ignore_errors=True)
            (best, left), (ours, ours_left) = figures
            print(f"| {kind:<12} | {best:>6.3f} s | {left:>4} | {ours:>6.3f} s | {ours_left:>4} |")


def stop(argv: list[str], count: int, kind: str) -> tuple[float, int]:
    """Seconds from the signal to the runner's end, and how many processes it left (which are then killed)."""
    mark = uuid.uuid4().hex
    environ = bench.environment() | {MARK: mark}
    null = subprocess.DEVNULL
    process = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, env=environ)
    sleeps = count * (2 if kind == "daemons" else 1)
    deadline = time.monotonic() + 60
    while sum(name == "sleep" for name in marked(mark).values()) < sleeps and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.2)
    began = time.perf_counter()
    os.kill(process.pid, signal.SIGINT)
    process.wait(30)
    took = time.perf_counter() - began
    left = marked(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return took, len(left)


def marked(mark: str) -> dict[int, str]:
    """Live processes that carry the mark, with their names."""
    needle = f"{MARK}={mark}".encode()
    found = {}
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{int(entry)}/environ", "rb") as file:
                if needle not in file.read().split(b"\0"):
                    continue
            with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as file:
                found[int(entry)] = file.read().strip()
        except (OSError, ValueError):
            continue
    return found


if __name__ == "__main__":
    main()
