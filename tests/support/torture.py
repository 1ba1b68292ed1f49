"""Torture: random cases until a budget of time is used up, each from a seed of its own, so that it can be had again.

``TORTURE_SECONDS=600 python -m pytest tests/faults/test_torture_trees.py`` goes on for longer than the suite does;
``TORTURE_SEED=8f3a:17`` makes one case again and again, until the time is over.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from support.oracle import Oracle
from support.project import ProjectDir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS, SEED = "TORTURE_SECONDS", "TORTURE_SEED"


class Case:
    """One random case.

    Attributes:
        name: What ``TORTURE_SEED`` takes to have it again.
        random: Every choice of the case comes from it.
        project: Empty.
        oracle: Judges when the case is over.
        told: What it consists of, for the message if it fails.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.random = random.Random(name)
        self.project = ProjectDir(folder)
        self.oracle = Oracle(self.project)
        self.told: dict[str, object] = {}

    def judge(self) -> None:
        """The oracle's word, when the case is over."""
        complaints = self.oracle.complaints()
        assert not complaints, "\n".join(complaints)


class Torture:
    """A budget of seconds and the cases that fill it.

    Args:
        folder: Where cases have their projects.
        oracle: The one of the whole test.
        say: Told the seed when it begins.
    """

    def __init__(self, folder: Path, oracle: Oracle, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._oracle = oracle
        self._asked = float(os.environ.get(SECONDS) or 0)
        given = os.environ.get(SEED) or secrets.token_hex(4)
        self.seed, _, self._only = given.partition(":")
        self.made = 0
        self._say = say
        say(f"torture: {SEED}={given}")

    def seconds(self, usual: float) -> float:
        """The budget: what was asked for, or else what the suite can afford."""
        return self._asked or usual

    def each(self, test: Callable[[Case], None], *, usual: float, least: int) -> None:
        """Makes cases until the budget is used up.

        Args:
            test: Carries one out; its oracle judges afterwards.
            usual: Seconds, where none were asked for.
            least: So many are made in any case, on however slow a machine.
        """
        until = time.monotonic() + self.seconds(usual)
        self._oracle.bound += self.seconds(usual)
        while self.made < least or time.monotonic() < until:
            folder = self._folder / str(self.made)
            case = Case(f"{self.seed}:{self._only or self.made}", folder)
            self.made += 1
            try:
                test(case)
                case.judge()
            except BaseException as error:
                facts = "".join(f"\n  {name}: {value}" for name, value in case.told.items())
                error.add_note(f"case {self.made}; to have it again: {SEED}={case.name}{facts}")
                raise
            finally:
                case.project.close(expect_clean=False)
            shutil.rmtree(folder, ignore_errors=True)  # an hour has thousands of them
        self._say(f"torture: {self.made} cases")


@pytest.fixture
def torture(tmp_path: Path, oracle: Oracle, capsys: pytest.CaptureFixture[str]) -> Torture:
    """To be imported by the tests that ask for it."""

    def say(text: str) -> None:
        print(text)  # for the report of a failure
        with capsys.disabled():
            print(f"\n{text}", flush=True)  # for whoever must kill what hangs

    return Torture(tmp_path / "torture", oracle, say)
