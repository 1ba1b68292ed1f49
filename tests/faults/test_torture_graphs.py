"""Random graphs of real tasks that fail, are tried again, limited and cancelled, held against a simple model."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support import runs
from support.graphs import CALLS, LIMITS, Course, random_graph
from support.torture import torture

if TYPE_CHECKING:
    from support.commands import Finished
    from support.graphs import Node
    from support.torture import Case, Torture

__all__ = ["torture"]
pytestmark = pytest.mark.slow

POLICIES = ("continue", "continue", "finish", "stop")
CANCELS = ("nobody", "nobody", "nobody", "INT", "TERM", "deadline")


def test_every_task_ends_as_its_needs_its_failures_and_the_policy_say(torture: Torture) -> None:
    torture.each(one_run, usual=8.0, least=6)


def one_run(case: Case) -> None:
    """Some graphs at once in one run, which somebody may cancel."""
    choices = case.random
    nodes = [node for number in range(choices.randint(1, 4)) for node in random_graph(choices, 100 * number)]
    jobs, policy, canceller = choices.choice([1, 2, 4, 8]), choices.choice(POLICIES), choices.choice(CANCELS)
    case.told |= {"tasks": len(nodes), "jobs": jobs, "policy": policy, "cancelled by": canceller}
    pauses = [choices.choice([0.0, 0.0, 0.02, 0.1]) for _ in nodes]
    limits = "".join(f"{name} = {most}\n" for name, most in LIMITS.items())
    tasks = "".join(node.toml(pause) for node, pause in zip(nodes, pauses, strict=True))
    case.project.tasks(f"[limits]\n{limits}{tasks}")
    case.project.write("calls.py", CALLS)
    case.project.write("trace", "")
    words = ["run", "*", "-j", str(jobs), "--on-failure", policy, "--grace", "200ms"]
    if canceller == "deadline":
        words += ["--deadline", f"{choices.randint(1, 500)}ms"]
    running = case.project.start(*words)
    if canceller in {"INT", "TERM"}:
        runs.wait_until(lambda: runs.kinds(case.project) or running.process.poll() is not None, "the run has begun")
        time.sleep(choices.uniform(0.0, 0.5))
        running.signal(signal.Signals[f"SIG{canceller}"])
    expect_course(case, nodes, {"jobs": jobs, "policy": policy}, canceller, running.finish())


def expect_course(case: Case, nodes: list[Node], how: dict[str, Any], canceller: str, finished: Finished) -> None:
    """Record, events, exit status and what the tasks themselves saw go together."""
    project = case.project
    events = runs.events(project)
    counted = Counter(event["task"] for event in events if event["event"] == "task.end")
    assert set(counted.values()) == {1}, finished
    ends = runs.ends(project)
    runs.states(project)
    reasons = [event["reason"] for event in events if event["event"] == "run.cancel"]
    cancelled = any(not reason.endswith(" failed") for reason in reasons)  # else a failure stopped the others
    course = Course(nodes, ends, project.read("trace").splitlines(), cancelled=cancelled, **how)
    case.told["states"] = Counter(course.states.values())
    course.check()
    retries = Counter(event["task"] for event in events if event["event"] == "task.retry")
    for name, end in ends.items():
        assert retries[name] in {end["attempt"] - 1, end["attempt"]}, (name, end)
    first = next((name for name in ends if name in course.culprits), None)
    assert events[-1]["first_cause"] == first
    by_signal = {-signal.Signals[f"SIG{canceller}"]} if canceller in {"INT", "TERM"} else set()
    # It may also have come when the run was over, and the process not yet.
    allowed = by_signal if cancelled and by_signal else course.exit_statuses() | by_signal
    assert finished.status in allowed, finished
