"""How fast tasks' output is labelled, cleaned and written: figures for a person, nothing is asserted.

python tests/benchmarks/output_labels.py [SECONDS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

from taskrun.events import RunStart, Stamped, TaskOutput, TaskStart
from taskrun.report import Settings, TaskFacts, Writer, make_reporters

CHUNK = 65536
SHAPES = {
    "short lines (13 bytes)": b"line 1234567\n",
    "usual lines (80 bytes)": b"x" * 79 + b"\n",
    "long lines (1,000 bytes)": b"x" * 999 + b"\n",
    "UTF-8 (80 bytes)": "é".encode() * 39 + b"x\n",
    "coloured (80 bytes)": b"\x1b[32mok\x1b[0m " + b"x" * 67 + b"\n",
    "progress bars (\\r)": b"\r 10%" * 16 + b"\n",
    "no line ends": b"x" * 80,
}
MODES = {"stream": Settings(ui="none", output="stream"), "group": Settings(ui="none", output="group")}


def measure(shape: bytes, settings: Settings, seconds: float) -> tuple[float, float]:
    """Bytes and lines a second through the reporters and the writer into /dev/null, eight tasks taking turns."""
    data = (shape * (CHUNK // len(shape) + 1))[:CHUNK]
    null, zeros = os.open(os.devnull, os.O_WRONLY), os.open("/dev/zero", os.O_RDONLY)
    writer = Writer()
    reporters = make_reporters(settings, _Onto(writer, null), about=lambda _task: TaskFacts(logged=True))
    reporters.handle(_stamped(RunStart(taskrun="", file="", argv=(), cwd="/", jobs=8, tasks=(), folder="/")))
    tasks = [f"task{number}" for number in range(8)]
    for task in tasks:
        reporters.handle(_stamped(TaskStart(task=task, attempt=1)))
    events = [_stamped(TaskOutput(task=task, attempt=1, stream="stdout", data=data)) for task in tasks]
    done = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for event in events:
            os.pread(zeros, CHUNK, 0)  # in a run each piece comes from a pipe, and others may run meanwhile
            reporters.handle(event)
        done += len(events)
        while writer.full:
            time.sleep(0.0005)
    writer.flush()
    took = time.perf_counter() - began
    writer.close()
    os.close(null)
    os.close(zeros)
    return done * CHUNK / took, done * data.count(b"\n") / took


def measure_copy(seconds: float) -> float:
    """Bytes a second of a group that is copied from its log at its end."""
    from taskrun.events import TaskEnd

    data = (SHAPES["usual lines (80 bytes)"] * 1000)[:CHUNK]
    null = os.open(os.devnull, os.O_WRONLY)
    pieces = int(seconds * 4000)
    with tempfile.NamedTemporaryFile() as log:
        writer = Writer()
        reporters = make_reporters(MODES["group"], _Onto(writer, null))
        reporters.handle(_stamped(RunStart(taskrun="", file="", argv=(), cwd="/", jobs=8, tasks=(), folder="/")))
        reporters.handle(_stamped(TaskStart(task="one", attempt=1)))
        for _ in range(pieces):
            reporters.handle(_stamped(TaskOutput(task="one", attempt=1, stream="stdout", data=data)))
            log.write(data)
        log.flush()
        began = time.perf_counter()
        reporters.handle(_stamped(TaskEnd(task="one", attempt=1, state="succeeded", log=log.name)))
        writer.flush()
        took = time.perf_counter() - began
        writer.close()
    os.close(null)
    return pieces * CHUNK / took


class _Onto:
    """The writer, with both descriptors sent to another one."""

    def __init__(self, writer: Writer, fd: int) -> None:
        self._writer = writer
        self._fd = fd

    def write(self, _fd, *pieces):
        self._writer.write(self._fd, *pieces)

    def write_from(self, source):
        self._writer.write_from((self._fd, data) for _fd, data in source)

    def __getattr__(self, name):
        return getattr(self._writer, name)


def _stamped(event) -> Stamped:
    return Stamped(seq=1, ts=0.0, run="r", event=event)


def main() -> None:
    """Prints the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    print(f"{'shape':<28}{'mode':<10}{'MiB/s':>10}{'M lines/s':>12}")
    for name, shape in SHAPES.items():
        for mode, settings in MODES.items():
            size, lines = measure(shape, settings, seconds)
            print(f"{name:<28}{mode:<10}{size / (1 << 20):>10,.0f}{lines / 1e6:>12.1f}")
    print(f"{'a group copied from its log':<38}{measure_copy(seconds) / (1 << 20):>10,.0f}")


if __name__ == "__main__":
    main()
