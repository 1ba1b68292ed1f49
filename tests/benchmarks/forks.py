"""Python tasks that do nothing, each in a fresh fork of a template: how many a second, whole runs.

The floor forks a bare interpreter for each call, which hands its result back through a pipe; a fresh interpreter for
each is what one has without a template. taskrun's figure is also given without the start of the run itself.

python tests/benchmarks/forks.py [--quick] [--rounds N]
"""

from __future__ import annotations

import os
import sys

import side_by_side as bench

FORK = """
import os, sys
def nothing():
    return None
for _ in range(int(sys.argv[1])):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, repr(nothing()).encode())
        os._exit(0)
    os.close(writing)
    os.read(reading, 100)
    os.close(reading)
    os.waitpid(pid, 0)
"""
FRESH = """
import subprocess, sys
for _ in range(int(sys.argv[1])):
    subprocess.run([sys.executable, "-c", "pass"], check=True)
"""


def main() -> None:
    given = bench.arguments(__doc__)
    count = 50 if given.quick else 2000
    with bench.work_folder() as folder:
        with open(os.path.join(folder, "jobs.py"), "w", encoding="utf-8") as file:
            file.write("def nothing():\n    return None\n")
        path = os.path.join(folder, "tasks.toml")
        names = [f"t{number}" for number in range(count)]
        calls = {name: {"python": "jobs:nothing"} for name in names}
        bench.write_tasks(path, {**calls, "all": {"needs": names}})
        columns = [
            bench.Column("floor: a fork for each call", [sys.executable, "-c", FORK, str(count)], count),
            bench.Column("a fresh interpreter for each", [sys.executable, "-c", FRESH, str(count // 20)], count // 20),
            *(
                bench.Column(f"taskrun -j {jobs}", bench.taskrun(path, "-j", str(jobs), "all"), count, cwd=folder)
                for jobs in (1, 2, 8)
            ),
            bench.Column("taskrun, one task", bench.taskrun(path, "t0"), 1, cwd=folder),
        ]
        best = bench.compare(columns, given.rounds, before=lambda _column: bench.forget_records(folder))
    bench.show(f"{count:,} Python calls", columns, best, "calls/s")
    alone = best["taskrun, one task"].wall
    for jobs in (1, 2, 8):
        each = (best[f"taskrun -j {jobs}"].wall - alone) / (count - 1) * 1000
        print(f"\n-j {jobs}: {each:.2f} ms each, the start of the run left out")


if __name__ == "__main__":
    main()
