"""The durable queue: jobs stored, taken and settled a second, from commit to claim, and what an idle worker costs.

The floor is bare sqlite3: the same transactions on a table of three columns. Other queues take part where they are
installed (huey, litequeue, persist-queue); what these do not promise is in docs/design/queue.md.

python tests/benchmarks/jobqueue.py [--quick] [--rounds N]
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys

import queueing
import side_by_side as bench

SCRIPT = os.path.join(bench.HERE, "queueing.py")
RATES = {
    "enqueue": "stored, one a transaction",
    "enqueue-50": f"stored, {queueing.BATCH} a transaction",
    "settle": "taken and settled, one at a time",
    "settle-8": "taken and settled, 8 at a time",
}


def main() -> None:
    given = bench.arguments(__doc__)
    count, seconds = (300, 1.0) if given.quick else (3000, 5.0)
    there = [name for name in queueing.CONTENDERS if name in {"floor", "taskrun"} or importlib.util.find_spec(name)]
    best: dict[str, dict[str, float]] = {name: {} for name in there}
    for _ in range(given.rounds):
        for name in there:
            argv = [sys.executable, SCRIPT, name, str(count), str(seconds)]
            said = json.loads(bench.run(bench.Column(name, argv, count)).said.splitlines()[-1])
            for key, value in said.items():
                better = max if key in RATES else min
                best[name][key] = better(value, best[name].get(key, value))
    print("\nJobs a second, best of the rounds; in brackets of the floor\n")
    print(f"| {'':<32} |" + "".join(f" {name:>18} |" for name in there))
    print(f"| {'-' * 32} |" + f" {'-' * 17}: |" * len(there))
    for key, label in RATES.items():
        print(f"| {label:<32} |" + "".join(f" {cell(best, name, key):>18} |" for name in there))
    ours = best["taskrun"]
    print(
        f"\nFrom commit to claim in another process: median {ours['latency'] * 1e3:.2f} ms, "
        f"95 % within {ours['latency-95'] * 1e3:.2f} ms (of each the best round)\n"
        f"An idle worker: {ours['idle'] * 100:.3f} % of a CPU"
    )


def cell(best: dict[str, dict[str, float]], name: str, key: str) -> str:
    if key not in best[name]:
        return ""
    floor = best["floor"].get(key, best["floor"]["settle"])
    return f"{best[name][key]:,.0f} ({best[name][key] / floor:.2f})"


if __name__ == "__main__":
    main()
