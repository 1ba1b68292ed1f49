"""Random trees of processes, as tasks of a project; and whether all that were born are dead."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Any

from support import tree_program
from support.project import command_line

if TYPE_CHECKING:
    import random

    from support.project import ProjectDir

DEPTH = 4
LONG = 40.0  # seconds that a process lives which nobody ends; bounded, should something let it escape
Node = dict[str, Any]

_CALLS = """
import json, tree_program

def tree(lifeline, file):
    tree_program.hold(lifeline)
    with open(file, encoding="utf-8") as text:
        tree_program.grow(json.load(text), lifeline)
    return file
"""


def random_node(choices: random.Random, depth: int = 1) -> Node:
    """A node, with what is below it."""
    width = choices.choice([0, 1, 1, 2, 3] if depth < DEPTH else [0])
    return {
        "how": choices.choice(["fork", "fork", "setsid", "group", "double"]),
        "deaf": choices.random() < 0.3,
        "mute": choices.random() < 0.3,
        "bare": choices.random() < 0.15,
        "stopped": choices.random() < 0.05,
        "chain": choices.choice([0, 0, 0, 0, 1, 3]),
        "comet": choices.choice([0.002, 0.005, 0.01]) if choices.random() < 0.08 else 0,
        "life": choices.choice([0.0, 0.3, LONG, LONG, LONG]),
        "code": 0,
        "up": "",
        "children": [random_node(choices, depth + 1) for _ in range(width)],
    }


def random_tree(choices: random.Random, number: int) -> Node:
    """A leader, which neither forks itself away nor stops, says that it is up, and lives for a second or so."""
    leader = random_node(choices)
    extra = [] if leader["children"] else [random_node(choices, 2)]
    return {
        **leader,
        "how": "fork",
        "chain": 0,
        "comet": 0,
        "stopped": False,
        "life": choices.uniform(0.0, 1.2),
        "up": f"{number}.up",
        "children": leader["children"] + extra,
    }


def size(node: Node) -> int:
    """How many nodes there are."""
    return 1 + sum(size(child) for child in node["children"])


class Forest:
    """The trees of one project, each of which is a task ``t0``, ``t1`` ...

    Args:
        project: Gets the files.
        trees: The leaders' nodes.
        calls: The numbers of those that grow in a Python worker.
    """

    def __init__(self, project: ProjectDir, trees: list[Node], calls: set[int]) -> None:
        self._project = project
        self._lifeline = str(project.path / "lifeline")
        os.mkfifo(self._lifeline)
        self._fd = os.open(self._lifeline, os.O_RDONLY | os.O_NONBLOCK)
        self.ups = [tree["up"] for tree in trees]
        with open(tree_program.__file__, encoding="utf-8") as file:
            project.write("tree_program.py", file.read().encode())
        project.write("calls.py", _CALLS)
        for number, tree in enumerate(trees):
            # A worker that becomes another program, or closes its output, has not returned.
            node = {**tree, "bare": False, "mute": False} if number in calls else tree
            project.write(f"{number}.json", json.dumps(node).encode())
        self.toml = "".join(
            self._call(number) if number in calls else self._program(number) for number in range(len(trees))
        )

    def _program(self, number: int) -> str:
        argv = [sys.executable, "-I", "-S", "tree_program.py", self._lifeline, f"@{number}.json"]
        return f"[tasks.t{number}]\nrun = {json.dumps(argv)}\n"

    def _call(self, number: int) -> str:
        args = json.dumps([self._lifeline, f"{number}.json"])
        return f'[tasks.t{number}]\npython = "calls:tree"\nargs = {args}\n'

    def assert_gone(self, within: float) -> None:
        """All processes of all trees are dead, or are within so many seconds."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        until = time.monotonic() + within
        # A FIFO that nobody has opened for writing yet says nothing: a leader that never came so far.
        while not (events := dict(poll.poll(0))) and any(self._holders()):
            assert time.monotonic() < until, f"alive after {within} s: {self._holders()}"
            time.sleep(0.01)
        assert not events or events[self._fd] & select.POLLHUP

    def _holders(self) -> list[str]:
        """Who still has the life-line."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                with contextlib.suppress(OSError):
                    links = {os.readlink(f"/proc/{name}/fd/{fd}") for fd in os.listdir(f"/proc/{name}/fd")}
                    if self._lifeline in links:
                        found.append(f"{name} {command_line(int(name))}")
        return found

    def close(self) -> None:
        """Reads no longer."""
        os.close(self._fd)
