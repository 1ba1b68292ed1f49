"""Requests to worker processes: the round trip of one, and how many a second with 64 in flight on two workers.

The floor is a blocking socket and pickle, with nobody who watches over the children. Other pools take part where they
are installed (trio-parallel, loky, pebble, mpire).

python tests/benchmarks/workers.py [--quick] [--rounds N]
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys

import echoing
import side_by_side as bench

NAMES = {
    "floor": "floor: blocking socket, pickle",
    "taskrun-1": "taskrun",
    "taskrun-16": "taskrun, prefetch=16",
    "taskrun-executor": "taskrun, Executor",
    "taskrun-executor-16": "taskrun, Executor, prefetch=16",
    "concurrent.futures": "concurrent.futures",
    "trio_parallel": "trio-parallel",
    "loky": "loky",
    "pebble": "pebble",
    "mpire": "mpire",
}
SCRIPT = os.path.join(bench.HERE, "echoing.py")


def main() -> None:
    given = bench.arguments(__doc__)
    count = 400 if given.quick else 10_000
    there = [
        name for name in echoing.CONTENDERS if "taskrun" in name or name == "floor" or importlib.util.find_spec(name)
    ]
    trips: dict[str, float] = {}
    rates: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for _ in range(given.rounds):
        for name in there:
            sample = bench.run(bench.Column(name, [sys.executable, SCRIPT, name, str(count)], count))
            said = json.loads(sample.said.splitlines()[-1])
            trips[name] = min(said["trip"], trips.get(name, said["trip"]))
            rates[name] = max(said["rate"], rates.get(name, 0.0))
            cpu[name] = min(sample.cpu, cpu.get(name, sample.cpu))
    print(f"\nA record of five fields there and back; {echoing.IN_FLIGHT} in flight on {echoing.WORKERS} workers\n")
    print("|                                | round trip us | of the floor | requests/s | of the floor | CPU s |")
    print("| ------------------------------ | ------------: | -----------: | ---------: | -----------: | ----: |")
    for name in there:
        print(
            f"| {NAMES[name]:<30} | {trips[name] * 1e6:>13.1f} | {trips[name] / trips['floor']:>12.1f} "
            f"| {rates[name]:>10,.0f} | {rates[name] / rates['floor']:>12.2f} | {cpu[name]:>5.1f} |"
        )


if __name__ == "__main__":
    main()
