"""Times, signals and widths in the words of messages."""

from __future__ import annotations

import signal

import pytest

from taskrun.config.wording import signal_name, spoken, width_of


def test_signals_have_names_also_those_that_python_does_not_know():
    assert signal_name(15) == "SIGTERM"
    assert signal_name(signal.SIGRTMIN + 3) == "SIGRTMIN+3"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (59.0, "59s"),
        (60, "1m"),
        (90, "1m30s"),
        (150, "2m30s"),
        (3900, "1h05m"),
        (5400, "1h30m"),
    ],
)
def test_durations_are_written_for_people(seconds, text):
    assert spoken(seconds) == text


@pytest.mark.parametrize(
    ("text", "width"), [("plain", 5), ("é", 1), ("e\u0301", 1), ("日本", 4), ("👩\u200d🚀", 4), ("", 0)]
)
def test_a_line_takes_the_columns_that_a_terminal_gives_it(text, width):
    assert width_of(text) == width
