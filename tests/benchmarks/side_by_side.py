"""Runs commands side by side, in turns, and prints the best run of each: figures for a person, nothing is asserted.

Everything of one round runs under the same load, so that ratios within a table hold on a busy machine; seconds do not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.metadata import version
from typing import NamedTuple

TASKRUN = [sys.executable, "-m", "taskrun"]
HERE = os.path.dirname(os.path.abspath(__file__))


class Column(NamedTuple):
    """A command that does `count` units of work; `stdout` is "null" or "pipe" (read to its end by `wc -c`)."""

    name: str
    argv: list[str]
    count: float
    stdout: str = "null"
    cwd: str | None = None


class Sample(NamedTuple):
    """One run: seconds of wall and of CPU (all of its processes), the largest of its processes in MB.

    A process that is smaller than this one shows this one's size, 16 MB or so: the peak survives the exec.
    """

    wall: float
    cpu: float
    rss: float
    said: bytes = b""


def environment() -> dict[str, str]:
    """The caller's, without what changes how Python starts: PYTHONDONTWRITEBYTECODE costs a start 100 ms."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TASKRUN"))}


def run(column: Column, timeout: float = 300.0) -> Sample:
    """Runs it once and reaps it; what it writes to a pipe is counted by `wc`."""
    counter = None
    if column.stdout == "pipe":
        counter = subprocess.Popen(["wc", "-lc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out = subprocess.DEVNULL if counter is None else counter.stdin
    began = time.perf_counter()
    process = subprocess.Popen(
        column.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, cwd=column.cwd, env=environment()
    )
    signal.setitimer(signal.ITIMER_REAL, timeout)
    said = process.stderr.read()
    _pid, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    signal.setitimer(signal.ITIMER_REAL, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{column.name} ended with {process.returncode}:\n{said.decode(errors='replace')[-2000:]}")
    if counter is not None:
        counter.stdin.close()
        said = counter.stdout.read()
        counter.wait()
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said)


def compare(columns: list[Column], rounds: int, *, before=lambda _column: None) -> dict[str, Sample]:
    """The best of each figure over several rounds, in which the columns take turns."""
    best: dict[str, Sample] = {}
    for _ in range(rounds):
        for column in columns:
            before(column)
            now = run(column)
            old = best.get(column.name, now)
            best[column.name] = Sample(min(old.wall, now.wall), min(old.cpu, now.cpu), min(old.rss, now.rss), now.said)
    return best


def show(title: str, columns: list[Column], best: dict[str, Sample], unit: str, scale: float = 1.0) -> None:
    """Prints a table; the first column is what the others are held against. `scale`: units shown per unit of work."""
    print(f"\n{title}\n")
    print(f"| {'':<38} | {unit:>14} | of the first | CPU ms each | MB  |")
    print(f"| {'-' * 38} | {'-' * 13}: | -----------: | ----------: | --: |")
    first = columns[0].count / best[columns[0].name].wall
    for column in columns:
        sample = best[column.name]
        rate = column.count / sample.wall
        each = sample.cpu / column.count * 1000
        print(
            f"| {column.name:<38} | {rate * scale:>14,.1f} | {rate / first:>12.2f} | {each:>11.3f} | {sample.rss:>3.0f} |"
        )


def taskrun(file: str, *words: str) -> list[str]:
    """taskrun's command line."""
    return [*TASKRUN, "run", "-f", file, *words]


def write_tasks(path: str, tasks: dict[str, dict[str, object]]) -> None:
    """A task file: JSON strings, numbers and lists are TOML too."""
    with open(path, "w", encoding="utf-8") as file:
        for name, task in tasks.items():
            file.write(f"[tasks.{json.dumps(name)}]\n")
            file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in task.items())


def forget_records(folder: str) -> None:
    """A run's logs are no part of the next one: the file system would have more and more to do."""
    shutil.rmtree(os.path.join(folder, ".taskrun"), ignore_errors=True)


@contextmanager
def work_folder():
    """A folder for a benchmark's files."""
    with tempfile.TemporaryDirectory(prefix="taskrun-bench-") as folder:
        yield folder


def arguments(doc: str | None, rounds: int = 5) -> argparse.Namespace:
    """--quick and --rounds; prints the machine."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does it work?")
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds, of which the best counts")
    given = parser.parse_args()
    given.rounds = 1 if given.quick else given.rounds
    print(
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, trio {version('trio')}, Linux {platform.release()}"
    )
    return given
