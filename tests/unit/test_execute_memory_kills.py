"""Who is said to have been killed for want of memory, and where the kernel's count of that is read."""

from __future__ import annotations

import pytest

from taskrun.execute.memory_kills import MemoryKills
from taskrun.host.linux import counter_of_memory_kills
from taskrun.model import Exited, Signaled

KILLED = Signaled(signal=9)


def known(kills: MemoryKills, ending):
    explained = kills.explain(ending)
    return explained.out_of_memory


def test_each_kill_that_the_kernel_counts_explains_one_death():
    counted = [5]
    kills = MemoryKills(lambda: counted[0])
    assert known(kills, KILLED) is False  # the five were before this run
    counted[0] = 7
    assert [known(kills, KILLED), known(kills, Exited(code=137)), known(kills, KILLED)] == [True, True, False]


def test_where_nobody_counts_nothing_is_known():
    assert known(MemoryKills(lambda: None), KILLED) is None


@pytest.mark.parametrize("ending", [Exited(code=1), Exited(code=0), Signaled(signal=15)])
def test_other_endings_are_nobodys_kills_and_are_not_looked_into(ending):
    counts = iter([0])  # asked for a second time, it fails
    assert MemoryKills(lambda: next(counts)).explain(ending) is ending


@pytest.mark.parametrize(
    ("groups", "there", "expected"),
    [
        ("0::/user/app\n", ["user/app/memory.events", "user/memory.events"], "user/app/memory.events"),
        ("0::/user/app/x y\n", ["user/memory.events"], "user/memory.events"),  # memory is not counted further down
        ("0::/../other\n", ["memory.events"], "memory.events"),  # in a container, of whose groups we see but the top
        (
            "9:cpuset:/a\n4:blkio,memory:/a:b/c\n0::/\n",
            ["memory/a:b/c/memory.oom_control", "memory/memory.oom_control"],
            "memory/a:b/c/memory.oom_control",
        ),
        ("4:memory:/docker/1f\n0::/\n", ["memory/memory.oom_control"], "memory/memory.oom_control"),
        ("0::/\n", [], None),
        ("", [], None),
    ],
)
def test_the_nearest_control_group_that_counts_is_asked_or_else_the_whole_machine(tmp_path, groups, there, expected):
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("oom_kill 0\n")
    file, word = counter_of_memory_kills(groups.encode(), str(tmp_path))
    assert file == ("/proc/vmstat" if expected is None else f"{tmp_path}/{expected}")
    assert word == b"oom_kill"
