"""How long taskrun takes to start, beside an empty `trio.run`.

The ratios are medians of those to the floor's run of the same round. Where valgrind is installed, the instructions of
the main process are counted too, which no noise disturbs; the host of a run, which works beside it, is not in them.

python tests/benchmarks/startup.py [--quick] [--rounds N]
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time

import side_by_side as bench

TASKS = '[tasks.t]\nrun = ["true"]\n'
EMPTY = "import trio\nasync def main(): pass\ntrio.run(main)\n"
NO_TRIO = "pass\n"
FLOOR = "an empty trio.run"


def commands(folder: str) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Arguments and additional environment, by what the table calls them."""
    script = os.path.join(os.path.dirname(sys.executable), "taskrun")
    taskrun = [sys.executable, script] if os.path.exists(script) else bench.TASKRUN
    files = {}
    for name, text in {"empty.py": EMPTY, "bare.py": NO_TRIO, "tasks.toml": TASKS}.items():
        files[name] = os.path.join(folder, name)
        with open(files[name], "w", encoding="utf-8") as file:
            file.write(text)
    completing = {"_TASKRUN_COMPLETE": "bash_complete", "_TASKRUN_LINE": "taskrun run ", "_TASKRUN_BREAKS": " =:"}
    return {
        FLOOR: ([sys.executable, files["empty.py"]], {}),
        "taskrun run, one no-op": ([*taskrun, "run", "t"], {}),
        "taskrun list": ([*taskrun, "list"], {}),
        "taskrun --help": ([*taskrun, "--help"], {}),
        "completion": (taskrun, completing),
        "bare Python": ([sys.executable, files["bare.py"]], {}),
    }


def once(argv: list[str], environ: dict[str, str], folder: str) -> tuple[float, float]:
    """Seconds by the clock, and of CPU in all processes."""
    began = time.perf_counter()
    process = subprocess.Popen(
        argv, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{argv} ended with {process.returncode}"
    return took, usage.ru_utime + usage.ru_stime


def instructions(argv: list[str], environ: dict[str, str], folder: str) -> int | None:
    """Of the largest process, where valgrind can count them."""
    if shutil.which("valgrind") is None:
        return None
    counting = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *argv]
    done = subprocess.run(
        counting, cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return max((int(count) for count in re.findall(r"Collected : (\d+)", done.stderr)), default=None)


def main() -> None:
    """Prints the table."""
    given = bench.arguments(__doc__, rounds=15)
    environ = bench.environment()
    with bench.work_folder() as folder:
        all_commands = commands(folder)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in all_commands}
        for number in range(given.rounds + 1):
            for name, (argv, more) in all_commands.items():
                taken = once(argv, environ | more, folder)
                if number:  # the first round compiles
                    times[name].append(taken)
        counted = {name: instructions(argv, environ | more, folder) for name, (argv, more) in all_commands.items()}
    print(f"{'':<26}{'best':>9}{'median':>9}{'ratio':>8}{'CPU':>9}{'ratio':>8}{'M instructions':>17}{'ratio':>8}")
    floor, floor_count = times[FLOOR], counted[FLOOR]
    for name, taken in times.items():
        clock, cpu = [each[0] for each in taken], [each[1] for each in taken]
        ratios = [
            statistics.median(one[kind] / other[kind] for one, other in zip(taken, floor, strict=True))
            for kind in (0, 1)
        ]
        line = f"{name:<26}{min(clock) * 1e3:>6.1f} ms{statistics.median(clock) * 1e3:>6.1f} ms{ratios[0]:>8.2f}"
        line += f"{min(cpu) * 1e3:>6.1f} ms{ratios[1]:>8.2f}"
        count = counted[name]
        if count is not None and floor_count is not None:
            line += f"{count / 1e6:>17,.0f}{count / floor_count:>8.2f}"
        print(line)


if __name__ == "__main__":
    main()
