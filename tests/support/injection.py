"""Commands in which a fault is planted at each of their steps in turn, or, as long as nobody asks for all, at some.

``FAULT_STEPS=all python -m pytest tests/faults/test_injection_kills.py`` takes all steps, ``FAULT_STEPS=17,23`` those;
``FAULT_SEED=8f3a`` chooses the same ones again. Which steps there are differs a little from run to run: what comes
later than a run has steps is no fault then, and the run is to go well.
"""

from __future__ import annotations

import json
import os
import random
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import faulty
from support.oracle import Oracle
from support.project import ProjectDir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from support.commands import Finished

STEPS, SEED = "FAULT_STEPS", "FAULT_SEED"

_SITE = "import sys\nsys.path.append({support!r})\nimport faulty\nfaulty.install()\nsys.path.remove({support!r})\n"


def plant(project: ProjectDir, plan: dict[str, Any]) -> dict[str, str]:
    """Plants a fault, see ``faulty``, in a project; returns what the environment of the command needs for it.

    Every process of the command writes its steps into the folder `planted`, in a file named after its role.
    """
    site = project.write("planted/sitecustomize.py", "")
    site.write_text(_SITE.format(support=str(Path(faulty.__file__).parent)))
    told = {**plan, "notes": str(site.parent), "folder": str(project.path / ".taskrun")}
    return {
        "PYTHONPATH": f"{site.parent}{os.pathsep}{project.env['PYTHONPATH']}",
        faulty.VARIABLE: json.dumps(told),
    }


class Injected:
    """One project in which a fault is planted.

    Attributes:
        plan: See ``faulty``.
        project: With what the test has written into it.
        oracle: Judges when the step has been seen to.
        at: The number of the step; 0: no fault.
    """

    def __init__(self, folder: Path, plan: dict[str, Any], at: int) -> None:
        self.plan, self.at = plan, at
        self.project = ProjectDir(folder)
        self.oracle = Oracle(self.project)
        self._env = plant(self.project, {**plan, "at": at})

    def taskrun(self, *words: str) -> Finished:
        """Runs the command line with the fault in it."""
        return self.project.taskrun(*words, env=self._env)

    @property
    def steps(self) -> list[str]:
        """What the process in question has done, as far as it came."""
        path = self.project.path / "planted" / self.plan["role"]
        return path.read_text().splitlines() if path.exists() else []

    @property
    def step(self) -> str:
        """What the step was at which the fault has struck; empty: it has not."""
        return self.steps[self.at - 1] if self.struck else ""

    @property
    def struck(self) -> bool:
        """Whether the process came as far as the fault."""
        return 0 < self.at <= len(self.steps)


def _no_choice(_text: str) -> Sequence[dict[str, Any]]:
    return ({},)


def at_each_step(
    folder: Path,
    plan: dict[str, Any],
    test: Callable[[Injected], None],
    *,
    oracle: Oracle,
    usual: int,
    ways: Callable[[str], Sequence[dict[str, Any]]] = _no_choice,
) -> None:
    """Carries a test out without a fault, to list the steps, and then with a fault at each of them.

    Args:
        folder: Where the projects are.
        plan: See ``faulty``.
        test: Prepares the project, runs it, says what it expects; the oracle judges afterwards.
        oracle: Of the test that all this is in.
        usual: With how many faults, as long as not all are asked for.
        ways: The ways in which a step, named by its text, can go wrong: additions to the plan.
    """
    steps = _carry_out(test, Injected(folder / "0", plan, 0)).steps
    assert steps, f"{plan['role']} did nothing"
    faults = [(at, way) for at, text in enumerate(steps, 1) for way in ways(text)]
    asked, seed = os.environ.get(STEPS), os.environ.get(SEED) or secrets.token_hex(4)
    if asked:
        oracle.bound = float("inf")
    else:
        chosen = sorted(random.Random(seed).sample(range(len(faults)), min(usual, len(faults))))
        faults = [faults[index] for index in chosen]
    if asked and asked != "all":
        faults = [fault for fault in faults if str(fault[0]) in asked.split(",")]
    print(f"{len(faults)} faults in {len(steps)} steps of the {plan['role']}; {SEED}={seed}")
    for number, (at, way) in enumerate(faults, 1):
        _carry_out(test, Injected(folder / str(number), {**plan, **way}, at))


def _carry_out(test: Callable[[Injected], None], injected: Injected) -> Injected:
    try:
        with injected.project:
            test(injected)
            complaints = injected.oracle.complaints()
            assert not complaints, "\n".join(complaints)
    except BaseException as error:
        error.add_note(f"{STEPS}={injected.at}: {injected.plan}, {injected.step or 'not reached'}")
        raise
    return injected
