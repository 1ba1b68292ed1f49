"""A plan of 20,000 tasks with three dependencies each: read, checked, resolved and put in order, nothing started.

The floor reads the same file with tomli, whose collector of garbage is switched off, and puts it in order by Kahn's
way: no check of anything, no look-ups, no message should something be wrong.

python tests/benchmarks/planning.py [--quick] [--rounds N]
"""

from __future__ import annotations

import os
import shutil
import sys

import side_by_side as bench

WIDTH = 200
FLOOR = """
import gc, sys
gc.disable()
import tomli
with open(sys.argv[1], "rb") as file:
    tasks = tomli.load(file)["tasks"]
unmet = {name: len(task.get("needs", ())) for name, task in tasks.items()}
dependents = {}
for name, task in tasks.items():
    for need in task.get("needs", ()):
        dependents.setdefault(need, []).append(name)
order = [name for name, count in unmet.items() if not count]
for name in order:
    for dependent in dependents.get(name, ()):
        unmet[dependent] -= 1
        if not unmet[dependent]:
            order.append(dependent)
assert len(order) == len(tasks)
print("\\n".join(order))
"""


def main() -> None:
    given = bench.arguments(__doc__)
    for count in (500,) if given.quick else (1000, 5000, 20_000):
        with bench.work_folder() as folder:
            needs = layered(count)
            path = os.path.join(folder, "tasks.toml")
            bench.write_tasks(path, {name: {"run": ["/bin/true"], "needs": needs[name]} for name in needs})
            last = f"t{count - 1}"
            columns = [
                bench.Column("floor: tomli and Kahn", [sys.executable, "-c", FLOOR, path], 1),
                *peers(folder, needs),
                bench.Column("taskrun run --dry-run", bench.taskrun(path, "--dry-run", "t*"), 1, cwd=folder),
                bench.Column("taskrun check", [*bench.TASKRUN, "check", "-f", path], 1, cwd=folder),
                bench.Column("taskrun list", [*bench.TASKRUN, "list", "-f", path], 1, cwd=folder),
            ]
            best = bench.compare(columns, given.rounds)
            bench.show(f"{count:,} tasks, three dependencies each ({last} last)", columns, best, "runs/s")


def layered(count: int) -> dict[str, list[str]]:
    """Layers of tasks, each of which needs three of the layer before."""
    needs = {}
    for number in range(count):
        layer, place = divmod(number, WIDTH)
        before = {(layer - 1) * WIDTH + (place * 7 + other * 13) % WIDTH for other in range(3)} if layer else ()
        needs[f"t{number}"] = [f"t{need}" for need in sorted(before)]
    return needs


def peers(folder: str, needs: dict[str, list[str]]) -> list[bench.Column]:
    found = []
    if shutil.which("make"):
        with open(os.path.join(folder, "Makefile"), "w", encoding="utf-8") as file:
            file.write(f".PHONY: all {' '.join(needs)}\nall: {' '.join(needs)}\n")
            file.writelines(f"{name}: {' '.join(others)}\n\t@/bin/true\n" for name, others in needs.items())
        found.append(bench.Column("make -n", ["make", "-n", "all"], 1, cwd=folder))
    if shutil.which("ninja"):
        with open(os.path.join(folder, "build.ninja"), "w", encoding="utf-8") as file:
            file.write("rule r\n  command = /bin/true\n")
            file.writelines(f"build {name}: r | {' '.join(others)}\n" for name, others in needs.items())
        found.append(bench.Column("ninja -n", ["ninja", "-n"], 1, cwd=folder))
    return found


if __name__ == "__main__":
    main()
