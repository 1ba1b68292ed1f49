"""Wait statuses in words."""

from __future__ import annotations

import signal

from taskrun.host.ending import how_it_ended, signal_name


def test_a_signal_has_the_name_that_python_gives_it():
    assert {each.value: signal_name(each.value) for each in signal.Signals} == {
        each.value: each.name for each in signal.Signals
    }
    assert signal_name(40) == "signal 40"


def test_a_status_is_a_clause():
    assert [how_it_ended(status) for status in (None, 0, 3 << 8, signal.SIGABRT)] == [
        "it did not answer",
        "exit 0",
        "exit 3",
        "killed by SIGABRT",
    ]
