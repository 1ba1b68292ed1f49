"""Requests to worker processes: the round trip of one, how many a second with 64 in flight on two workers, and arrays.

An array is 100 MB to a worker, and its sum back (with numpy only), beside one memcpy of it. The floor is a blocking
socket and pickle, with nobody who watches over the children. Other pools take part where they are installed
(trio-parallel, loky, pebble, mpire), and Node's piscina and workerpool where there is `node` and the folder of
`node_modules` is named by NODE_POOLS.

python tests/benchmarks/workers.py [--quick] [--rounds N]
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys

import echoing
import side_by_side as bench

try:
    import arrays
except ImportError:  # no numpy
    arrays = None

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
    "piscina": "piscina (Node, threads)",
    "workerpool": "workerpool (Node, processes)",
}
ARRAYS = {
    **NAMES,
    "memcpy": "floor: memcpy",
    "sum": "the sum alone",
    "taskrun": "taskrun",
    "taskrun, back": "taskrun, the array back too",
    "shared_memory": "shared_memory by hand",
}
SCRIPT = os.path.join(bench.HERE, "echoing.py")
NODE_SCRIPT = os.path.join(bench.HERE, "echoing.mjs")


def main() -> None:
    given = bench.arguments(__doc__)
    count = 400 if given.quick else 10_000
    there = [
        name for name in echoing.CONTENDERS if "taskrun" in name or name == "floor" or importlib.util.find_spec(name)
    ]
    node, modules = shutil.which("node"), os.environ.get("NODE_POOLS", "")
    of_node = [name for name in ("piscina", "workerpool") if os.path.isdir(os.path.join(modules, "node_modules", name))]
    there += of_node if node is not None else []
    trips: dict[str, float] = {}
    rates: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for _ in range(given.rounds):
        for name in there:
            runner = [str(node), NODE_SCRIPT] if name in of_node else [sys.executable, SCRIPT]
            sample = bench.run(bench.Column(name, [*runner, name, str(count)], count))
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
    if arrays is not None:
        show_arrays(3 if given.quick else 15, given.rounds)


def show_arrays(count: int, rounds: int) -> None:
    """Of arrays and counters, which are measured in the same way."""
    there = [
        name
        for name in arrays.CONTENDERS
        if "taskrun" in name or name in {"memcpy", "sum", "shared_memory"} or importlib.util.find_spec(name)
    ]
    best: dict[str, dict[str, float]] = {}
    script = os.path.join(bench.HERE, "arrays.py")
    for _ in range(rounds):
        for name in [*there, *arrays.COUNTERS]:
            sample = bench.run(bench.Column(name, [sys.executable, script, name, str(count)], count))
            said = json.loads(sample.said.splitlines()[-1])
            best[name] = {what: min(said[what], best.get(name, said)[what]) for what in said}
    floor = best["memcpy"]
    print("\n100 MB of numbers to a worker, and their sum back\n")
    print("|                                | best ms | of the floor | median ms | of the floor |")
    print("| ------------------------------ | ------: | -----------: | --------: | -----------: |")
    for name in there:
        row = best[name]
        print(
            f"| {ARRAYS[name]:<30} | {row['best'] * 1e3:>7.1f} | {row['best'] / floor['best']:>12.1f} "
            f"| {row['median'] * 1e3:>9.1f} | {row['median'] / floor['median']:>12.1f} |"
        )
    print(f"\n{arrays.ADDERS} workers that add {arrays.ADDITIONS:,} each to one counter")
    for name in arrays.COUNTERS:
        print(f"- by {name}: {best[name]['best']:.1f} s")


if __name__ == "__main__":
    main()
