r"""Random output of tasks, and what of it must be shown: worked out from the whole, and not as the product does it.

Each line begins with a token that no other line has (``<task><stream><number>:``), also each state of a line that is
rewritten with ``\r``.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

    from support.project import ProjectDir

STREAMS = ("stdout", "stderr")
LONGEST = 64 * 1024  # bytes of a line that are shown
_WORDS = ("plain", "ümläut", "漢字", "🦀 crab", "tab\there", "a" * 70, "::not a command", "50%", "")
_BROKEN = (b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\xa6", b"\x80\x80")

_PROGRAM = """
import json, os, select, sys, time
data, plan = sys.argv[1:]
with open(plan) as file:
    steps, nonblocking, status = json.load(file)
with open(data, "rb") as file:
    rest = memoryview(file.read())
for fd in (1, 2):
    os.set_blocking(fd, not nonblocking)
for fd, length, delay in steps:
    piece, rest = rest[:length], rest[length:]
    while piece:
        try:
            piece = piece[os.write(fd, piece):]
        except BlockingIOError:
            select.select([], [fd], [])
    if delay:
        time.sleep(delay)
os._exit(status)
"""


class Written(NamedTuple):
    """What one task writes.

    Attributes:
        data: All bytes, by stream.
        status: The exit status of its program.
    """

    task: str
    data: dict[str, bytes]
    status: int

    def shown(self, stream: str) -> list[str]:
        """The lines of a stream as they are to be seen, without their ends."""
        lines = self.data[stream].split(b"\n")
        if not lines[-1]:  # else the last line has no end, and is shown all the same
            del lines[-1]
        return [_as_shown(line) for line in lines]


def _as_shown(line: bytes) -> str:
    """The last state of a line."""
    state = line.rstrip(b"\r").rsplit(b"\r", 1)[-1]
    if len(state) > LONGEST:
        return state[:LONGEST].decode(errors="replace") + "…"
    return state.decode(errors="replace")


def random_writer(choices: random.Random, project: ProjectDir, task: str, most: int) -> tuple[str, Written]:
    """A task's table, and what it will write.

    Args:
        choices: Where every choice comes from.
        project: Gets the files.
        task: Its name.
        most: Lines of a stream at most.
    """
    data = {stream: _random_stream(choices, f"{task}{stream[3]}", choices.randint(0, most)) for stream in STREAMS}
    status = choices.choice([0, 0, 0, 3])
    steps, joined = _random_steps(choices, data)
    project.write(f"{task}.data", joined)
    project.write(f"{task}.json", json.dumps([steps, choices.random() < 0.15, status]))
    project.write("write.py", _PROGRAM)
    argv = [sys.executable, "-I", "-S", "write.py", f"{task}.data", f"{task}.json"]
    return f"[tasks.{task}]\nrun = {json.dumps(argv)}\n", Written(task, data, status)


def _random_stream(choices: random.Random, token: str, lines: int) -> bytes:
    """Some lines, the last of which may have no end."""
    made = b"".join(_random_line(choices, f"{token}{number}:".encode()) for number in range(lines))
    return made.rstrip(b"\r\n") if choices.random() < 0.3 else made


def _random_line(choices: random.Random, token: bytes) -> bytes:
    states = choices.choice([1, 1, 1, 1, 2, 5])
    line = b"\r".join(token + _random_text(choices) for _ in range(states))
    if choices.random() < 0.003:
        line += b"x" * choices.choice([5_000, 100_000])
    return line + choices.choice([b"\n", b"\n", b"\n", b"\r\n", b"\r\r\n"])


def _random_text(choices: random.Random) -> bytes:
    text = " ".join(choices.choice(_WORDS) for _ in range(choices.randint(0, 4))).encode()
    if choices.random() < 0.05:
        at = choices.randint(0, len(text))
        text = text[:at] + choices.choice(_BROKEN) + text[at:]
    return text


def _random_steps(choices: random.Random, data: dict[str, bytes]) -> tuple[list[tuple[int, int, float]], bytes]:
    """Writes of random sizes, which split lines and characters; and their bytes in this order."""
    largest = choices.choice([1, 7, 100, 5_000, 200_000])
    most = sum(map(len, data.values()))
    largest = max(largest, most // 500)
    left = dict(data)
    steps: list[tuple[int, int, float]] = []
    joined: list[bytes] = []
    while any(left.values()):
        stream = choices.choice([stream for stream in STREAMS if left[stream]])
        length = min(choices.randint(1, largest), len(left[stream]))
        joined.append(left[stream][:length])
        left[stream] = left[stream][length:]
        steps.append((1 + STREAMS.index(stream), length, choices.choice([0.0] * 60 + [0.001, 0.01])))
    return steps, b"".join(joined)
