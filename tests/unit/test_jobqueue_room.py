"""What fits into a worker, job by job."""

from __future__ import annotations

from taskrun.jobqueue.room import Costs, Room
from taskrun.jobqueue.values import Allowance, Cost

ALLOWANCE = Allowance(
    slots=4,
    tasks={
        "cpu": Cost(),
        "wide": Cost(slots=3),
        "gpu": Cost(limits={"gpu": 1, "net": 1}),
        "off": Cost(limits={"no": 1}),
    },
    limits={"gpu": 2, "net": 3, "no": 0},
)


def admitted(room, *tasks):
    return [task for task in tasks if room.admit(task)]


def test_jobs_fit_until_slots_or_limits_are_used_up_by_what_runs_here_and_elsewhere():
    costs = Costs(ALLOWANCE)

    assert admitted(Room(costs, [], {}), *["gpu"] * 9) == ["gpu"] * 2
    assert admitted(Room(costs, ["gpu"], {}), *["gpu"] * 9, "cpu") == ["gpu", "cpu"]
    assert admitted(Room(costs, [], {"gpu": 2, "cpu": 9, "unknown": 9}), "gpu", "wide", "cpu", "cpu") == ["wide", "cpu"]
    assert admitted(Room(costs, ["cpu", "cpu"], {"gpu": 99}), "gpu", "cpu", "wide", "cpu") == ["cpu"]


def test_a_worker_of_all_tasks_has_one_slot_for_each_and_shares_nothing():
    costs = Costs(Allowance(slots=2, limits={"gpu": 1}))

    assert admitted(Room(costs, ["any"], {"other": 5}), "any", "any") == ["any"]
    assert not costs.shares_limits
    assert not costs.frees(["any"], [])


def test_a_task_whose_limit_is_nothing_is_not_taken():
    assert Costs(ALLOWANCE).of("off") is None


def test_a_limit_is_freed_where_more_of_it_ended_than_began():
    costs = Costs(ALLOWANCE)

    assert costs.frees(["gpu"], [])
    assert costs.frees(["gpu", "gpu"], ["gpu", "cpu"])
    assert not costs.frees(["gpu", "cpu", "wide"], ["gpu"])
    assert not costs.frees([], ["gpu"])
