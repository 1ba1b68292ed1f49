"""Promises of the tracker: it never falls, tells no more than ten times a second, and never forgets the last."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.output.samples import Movement, Phase, Sample, Status, Step, Total
from taskrun.output.tracker import INTERVAL, Tracker, Update

NUMBERS = st.one_of(st.none(), st.floats(), st.integers(-5, 20).map(float))
MOVEMENTS = st.one_of(
    st.builds(
        Sample,
        fraction=NUMBERS,
        current=NUMBERS,
        total=NUMBERS,
        message=st.one_of(st.none(), st.sampled_from("ab")),
        phase=st.one_of(st.none(), st.integers(1, 3)),
    ),
    st.builds(Total, total=st.floats(0, 100)),
    st.builds(Step, amount=st.floats(0, 10)),
    st.builds(Phase, number=st.integers(1, 3), count=st.one_of(st.none(), st.just(3))),
    st.builds(Status, text=st.sampled_from("xy")),
)


def updates(said: list[tuple[float, Movement]], *, success: bool = True) -> list[Update]:
    tracker, told, now = Tracker(), [], 0.0
    for delay, movement in said:
        now += delay
        told.append(tracker.add(movement, now))
    told.append(tracker.final(success=success, now=now))
    return [update for update in told if update is not None]


@given(st.lists(st.tuples(st.floats(0, 100), MOVEMENTS), max_size=30), st.booleans())
def test_the_fraction_stays_between_0_and_1_and_never_falls_within_a_phase(said: list, success: bool):  # noqa: FBT001 - hypothesis hands it in
    before: Update | None = None
    for update in updates(said, success=success):
        assert update.fraction is None or 0 <= update.fraction <= 1
        assert update.rate is None or update.rate >= 0
        assert update.eta is None or update.eta >= 0
        if before is not None and before.phase == update.phase and None not in (before.fraction, update.fraction):
            assert update.fraction >= before.fraction
        before = update


@given(st.lists(st.tuples(st.floats(0, 0.3), MOVEMENTS), max_size=40))
def test_no_more_than_ten_a_second_and_never_twice_the_same(said: list):
    tracker, now, told = Tracker(), 0.0, []
    for delay, movement in said:
        now += delay
        update = tracker.add(movement, now)
        if update is not None:
            told.append((now, update))
    for (earlier, first), (later, second) in itertools.pairwise(told):
        assert later - earlier >= INTERVAL * 0.999
        assert first != second


def test_what_came_too_soon_is_told_when_it_is_due():
    tracker = Tracker()
    assert tracker.due is None
    assert tracker.add(Sample(fraction=0.1), 5.0) is not None
    assert tracker.due is None
    assert tracker.add(Sample(fraction=0.2), 5.01) is None
    assert tracker.due == pytest.approx(5.1)
    assert tracker.flush(5.05) is None
    update = tracker.flush(5.1)
    assert update is not None
    assert update.fraction == 0.2
    assert tracker.due is None
    assert tracker.flush(9.0) is None


def test_the_last_value_is_told_at_the_end_however_soon():
    told = updates([(0, Sample(fraction=0.1)), (0, Sample(fraction=0.7, message="m"))], success=False)
    assert [(update.fraction, update.message) for update in told] == [(0.1, ""), (0.7, "m")]


def test_success_is_all_of_it():
    assert updates([(0, Sample(current=59, total=60))])[-1] == Update(fraction=1.0, current=60, total=60, eta=0.0)
    assert updates([(0, Phase(number=1, count=2)), (1, Sample(fraction=0.5))])[-1].phase == 2


def test_success_invents_no_fraction():
    assert updates([]) == []
    assert [update.fraction for update in updates([(0, Status(text="x"))])] == [None]
    assert updates([(0, Sample(current=5))])[-1] == Update(current=5)


def test_failure_stays_where_it_was():
    assert updates([(0, Sample(fraction=0.4))], success=False) == [Update(fraction=0.4)]


def test_a_phase_starts_anew():
    told = updates(
        [(1, Sample(fraction=0.9, phase=1)), (1, Sample(fraction=0.1, phase=2)), (1, Phase(number=3, name="c"))]
    )
    assert [(update.phase, update.fraction) for update in told[:3]] == [(1, 0.9), (2, 0.1), (3, None)]
    assert told[2].message == "c"


def test_the_same_phase_said_again_does_not_start_anew():
    told = updates([(1, Phase(number=1)), (1, Sample(fraction=0.5)), (1, Phase(number=1)), (1, Sample(fraction=0.2))])
    assert [update.fraction for update in told] == [None, 0.5, 1.0]


def test_steps_count_towards_the_total():
    told = updates([(1, Total(total=4)), (1, Step()), (1, Step(amount=2)), (1, Total(total=6))], success=False)
    assert [(update.current, update.total, update.fraction) for update in told[1:]] == [
        (1, 4, 0.25),
        (3, 4, 0.75),
        (3, 6, 0.75),
    ]


def test_a_count_that_goes_back_is_not_shown():
    told = updates([(1, Sample(current=5, total=10)), (1, Sample(current=2, total=10, message="again"))], success=False)
    assert told[1] == Update(fraction=0.5, current=5, total=10, message="again", rate=0.0)


def test_a_total_that_grows_shows_the_count_and_keeps_the_fraction():
    told = updates([(1, Sample(current=5, total=10)), (1, Sample(current=6, total=20))], success=False)
    assert (told[1].current, told[1].total, told[1].fraction) == (6, 20, 0.5)


def test_cannot_tell_is_shown_as_such_until_it_can():
    tracker = Tracker()
    tracker.add(Sample(fraction=0.5), 0)
    assert tracker.add(Sample(message="merging"), 1) == Update(message="merging")
    assert tracker.stalled_since is None
    update = tracker.add(Sample(fraction=0.2), 2)
    assert update is not None
    assert update.fraction == 0.5
    assert tracker.stalled_since == 2


def test_totals_of_zero_and_numbers_that_are_none_mean_unknown():
    for sample in (Sample(current=0, total=0), Sample(current=1, total=float("nan")), Sample(current=1, total=-1)):
        assert updates([(0, sample)], success=False)[0].fraction is None
    assert updates([(0, Sample(fraction=float("nan")))], success=False) == [Update()]


def test_standing_still_is_told_from_moving():
    tracker = Tracker()
    assert tracker.stalled_since is None
    tracker.add(Status(text="x"), 1)
    assert tracker.stalled_since is None
    tracker.add(Sample(fraction=0.1), 2)
    tracker.add(Sample(fraction=0.1, message="busy"), 3)
    tracker.add(Status(text="y"), 4)
    tracker.add(Sample(fraction=0.05), 5)
    assert tracker.stalled_since == 2
    tracker.add(Sample(fraction=0.2), 6)
    assert tracker.stalled_since == 6
    tracker.add(Sample(current=5), 7)
    tracker.add(Sample(current=5), 8)
    assert tracker.stalled_since == 7
    tracker.add(Phase(number=2), 9)
    assert tracker.stalled_since == 9


def test_rate_and_eta_of_steady_work():
    told = updates([(0.5, Sample(current=n, total=100)) for n in range(50)], success=False)
    assert told[-1].rate == pytest.approx(2.0)
    assert told[-1].eta == pytest.approx(51 / 2.0)


def test_an_eta_waits_until_it_is_more_than_a_guess():
    told = updates([(0.5, Sample(fraction=n / 1000)) for n in range(30)], success=False)
    assert [update.eta is None for update in told[:10]] == [True] * 10
    assert told[-1].eta == pytest.approx((1 - 0.029) / 0.002)


def test_the_rate_is_that_of_the_last_half_minute():
    slow = [(1.0, Sample(current=n, total=10_000)) for n in range(100)]
    fast = [(1.0, Sample(current=100 + 50 * n, total=10_000)) for n in range(40)]
    assert updates(slow + fast, success=False)[-1].rate == pytest.approx(50, rel=0.05)


def test_one_that_reports_once_a_minute_has_a_rate_too():
    told = updates([(60, Sample(current=n, total=10)) for n in range(6)], success=False)
    assert told[-1].rate == pytest.approx(1 / 60)
    assert told[-1].eta == pytest.approx(300)


def test_noisy_work_gets_a_usable_eta():
    rng, done, said = random.Random(3), 0, []
    while done < 1000:
        done = min(1000, done + rng.randrange(0, 5))
        said.append((rng.random() * 0.2, Sample(current=done, total=1000)))
    elapsed, total = 0.0, sum(delay for delay, _ in said)
    tracker = Tracker()
    for delay, sample in said:
        elapsed += delay
        update = tracker.add(sample, elapsed)
        if update and update.eta and 0.1 < update.fraction < 0.9:
            assert 0.5 < (elapsed + update.eta) / total < 2.0


def test_memory_is_bounded_however_often_it_reports():
    tracker = Tracker()
    for n in range(50_000):
        tracker.add(Sample(current=n), n / 10_000)
    assert len(tracker._rates._points) <= 130
