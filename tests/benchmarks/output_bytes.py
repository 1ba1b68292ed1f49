"""Tasks' output: one task's gibibyte, and eight tasks' lines with labels. Both are shown and logged.

The floors copy through Python or put a label before each line of a block, and keep nothing; `tee` keeps a copy.

python tests/benchmarks/output_bytes.py [--quick] [--rounds N]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import side_by_side as bench

COPY = """
import subprocess, sys, os
with subprocess.Popen(["cat", sys.argv[1]], stdout=subprocess.PIPE, bufsize=0) as process:
    while data := os.read(process.stdout.fileno(), 65536):
        while data:
            data = data[os.write(1, data):]
"""
LABEL = """
import os, selectors, subprocess, sys
selector = selectors.DefaultSelector()
for number, path in enumerate(sys.argv[1:]):
    process = subprocess.Popen(["cat", path], stdout=subprocess.PIPE, bufsize=0)
    selector.register(process.stdout, selectors.EVENT_READ, [f"t{number} | ".encode(), b""])
while selector.get_map():
    for key, _ in selector.select():
        label, rest = key.data
        data = os.read(key.fd, 65536)
        if not data:
            selector.unregister(key.fileobj)
            continue
        whole, _, key.data[1] = (rest + data).rpartition(b"\\n")
        if whole:
            os.write(1, label + whole.replace(b"\\n", b"\\n" + label) + b"\\n")
"""


def main() -> None:
    given = bench.arguments(__doc__, rounds=3)
    with bench.work_folder() as folder:
        one_task(folder, 16 if given.quick else 1024, given.rounds)
        eight_tasks(folder, 2000 if given.quick else 100_000, given.rounds)


def one_task(folder: str, mebibytes: int, rounds: int) -> None:
    source, kept, path = (os.path.join(folder, name) for name in ("source", "kept", "tasks.toml"))
    with open(source, "wb") as file:
        file.writelines((b"x" * 100 + b"\n") * 10381 + b"y" * 95 for _ in range(mebibytes))
    bench.write_tasks(path, {"t": {"run": ["cat", source]}})

    def clean(_column: bench.Column) -> None:
        bench.forget_records(folder)
        if os.path.exists(kept):
            os.unlink(kept)

    for stdout in ("null", "pipe"):
        columns = [
            bench.Column("floor: read and write 64 KiB", [sys.executable, "-c", COPY, source], mebibytes, stdout),
            bench.Column(
                "floor: tee, which keeps a copy", ["sh", "-c", f"cat {source} | tee {kept}"], mebibytes, stdout
            ),
            bench.Column("taskrun", bench.taskrun(path, "t"), mebibytes, stdout),
        ]
        best = bench.compare(columns, rounds, before=clean)
        bench.show(f"{mebibytes:,} MiB of one task, stdout is {stdout}", columns, best, "MiB/s")
    clean(columns[0])
    os.unlink(source)


def eight_tasks(folder: str, count: int, rounds: int) -> None:
    paths = [os.path.join(folder, f"lines{number}") for number in range(8)]
    for number, path in enumerate(paths):
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"T{number} line {line:07d} {'y' * 40} end\n" for line in range(count))
    tasks = os.path.join(folder, "tasks.toml")
    names = [f"t{number}" for number in range(8)]
    each = {name: {"run": ["cat", path]} for name, path in zip(names, paths, strict=True)}
    bench.write_tasks(tasks, {**each, "all": {"needs": names}})
    argv = bench.taskrun(tasks, "-j", "8", "--output", "stream", "all")
    columns = [
        bench.Column("floor: labels by the block", [sys.executable, "-c", LABEL, *paths], 8 * count, "pipe"),
        bench.Column("taskrun --output stream", argv, 8 * count, "pipe"),
    ]
    best = bench.compare(columns, rounds, before=lambda _column: bench.forget_records(folder))
    bench.show(f"8 tasks, {count:,} lines each, with labels", columns, best, "million lines/s", 1e-6)
    print(f"\nlines lost, broken or out of order: {wrong_lines(argv, count)}")


def wrong_lines(argv: list[str], count: int) -> int:
    """Looks at every line of one more run."""
    out = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=bench.environment(), text=True
    ).stdout
    shape = re.compile(r"t(\d) \| T\1 line (\d{7}) y{40} end")
    following = [0] * 8
    wrong = 0
    for line in out.splitlines():
        match = shape.fullmatch(line)
        if match is None or int(match[2]) != following[int(match[1])]:
            wrong += 1
        else:
            following[int(match[1])] += 1
    return wrong + sum(count - seen for seen in following)


if __name__ == "__main__":
    main()
