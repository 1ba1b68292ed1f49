"""Python tasks that do nothing, in the two persistent workers of a pool: how many a second, whole runs.

The floor sends each call to a bare process through a pipe and waits for the answer, one at a time. doit, if it is
installed, calls the functions in its own process, without supervising them. taskrun's figure is also given without the
start of the run itself.

python tests/benchmarks/pooled.py [--quick] [--rounds N]
"""

from __future__ import annotations

import importlib.util
import os
import sys

import side_by_side as bench

PIPE = """
import os, sys
def nothing():
    return None
to_read, to_write = os.pipe()
from_read, from_write = os.pipe()
if os.fork() == 0:
    os.close(to_write)
    while os.read(to_read, 100):
        os.write(from_write, repr(nothing()).encode())
    os._exit(0)
for _ in range(int(sys.argv[1])):
    os.write(to_write, b"nothing")
    os.read(from_read, 100)
"""
DODO = """
def nothing():
    return None
def task_n():
    for number in range({count}):
        yield {{"name": str(number), "actions": [nothing]}}
"""


def main() -> None:
    given = bench.arguments(__doc__)
    count = 100 if given.quick else 10_000
    with bench.work_folder() as folder:
        with open(os.path.join(folder, "jobs.py"), "w", encoding="utf-8") as file:
            file.write("def nothing():\n    return None\n")
        with open(os.path.join(folder, "dodo.py"), "w", encoding="utf-8") as file:
            file.write(DODO.format(count=count))
        path = os.path.join(folder, "tasks.toml")
        names = [f"t{number}" for number in range(count)]
        calls = {name: {"python": "jobs:nothing", "pool": "workers"} for name in names}
        bench.write_tasks(path, {**calls, "all": {"needs": names}})
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n[pools.workers]\nsize = 2\n")
        columns = [
            bench.Column("floor: a pipe to one process", [sys.executable, "-c", PIPE, str(count)], count),
            *(
                bench.Column(f"taskrun -j {jobs}", bench.taskrun(path, "-j", str(jobs), "all"), count, cwd=folder)
                for jobs in (1, 2)
            ),
            bench.Column("taskrun, one task", bench.taskrun(path, "t0"), 1, cwd=folder),
        ]
        if importlib.util.find_spec("doit") is not None:
            columns.insert(1, bench.Column("doit", [sys.executable, "-m", "doit", "-v0"], count, cwd=folder))
        best = bench.compare(columns, given.rounds, before=lambda _column: bench.forget_records(folder))
    bench.show(f"{count:,} Python calls in a pool of two", columns, best, "calls/s")
    alone = best["taskrun, one task"].wall
    for jobs in (1, 2):
        each = (best[f"taskrun -j {jobs}"].wall - alone) / (count - 1) * 1_000_000
        print(f"\n-j {jobs}: {each:.0f} us each, the start of the run left out")


if __name__ == "__main__":
    main()
