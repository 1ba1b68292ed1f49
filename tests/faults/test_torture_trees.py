"""Random trees of processes, a random signal to somebody at a random moment: nothing is left, and the status is true."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from support import runs
from support.census import name_of
from support.commands import CTRL_BACKSLASH, CTRL_C, Terminal
from support.torture import torture
from support.trees import Forest, random_tree, size

if TYPE_CHECKING:
    from support.commands import Finished, Running
    from support.torture import Case, Torture

__all__ = ["torture"]
pytestmark = pytest.mark.slow

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
DEADLY = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)
IGNORED_BY_HOST = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BLOWS = (
    *[("runner", number) for number in (*ASKING, signal.SIGKILL, signal.SIGKILL)],
    *[("group", number) for number in (*ASKING, signal.SIGKILL)],
    *[("host", number) for number in (*DEADLY, *ASKING)],
    *[("template", number) for number in (*DEADLY, signal.SIGTERM)],
    *[("key", signal.SIGINT)] * 4,
    ("key", signal.SIGQUIT),
    ("window", signal.SIGHUP),
)
KEYS = {signal.SIGINT: CTRL_C, signal.SIGQUIT: CTRL_BACKSLASH}


def test_nothing_of_any_tree_outlives_any_end(torture: Torture) -> None:
    torture.each(one_end, usual=18.0, least=6)


def one_end(case: Case) -> None:
    """Grows some trees, strikes, and looks at what is left."""
    choices = case.random
    trees = [random_tree(choices, number) for number in range(choices.choice([1, 1, 2, 3]))]
    whom, number = choices.choice(BLOWS)
    calls = {at for at in range(len(trees)) if choices.random() < (1.0 if whom == "template" else 0.3)}
    case.told |= {"blow": f"{number.name} to the {whom}", "trees": [size(tree) for tree in trees], "calls": calls}
    forest = Forest(case.project, trees, calls)
    try:
        case.project.tasks("[run]\njobs = 4\n" + forest.toml)
        strike_and_look(case, forest, whom, number)
    finally:
        forest.close()


def strike_and_look(case: Case, forest: Forest, whom: str, number: signal.Signals) -> None:
    words = ("run", "*", "--grace", f"{case.random.randint(50, 600)}ms", "--output", "none")
    in_terminal = whom in {"key", "window"} or case.random.random() < 0.2
    if number == signal.SIGQUIT or number in DEADLY:
        words_before = ("sh", "-c", 'ulimit -c 0; exec "$@"', "sh", *case.project.command)
        running = (
            case.project.terminal(argv=(*words_before, *words))
            if in_terminal
            else case.project.launch(*words_before, *words)
        )
    elif in_terminal:
        running = case.project.terminal(*words)
    else:
        running = case.project.start(*words)
    wait_for_the_moment(case, forest, running, patient=in_terminal)
    blows = strike(case, running, whom, number)
    finished = end_of(running, whom)
    if blows and whom in {"runner", "group"} and number == signal.SIGKILL:
        excuse_what_nobody_could_do(case)
        forest.assert_gone(within=10.0)
    else:
        forest.assert_gone(within=3.0 if blows > 2 else 0.0)
        expect_true_record(case, finished, late=-number if whom in {"runner", "group", "key"} else None)
    assert finished.status in may_end_with(blows, whom, number), finished


def wait_for_the_moment(case: Case, forest: Forest, running: Running | Terminal, *, patient: bool) -> None:
    """Some time after the start, or after all trees have been grown; with ``patient``, when the run has begun."""
    early = case.random.random() < 0.3
    delay = case.random.uniform(0.0, 0.6)
    case.told["moment"] = f"{delay:.3f} s after the {'start' if early else 'trees'}"
    # Python itself answers signals with tracebacks in its own first moments; ours begin with the host.
    runs.named(running.pid, runs.HOST)
    if patient:
        runs.wait_until(lambda: runs.kinds(case.project) or running.process.poll() is not None, "the run has begun")
    if not early:
        paths = [case.project.path / up for up in forest.ups]

        def grown() -> bool:
            return all(path.exists() for path in paths) or running.process.poll() is not None

        runs.wait_until(grown, "all trees have been grown")
    time.sleep(delay)


def strike(case: Case, running: Running | Terminal, whom: str, number: signal.Signals) -> int:
    """Sends the signal once, or again and again; how often it found somebody."""
    times = case.random.choice([1, 1, 1, 2, 3]) if whom in {"runner", "group", "key"} else 1
    found = 0
    for again in range(times):
        if again:
            time.sleep(case.random.uniform(0.0, 0.5))
        found += strike_once(running, whom, number)
    case.told["blows"] = f"{found} of {times}"
    return found


def strike_once(running: Running | Terminal, whom: str, number: signal.Signals) -> bool:
    if running.process.poll() is not None:
        return False
    match whom:
        case "runner":
            os.kill(running.pid, number)
        case "group":
            os.killpg(running.pid, number)
        case "key":
            assert isinstance(running, Terminal)
            running.press(KEYS[number])
        case "window":
            assert isinstance(running, Terminal)
            running.hang_up()
        case _:
            name = runs.HOST if whom == "host" else runs.TEMPLATE
            pids = [pid for pid in runs.below(running.pid) if name_of(pid) == name]
            for pid in pids[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            return bool(pids)
    return True


def end_of(running: Running | Terminal, whom: str) -> Finished:
    if whom == "window" and isinstance(running, Terminal):
        from support.commands import Finished

        return Finished(running.argv, running.leave_unread(), b"", b"")
    return running.finish()


def may_end_with(blows: int, whom: str, number: signal.Signals) -> set[int]:
    """The statuses that are true: whatever came may have come when all was over."""
    if not blows:
        return {0}
    match whom:
        case "host":
            return {0} if number in IGNORED_BY_HOST else {0, 1, 125}
        case "template":
            return {0, 1}
        case _:
            return {0, -number}


def excuse_what_nobody_could_do(case: Case) -> None:
    case.oracle.excuse("O3", "nobody was left to put the terminal in order")


def expect_true_record(case: Case, finished: Finished, late: int | None) -> None:
    """What is recorded of the end is what happened; of a run that was left at the third signal it may be nothing.

    A signal may also end the process when the run is over: ``late`` is the status then.
    """
    if not (runs.folder(case.project) / "run.json").exists():
        return
    record = runs.summary(case.project)
    if record["state"] == "finished":
        told = -record["signal"] if record["signal"] else record["exit_status"]
        assert finished.status in {told, late}, (record, finished)
        assert len(runs.ends(case.project)) == len(record["tasks"])
