"""Tasks that do nothing: how many a second, whole runs, eight at a time, with records and logs kept.

The floor is a Python loop around `posix_spawn`; then trio with a pidfd and two pipes for each process, which is the
least that a runner needs that shows output; then other runners, where they are installed.

python tests/benchmarks/throughput.py [--quick] [--rounds N]
"""

from __future__ import annotations

import os
import shutil
import sys

import side_by_side as bench

JOBS = 8
SPAWN = """
import os, sys
count, jobs = map(int, sys.argv[1:])
started = running = 0
while started < count or running:
    while started < count and running < jobs:
        os.posix_spawn("/bin/true", ["/bin/true"], os.environ)
        started, running = started + 1, running + 1
    os.waitpid(-1, 0)
    running -= 1
"""
TRIO = """
import os, sys, trio
count, jobs = map(int, sys.argv[1:])

async def read(fd):
    os.set_blocking(fd, False)
    while True:
        await trio.lowlevel.wait_readable(fd)
        if not os.read(fd, 65536):
            os.close(fd)
            return

async def carry(numbers):
    for _ in numbers:
        out, err = os.pipe(), os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, out[1], 1), (os.POSIX_SPAWN_DUP2, err[1], 2)]
        pid = os.posix_spawn("/bin/true", ["/bin/true"], os.environ, file_actions=actions)
        os.close(out[1])
        os.close(err[1])
        ended = os.pidfd_open(pid)
        await trio.lowlevel.wait_readable(ended)
        os.close(ended)
        os.waitpid(pid, 0)
        await read(out[0])
        await read(err[0])

async def main():
    numbers = iter(range(count))
    async with trio.open_nursery() as nursery:
        for _ in range(jobs):
            nursery.start_soon(carry, numbers)

trio.run(main)
"""


def main() -> None:
    given = bench.arguments(__doc__)
    count = 300 if given.quick else 5000
    with bench.work_folder() as folder:
        columns = [
            bench.Column("floor: posix_spawn", [sys.executable, "-c", SPAWN, str(count), str(JOBS)], count),
            bench.Column("floor: trio, pidfd, two pipes", [sys.executable, "-c", TRIO, str(count), str(JOBS)], count),
            *peers(folder, count),
            bench.Column("taskrun", bench.taskrun(tasks(folder, count), "-j", str(JOBS), "all"), count, cwd=folder),
        ]
        best = bench.compare(columns, given.rounds, before=lambda _column: bench.forget_records(folder))
    bench.show(f"{count:,} x /bin/true, {JOBS} at a time", columns, best, "tasks/s")


def tasks(folder: str, count: int) -> str:
    path = os.path.join(folder, "tasks.toml")
    names = [f"t{number}" for number in range(count)]
    flat = {name: {"run": ["/bin/true"]} for name in names}
    bench.write_tasks(path, {**flat, "all": {"needs": names}})
    return path


def peers(folder: str, count: int) -> list[bench.Column]:
    names = [f"t{number}" for number in range(count)]
    found = [
        bench.Column("xargs -P", ["sh", "-c", f"seq {count} | xargs -P {JOBS} -I_ /bin/true"], count),
    ]
    if shutil.which("make"):
        with open(os.path.join(folder, "Makefile"), "w", encoding="utf-8") as file:
            file.write(f".PHONY: all {' '.join(names)}\nall: {' '.join(names)}\n")
            file.writelines(f"{name}:\n\t@/bin/true\n" for name in names)
        found.append(bench.Column("make -j", ["make", "-s", "-j", str(JOBS), "all"], count, cwd=folder))
    if shutil.which("ninja"):
        with open(os.path.join(folder, "build.ninja"), "w", encoding="utf-8") as file:
            file.write("rule r\n  command = /bin/true\n")
            file.writelines(f"build {name}: r\n" for name in names)
        found.append(bench.Column("ninja", ["ninja", "--quiet", "-j", str(JOBS)], count, cwd=folder))
    return found


if __name__ == "__main__":
    main()
