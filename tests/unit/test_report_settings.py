"""What is shown where, as tables: environment, terminals and flags in, settings out."""

from __future__ import annotations

import pytest

from taskrun.report.settings import Options, ci_service, decide, wants_colour

TERMINAL = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("flag", "environ", "tty", "service", "expected"),
    [
        (None, {}, True, None, True),
        (None, {}, False, None, False),
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, False, None, True),
        ("never", {"FORCE_COLOR": "1"}, True, None, False),
        ("auto", {"TASKRUN_COLOR": "always", "NO_COLOR": "1"}, False, None, True),
        (None, {"TASKRUN_COLOR": "never", "FORCE_COLOR": "1"}, True, None, False),
        (None, {"TASKRUN_COLOR": "sometimes"}, True, None, True),
        (None, {"NO_COLOR": "1"}, True, "github", False),
        (None, {"NO_COLOR": ""}, True, None, True),
        (None, {"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False, None, False),
        (None, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, None, False),
        (None, {"FORCE_COLOR": "1"}, False, None, True),
        (None, {"FORCE_COLOR": "3", "TERM": "dumb"}, False, None, True),
        (None, {"FORCE_COLOR": "0"}, True, None, False),
        (None, {"FORCE_COLOR": "false"}, True, None, False),
        (None, {"FORCE_COLOR": ""}, True, None, True),
        (None, {"CLICOLOR_FORCE": "1"}, False, None, True),
        (None, {"CLICOLOR_FORCE": "0"}, False, None, False),
        (None, {"TERM": "dumb"}, True, "github", False),
        (None, {"TERM": "unknown"}, True, None, False),
        (None, {"CLICOLOR": "0"}, True, None, False),
        (None, {}, False, "github", True),
        (None, {}, False, "jenkins", False),
    ],
)
def test_colour_is_decided_by_the_first_that_speaks(flag, environ, tty, service, expected):
    assert wants_colour(flag, environ, tty=tty, service=service) is expected


@pytest.mark.parametrize(
    ("asked", "environ", "expected"),
    [
        (None, {}, None),
        (None, {"CI": "true"}, "generic"),
        (None, {"CI": "1"}, "generic"),
        (None, {"CI": ""}, None),
        (None, {"CI": "false", "GITHUB_ACTIONS": "true"}, None),
        (None, {"CI": "0"}, None),
        (None, {"CI": "true", "GITHUB_ACTIONS": "true"}, "github"),
        (None, {"GITLAB_CI": "true"}, "gitlab"),
        (None, {"TF_BUILD": "True"}, "azure"),
        (None, {"TEAMCITY_VERSION": "2026.1"}, "teamcity"),
        (None, {"JENKINS_URL": "https://ci"}, "jenkins"),
        (None, {"BUILDKITE": "true"}, "buildkite"),
        ("none", {"CI": "true", "GITHUB_ACTIONS": "true"}, None),
        ("gitlab", {"CI": "true", "GITHUB_ACTIONS": "true"}, "gitlab"),
        ("auto", {"GITHUB_ACTIONS": "true"}, "github"),
        (None, {"TASKRUN_CI": "azure"}, "azure"),
        (None, {"TASKRUN_CI": "none", "CI": "true"}, None),
        ("github", {"TASKRUN_CI": "none"}, "github"),
    ],
)
def test_the_ci_service_is_found(asked, environ, expected):
    assert ci_service(asked, environ) == expected


@pytest.mark.parametrize(
    ("options", "environ", "stderr_tty", "width", "expected"),
    [
        ({}, TERMINAL, True, 80, "live"),
        ({}, TERMINAL, False, 80, "plain"),
        ({}, {}, True, 80, "plain"),
        ({}, {"TERM": "dumb"}, True, 80, "plain"),
        ({}, {"TERM": "unknown"}, True, 80, "plain"),
        ({}, {**TERMINAL, "CI": "true"}, True, 80, "plain"),
        ({}, {**TERMINAL, "COLUMNS": "1"}, True, 80, "plain"),
        ({}, {**TERMINAL, "COLUMNS": "19"}, True, 80, "plain"),
        ({}, {**TERMINAL, "COLUMNS": "20"}, True, 10, "live"),
        ({}, TERMINAL, True, 10, "plain"),
        ({}, {**TERMINAL, "FORCE_COLOR": "1"}, False, 80, "plain"),
        ({}, {**TERMINAL, "TASKRUN_UI": "plain"}, True, 80, "plain"),
        ({"ui": "live"}, {**TERMINAL, "TASKRUN_UI": "plain"}, True, 80, "live"),
        ({"ui": "auto"}, {**TERMINAL, "TASKRUN_UI": "plain"}, True, 80, "live"),
        ({"ui": "live"}, {**TERMINAL, "CI": "true"}, True, 80, "live"),
        ({"ui": "live"}, TERMINAL, False, 80, "plain"),
        ({"ui": "none"}, TERMINAL, True, 80, "none"),
        ({"quiet": True}, TERMINAL, True, 80, "none"),
        ({"quiet": True, "ui": "plain"}, TERMINAL, True, 80, "plain"),
    ],
)
def test_the_live_view_is_for_terminals_that_can(options, environ, stderr_tty, width, expected):
    settings = decide(Options(**options), environ, stderr_tty=stderr_tty, terminal_width=width)
    assert settings.ui == expected


def test_what_cannot_be_honoured_is_told():
    settings = decide(Options(ui="live"), TERMINAL, stderr_tty=False)
    assert "needs a terminal" in settings.warnings[0]
    settings = decide(Options(), {"TASKRUN_OUTPUT": "all", "TASKRUN_UI": "tui"})
    assert settings.warnings == (
        "TASKRUN_UI=tui is ignored: it may be auto, live, plain, none",
        "TASKRUN_OUTPUT=all is ignored: it may be auto, stream, group, failed, none",
    )


CI = {"CI": "true", "GITHUB_ACTIONS": "true"}


@pytest.mark.parametrize(
    ("options", "environ", "ttys", "named", "output", "fds"),
    [
        # fds: status, stdout of tasks, their stderr, stdout of the one named
        ({}, {}, (True, True), None, "failed", (2, 1, 2, 1)),
        ({}, {}, (False, True), None, "stream", (2, 1, 2, 1)),
        ({}, {}, (True, False), None, "stream", (2, 1, 2, 1)),
        ({}, {}, (False, False), None, "stream", (2, 1, 2, 1)),
        ({}, CI, (False, False), None, "group", (1, 1, 1, 1)),
        ({}, {}, (True, True), "one", "failed", (2, 2, 2, 1)),
        ({}, {}, (False, True), "one", "failed", (2, 2, 2, 1)),
        ({}, CI, (False, False), "one", "failed", (2, 2, 2, 1)),
        ({"output": "stream"}, {}, (True, True), None, "stream", (2, 1, 2, 1)),
        ({"output": "group"}, {}, (False, False), "one", "group", (2, 1, 2, 1)),
        ({"output": "none"}, {}, (False, False), "one", "none", (2, 1, 2, 1)),
        ({}, {"TASKRUN_OUTPUT": "none"}, (True, True), None, "none", (2, 1, 2, 1)),
        ({"output": "group"}, {"TASKRUN_OUTPUT": "none"}, (True, True), None, "group", (2, 1, 2, 1)),
        ({"events": "-"}, {}, (False, True), None, "stream", (2, 2, 2, 2)),
        ({"events": "-"}, CI, (False, False), None, "group", (2, 2, 2, 2)),
        ({"events": "-"}, {}, (False, False), "one", "failed", (2, 2, 2, 2)),
        ({"events": "log.jsonl"}, {}, (False, False), None, "stream", (2, 1, 2, 1)),
    ],
)
def test_output_goes_where_it_composes(options, environ, ttys, named, *, output, fds):
    settings = decide(Options(**options), environ, stdout_tty=ttys[0], stderr_tty=ttys[1], named=named)
    assert settings.output == output
    assert (settings.status_fd, settings.stdout_fd, settings.stderr_fd, settings.named_fd) == fds


@pytest.mark.parametrize(
    ("options", "stdout_tty", "named", "exact"),
    [
        ({}, False, "one", True),
        ({}, True, "one", False),
        ({}, False, None, False),
        ({"output": "stream"}, False, "one", True),
        ({"output": "failed"}, False, "one", False),
        ({"events": "-"}, False, "one", False),
        ({"quiet": True}, False, "one", True),
    ],
)
def test_the_one_task_named_gets_stdout_for_itself(options, stdout_tty, named, exact):
    settings = decide(Options(**options), {}, stdout_tty=stdout_tty, stderr_tty=False, named=named)
    assert settings.exact is exact
    assert not exact or 1 not in {settings.status_fd, settings.stdout_fd, settings.stderr_fd}


@pytest.mark.parametrize(
    ("environ", "unicode"),
    [
        ({}, True),
        ({"LANG": "C"}, False),
        ({"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LC_ALL": "C.utf8", "LANG": "C"}, True),
        ({"LC_CTYPE": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "en_US"}, True),
    ],
)
def test_only_a_locale_that_cannot_keeps_us_to_ascii(environ, unicode):
    assert decide(Options(), environ).unicode is unicode


def test_width_comes_from_columns_then_the_terminal():
    assert decide(Options(), {"COLUMNS": "132"}, terminal_width=80).width == 132
    assert decide(Options(), {"COLUMNS": "x"}, terminal_width=90).width == 90
    assert decide(Options(), {"COLUMNS": "0"}).width == 80
    assert decide(Options(), {"COLUMNS": "132"}).columns == 132
    assert decide(Options(), {}, terminal_width=90).columns is None
