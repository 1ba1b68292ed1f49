"""Random graphs of cheap real tasks, and what may become of them: a simple model, which knows nothing of the product.

Every attempt writes a line to the file ``trace`` when it begins and one when it ends, so that the order of what really
happened can be held against what is recorded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import random

LIMITS = {"gpu": 1, "net": 3}
HANG = "hang"
RAN = {"succeeded", "failed", "timed-out", "cancelled"}

CALLS = """
import os, taskrun

def act(codes):
    number = int(os.environ["TASKRUN_ATTEMPT"])
    with open("trace", "a") as trace:
        trace.write(f"+ {os.environ['TASKRUN_TASK']} {number}\\n")
    code = codes[min(number, len(codes)) - 1]
    with open("trace", "a") as trace:
        trace.write(f"- {os.environ['TASKRUN_TASK']} {number}\\n")
    if code:
        raise ValueError(f"code {code}")
"""


class Node(NamedTuple):
    """A task.

    Attributes:
        codes: How its attempts end, the last one for all further ones: an exit code, or ``HANG``.
        attempts: Tries in all.
        only_75: No other failure than exit code 75 is tried again.
        group: It has no command.
        ruled_out: Its ``when`` does not hold.
        call: It is a Python call.
    """

    name: str
    needs: tuple[str, ...]
    codes: tuple[int | str, ...]
    attempts: int
    only_75: bool
    group: bool
    ruled_out: bool
    allowed: bool
    call: bool
    slots: int | str
    limits: dict[str, int]

    def code(self, attempt: int) -> int | str:
        return self.codes[min(attempt, len(self.codes)) - 1]

    def fate(self) -> tuple[str, int]:
        """Its state and the number of its attempts, where nothing keeps it from running or being tried again."""
        for attempt in range(1, self.attempts + 1):
            code = self.code(attempt)
            if code == 0:
                return "succeeded", attempt
            if self.only_75 and code != 75:
                break
        return ("timed-out" if code == HANG else "failed"), attempt

    def toml(self, pause: float) -> str:
        lines = [f"[tasks.{self.name}]", f"needs = {json.dumps(self.needs)}"]
        if self.group:
            return "\n".join(lines) + "\n"
        if self.call:
            lines += ['python = "calls:act"', f"args = {{ codes = {json.dumps(self.codes)} }}"]
        else:
            cases = "".join(f"{number}) code={self.code(number)};; " for number in range(1, len(self.codes)))
            text = (
                "echo + $TASKRUN_TASK $TASKRUN_ATTEMPT >> trace; "
                f"case $TASKRUN_ATTEMPT in {cases}*) code={self.codes[-1]};; esac; "
                f"[ $code != {HANG} ] || exec sleep 60; "
                + (f"sleep {pause:.3f}; " if pause else "")
                + "echo - $TASKRUN_TASK $TASKRUN_ATTEMPT >> trace; exit $code"
            )
            lines.append(f"run = {json.dumps(['sh', '-c', text])}")
        lines += [f"retry.attempts = {self.attempts}", 'retry.delay = "10ms"', f"slots = {json.dumps(self.slots)}"]
        lines += ['retry.on = ["exit:75"]'] if self.only_75 else []
        lines += ['timeout = "300ms"'] if HANG in self.codes else []
        lines += ['when = { exists = "never" }'] if self.ruled_out else []
        lines += ["allow-failure = true"] if self.allowed else []
        lines += [f"limits.{name} = {count}" for name, count in self.limits.items()]
        return "\n".join(lines) + "\n"


def random_graph(choices: random.Random, first: int) -> list[Node]:
    """Up to a dozen tasks that need only each other, numbered from ``first`` on."""
    nodes: list[Node] = []
    python = choices.random() < 0.3
    for number in range(first, first + choices.randint(1, 12)):
        earlier = [node.name for node in nodes]
        codes = tuple(choices.choices([0, 3, 75, HANG], [14, 2, 2, 0.3], k=choices.randint(1, 3)))
        needs = tuple(sorted(choices.sample(earlier, min(len(earlier), choices.choice([0, 1, 1, 2, 3])))))
        call = python and HANG not in codes and choices.random() < 0.3
        nodes.append(
            Node(
                name=f"n{number}",
                needs=needs,
                codes=codes,
                attempts=choices.choice([1, 1, 2, 3]),
                only_75=not call and choices.random() < 0.2,
                group=bool(needs) and choices.random() < 0.1,
                ruled_out=choices.random() < 0.05,
                allowed=choices.random() < 0.1,
                call=call,
                slots=choices.choice([1, 1, 1, 2, "all"]),
                limits={name: choices.randint(1, most) for name, most in LIMITS.items() if choices.random() < 0.2},
            )
        )
    return nodes


class Course:
    """What happened in a run, and what must hold of it.

    Args:
        nodes: The tasks, needs before those that need them.
        ends: The ``task.end`` events, by task.
        trace: The lines that the attempts have written.
        jobs: Slots.
        policy: ``continue``, ``finish`` or ``stop``.
        cancelled: Somebody or the deadline may have stopped the run.
    """

    def __init__(
        self, nodes: list[Node], ends: dict[str, Any], trace: list[str], *, jobs: int, policy: str, cancelled: bool
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.ends = ends
        self.jobs, self.policy, self.cancelled = jobs, policy, cancelled
        self.lines = [(line[0], line.split()[1], int(line.split()[2])) for line in trace]
        self.states = {name: end["state"] for name, end in ends.items()}
        self.culprits = [
            name for name, end in ends.items() if end["state"] in {"failed", "timed-out"} and not end["allowed"]
        ]

    def passes(self, name: str) -> bool:
        """Whether what needs this one may run."""
        node = self.nodes[name]
        if node.group:
            return all(map(self.passes, node.needs))
        state = self.states[name]
        if state == "skipped":
            return node.ruled_out and all(map(self.passes, node.needs))
        return state == "succeeded" or (state in {"failed", "timed-out"} and node.allowed)

    def check(self) -> None:
        """Everything that must hold."""
        assert sorted(self.ends) == sorted(node.name for node in self.nodes.values() if not node.group)
        for name in self.ends:
            self._check_state(self.nodes[name], self.states[name])
            self._check_attempts(self.nodes[name], self.ends[name])
        self._check_order()
        self._check_limits()
        if not self.cancelled and (self.policy == "continue" or not self.culprits):
            self._check_exactly()

    def exit_statuses(self) -> set[int]:
        """What the run may end with, unless by a signal."""
        states = {self.states[name] for name in self.culprits}
        if "failed" in states:
            return {1}
        stopped = {"cancelled", "not-started"} & set(self.states.values())
        if self.cancelled and stopped:
            return {124}
        return {124} if states else ({0, 124} if self.cancelled else {0})

    def _check_state(self, node: Node, state: str) -> None:
        """The state is one that the tasks that it needs, the policy and its own attempts allow."""
        told = f"{node.name} is {state}"
        able = all(map(self.passes, node.needs))
        stopping = self.cancelled or (self.policy != "continue" and self.culprits)
        match state:
            case "succeeded" | "failed" | "timed-out":
                assert able, told
                assert not node.ruled_out, told
            case "skipped":
                assert not able or node.ruled_out, told
            case "not-started":
                assert stopping, told
            case "cancelled":
                assert able, told
                assert self.cancelled or (self.policy == "stop" and self.culprits), told
            case _:
                raise AssertionError(told)

    def _check_attempts(self, node: Node, end: dict[str, Any]) -> None:
        """They were made one after the other, as many as recorded, and the last of them ended as the state says."""
        made = [attempt for sign, name, attempt in self.lines if sign == "+" and name == node.name]
        told = f"{node.name} is {end['state']} after {end['attempt']} attempts; seen {made}"
        if end["state"] not in RAN:
            assert made == [], told
            return
        # One that was killed may not have come so far as to say that it has begun.
        assert made == list(range(1, len(made) + 1)), told
        killed = end["state"] in {"cancelled", "timed-out"}
        assert len(made) == end["attempt"] or (killed and len(made) == end["attempt"] - 1), told
        assert end["attempt"] <= node.attempts, told
        code = node.code(end["attempt"])
        wanted = {"succeeded": code == 0, "failed": code not in {0, HANG}, "timed-out": code == HANG}
        assert wanted.get(end["state"], True), told

    def _check_order(self) -> None:
        """Nothing begins before all that it needs has ended."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for at, (sign, name, _attempt) in enumerate(self.lines):
            if sign == "+":
                first.setdefault(name, at)
            last[name] = at
        for name, at in first.items():
            for need in self._below(name):
                assert last.get(need, -1) < at, f"{name} began before {need} had ended"

    def _below(self, name: str) -> set[str]:
        """All that a task needs, and what that needs."""
        found: set[str] = set()
        for need in self.nodes[name].needs:
            found |= {need} | self._below(need)
        return found

    def _check_limits(self) -> None:
        """What ran at the same time never was more than there is; attempts that were killed are left out."""
        whole = {line[1:] for line in self.lines if line[0] == "-"}
        running: set[tuple[str, int]] = set()
        for sign, *attempt in self.lines:
            (running.add if sign == "+" else running.discard)(tuple(attempt))
            nodes = [self.nodes[name] for name, number in running & whole]
            slots = sum(self.jobs if node.slots == "all" else min(int(node.slots), self.jobs) for node in nodes)
            assert slots <= self.jobs, f"{slots} slots are taken: {nodes}"
            for limit, most in LIMITS.items():
                assert sum(node.limits.get(limit, 0) for node in nodes) <= most, f"too much of {limit}: {nodes}"

    def _check_exactly(self) -> None:
        """Nothing was in the way: each task ended as it had to."""
        for name, end in self.ends.items():
            node = self.nodes[name]
            able = all(map(self.passes, node.needs))
            wanted = node.fate() if able and not node.ruled_out else ("skipped", end["attempt"])
            assert (end["state"], end["attempt"]) == wanted, f"{name} is {end['state']}, not {wanted}"
