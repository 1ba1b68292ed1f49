"""Slots and named limits: all at once or not at all, in order of rank, and nobody waits for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import task

from taskrun.model import UsageError
from taskrun.plan.capacity import OVERTAKEN_AT_MOST, Capacity


def taken(capacity):
    ranks = []
    while (rank := capacity.take()) is not None:
        ranks.append(rank)
    return ranks


def test_tasks_go_by_rank_as_far_as_the_slots_reach():
    capacity = Capacity(2, {})
    plain = capacity.demand(task("t"))
    for rank in (3, 1, 2):
        capacity.add(plain, rank)

    assert taken(capacity) == [1, 2]
    capacity.give_back(plain)
    assert taken(capacity) == [3]


@pytest.mark.parametrize("slots", [None, 4, 99])
def test_all_slots_or_more_than_there_are_mean_all(slots):
    capacity = Capacity(4, {})
    everything, plain = capacity.demand(task("all", slots=slots)), capacity.demand(task("t"))
    capacity.add(everything, 0)
    capacity.add(plain, 1)

    assert taken(capacity) == [0]
    capacity.give_back(everything)
    assert taken(capacity) == [1]


def test_a_task_short_of_slots_is_not_overtaken():
    capacity = Capacity(4, {})
    small, big = capacity.demand(task("s")), capacity.demand(task("b", slots=3))
    capacity.add(small, 0)
    capacity.add(small, 1)
    capacity.add(big, 2)
    capacity.add(small, 3)

    assert taken(capacity) == [0, 1]
    capacity.give_back(small)
    assert taken(capacity) == [
        2,
    ]


def test_a_task_short_of_a_limit_is_overtaken():
    capacity = Capacity(4, {"gpu": 1})
    gpu, plain = capacity.demand(task("g", limits={"gpu": 1})), capacity.demand(task("t"))
    capacity.add(gpu, 0)
    capacity.add(gpu, 1)
    capacity.add(plain, 2)

    assert taken(capacity) == [0, 2]
    capacity.give_back(gpu)
    assert taken(capacity) == [1]


def test_limits_are_taken_all_at_once_or_not_at_all():
    """The one that needs both must not sit on the first while it waits for the second."""
    capacity = Capacity(8, {"gpu": 1, "net": 1})
    net = capacity.demand(task("n", limits={"net": 1}))
    both = capacity.demand(task("b", limits={"gpu": 1, "net": 1}))
    gpu = capacity.demand(task("g", limits={"gpu": 1}))
    capacity.add(net, 0)
    capacity.add(both, 1)
    capacity.add(gpu, 2)

    assert taken(capacity) == [0, 2]
    capacity.give_back(net)
    assert taken(capacity) == []
    capacity.give_back(gpu)
    assert taken(capacity) == [1]


def test_a_weight_counts_as_much_as_it_says():
    capacity = Capacity(8, {"net": 4})
    three, two = capacity.demand(task("a", limits={"net": 3})), capacity.demand(task("b", limits={"net": 2}))
    capacity.add(three, 0)
    capacity.add(two, 1)

    assert taken(capacity) == [0]
    capacity.give_back(three)
    assert taken(capacity) == [1]


def test_interactive_tasks_go_one_at_a_time_whatever_the_slots():
    capacity = Capacity(8, {})
    interactive, plain = capacity.demand(task("i", interactive=True)), capacity.demand(task("t"))
    capacity.add(interactive, 0)
    capacity.add(interactive, 1)
    capacity.add(plain, 2)

    assert taken(capacity) == [0, 2]
    capacity.give_back(interactive)
    assert taken(capacity) == [1]


@pytest.mark.parametrize("limits", [{"net": 2}, {"net": 2, "gpu": 1}])
def test_small_demands_pass_a_big_one_only_so_often(limits):
    """Two small tasks at once, each followed by another: both units of `net` would never be free together."""
    capacity = Capacity(8, {"net": 2, "gpu": 1})
    small, big = capacity.demand(task("s", limits={"net": 1})), capacity.demand(task("b", limits=limits))
    capacity.add(small, 0)
    assert taken(capacity) == [0]
    capacity.add(big, 1)
    started = []
    for rank in range(2, 100):
        capacity.add(small, rank)
        started += taken(capacity)
        if 1 in started:
            break
        capacity.give_back(small)

    assert len(started) == OVERTAKEN_AT_MOST + 1
    assert started[-1] == 1


def test_while_a_limit_is_kept_other_tasks_go_on():
    capacity = Capacity(8, {"net": 2})
    small, big = capacity.demand(task("s", limits={"net": 1})), capacity.demand(task("b", limits={"net": 2}))
    plain = capacity.demand(task("t"))
    capacity.add(small, 0)
    assert taken(capacity) == [0]
    capacity.add(big, 1)
    for rank in range(2, 2 + OVERTAKEN_AT_MOST):
        capacity.add(small, rank)
        assert taken(capacity) == [rank]
        capacity.give_back(small)
    capacity.add(small, 50)
    capacity.add(plain, 51)

    assert taken(capacity) == [51]  # the small one has to wait now
    capacity.give_back(small)
    assert taken(capacity) == [1]  # the big one's turn, though 50 was ready before
    capacity.give_back(big)
    assert taken(capacity) == [50]


def test_two_big_demands_on_crossing_limits_do_not_wait_for_each_other():
    capacity = Capacity(8, {"a": 2, "b": 2})
    small_a, small_b = capacity.demand(task("x", limits={"a": 1})), capacity.demand(task("y", limits={"b": 1}))
    one, two = capacity.demand(task("1", limits={"a": 2, "b": 1})), capacity.demand(task("2", limits={"b": 2, "a": 1}))
    demands = {}
    running = []

    def add(demand, rank):
        demands[rank] = demand
        capacity.add(demand, rank)

    add(small_a, 0)
    add(small_b, 1)
    running += taken(capacity)
    add(one, 2)
    add(two, 3)
    for rank in range(10, 200, 2):
        add(small_a, rank)
        add(small_b, rank + 1)
    started = set(running)
    for _ in range(400):
        running += (new := taken(capacity))
        started |= set(new)
        if running:
            capacity.give_back(demands[running.pop(0)])

    assert started == set(demands)


def test_a_demand_that_can_never_be_met_is_refused():
    capacity = Capacity(4, {"gpu": 1})

    with pytest.raises(UsageError, match="`big` takes 2 of the limit `gpu`, which is 1"):
        capacity.demand(task("big", limits={"gpu": 2}))
    with pytest.raises(UsageError, match="`odd` takes from the limit `tpu`, which is not defined"):
        capacity.demand(task("odd", limits={"tpu": 1}))


def test_what_does_not_stay_is_forgotten_and_keeps_nothing():
    capacity = Capacity(8, {"net": 2})
    small, big = capacity.demand(task("s", limits={"net": 1})), capacity.demand(task("b", limits={"net": 2}))
    capacity.add(small, 0)
    taken(capacity)
    capacity.add(big, 1)
    for rank in range(2, 2 + OVERTAKEN_AT_MOST):  # now `net` is kept for the big one
        capacity.add(small, rank)
        taken(capacity)
        capacity.give_back(small)
    capacity.add(small, 90)
    assert taken(capacity) == []

    capacity.sift(lambda rank: rank != 1)

    assert taken(capacity) == [90]


DEMANDS = st.tuples(st.integers(1, 5), st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3))


@given(
    st.integers(1, 4), st.lists(st.tuples(DEMANDS, st.integers(0, 3)), max_size=40), st.randoms(use_true_random=False)
)
def test_whatever_comes_and_goes_no_limit_is_exceeded_and_everything_starts(slots, arrivals, random):
    limits = {"a": 3, "b": 3, "c": 3}
    capacity = Capacity(slots, limits)
    demands, running, started = {}, [], set()

    def start_all():
        for rank in taken(capacity):
            assert rank not in started
            started.add(rank)
            running.append(rank)
        assert sum(demands[rank].slots for rank in running) <= slots
        for name, limit in limits.items():
            assert sum(demands[rank].limits.get(name, 0) for rank in running) <= limit

    def end_one():
        if running:
            capacity.give_back(demands[running.pop(random.randrange(len(running)))])

    for rank, ((wanted, amounts), ends) in enumerate(arrivals):
        demands[rank] = capacity.demand(task("t", slots=wanted, limits=amounts))
        capacity.add(demands[rank], rank)
        start_all()
        for _ in range(ends):
            end_one()
            start_all()
    while running:
        end_one()
        start_all()

    assert started == set(demands)
