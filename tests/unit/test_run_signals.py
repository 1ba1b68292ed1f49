"""Which signals count, and what each of them asks for."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.testing

from taskrun.run.signals import SignalDesk

INT, QUIT, TERM = signal.SIGINT, signal.SIGQUIT, signal.SIGTERM


class Told:
    """Answers that note what they are asked for."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def cancel(self, number: signal.Signals, *, kill: bool) -> None:
        self.all.append(f"{'kill' if kill else 'cancel'} {number.name}")

    def leave(self, number: signal.Signals) -> None:
        self.all.append(f"leave {number.name}")

    def tell_state(self) -> None:
        self.all.append("state")


def answers_to(*signals: tuple[float, signal.Signals]) -> list[str]:
    """What is asked for when these come, each at its moment."""

    async def main() -> list[str]:
        told = Told()
        desk = SignalDesk(told)
        for at, number in signals:
            await trio.sleep_until(at)
            desk.stop(number)
        return told.all

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_second_kills_and_the_third_leaves() -> None:
    assert answers_to((0, INT), (1, INT), (2, INT)) == ["cancel SIGINT", "kill SIGINT", "leave SIGINT"]


def test_a_forwarded_one_counts_once() -> None:
    assert answers_to((0, INT), (0.1, INT), (0.24, INT)) == ["cancel SIGINT"]


def test_who_presses_it_again_and_again_is_heard() -> None:
    """Each press counts from the last one that counted, not from the last one."""
    presses = ((0, INT), (0.2, INT), (0.4, INT), (0.6, INT), (0.8, INT))
    assert answers_to(*presses) == ["cancel SIGINT", "kill SIGINT", "leave SIGINT"]


@pytest.mark.parametrize(
    ("signals", "answers"),
    [
        (((0, QUIT), (0.1, QUIT)), ["state", "cancel SIGQUIT"]),
        (((0, INT), (0.1, QUIT)), ["cancel SIGINT", "state", "kill SIGINT"]),
        (((0, INT), (0.1, TERM), (0.2, QUIT)), ["cancel SIGINT", "kill SIGINT", "state", "leave SIGINT"]),
    ],
)
def test_sigquit_tells_the_state_whatever_came_before_it(signals, answers) -> None:
    assert answers_to(*signals) == answers
