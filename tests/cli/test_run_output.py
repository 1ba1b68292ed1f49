"""What tasks write arrives where it should, whole and in order, whatever they write and whoever reads it."""

from __future__ import annotations

import json
import os
import re
from itertools import groupby

import pytest
from support import runs
from support.programs import python, writes

TASKS = 8
LINES = 3000
PLACES = {
    "a pipe": {},
    "GitHub": {"CI": "true", "GITHUB_ACTIONS": "true"},
    "GitLab": {"CI": "true", "GITLAB_CI": "true"},
    "Azure": {"TF_BUILD": "True"},
    "some CI": {"CI": "true"},
}

SAID = re.compile(rf"(?:print\[n=(?P<label>\d)\] \| )?(?P<task>[1-{TASKS}]) (?P<stream>out|err) (?P<number>\d+)")


def chatter(status: int = 0) -> str:
    """Eight tasks that all print on both streams at the same time."""
    return f"""
        [run]
        jobs = {TASKS}

        [tasks.print]
        foreach.n = {{ range = [1, {TASKS}] }}
        env = {{ N = "{{{{ n }}}}" }}
        shell = '''
            seq -f "$N out %.0f" {LINES} &
            seq -f "$N err %.0f" {LINES} >&2
            wait
            exit {status}
        '''
    """


def said_in(*texts: str, labelled: bool | None = None) -> dict[tuple[str, str], list[int]]:
    """The numbers by task and stream; every line that has anything of a task's in it must be one of its lines."""
    found: dict[tuple[str, str], list[int]] = {}
    for text in texts:
        for line in text.splitlines():
            if not re.search(r"\d (out|err) \d|print\[n=\d\] \|", line) or line.lstrip().startswith("|"):
                continue  # taskrun's own, or quoted in a failure block
            match = SAID.fullmatch(line)
            assert match, f"a broken line: {line!r}"
            if labelled is not None:
                assert match["label"] == (match["task"] if labelled else None)
            found.setdefault((match["task"], match["stream"]), []).append(int(match["number"]))
    return found


def everything(*streams: str) -> dict[tuple[str, str], list[int]]:
    return {(str(task), stream): list(range(1, LINES + 1)) for task in range(1, TASKS + 1) for stream in streams}


def expect_whole_logs(project) -> None:
    for stream, word in (("stdout", "out"), ("stderr", "err")):
        logs = project.taskrun("logs", "print", "--stream", stream).succeeds()
        assert said_in(logs.stdout) == everything(word)


def in_blocks(text: str) -> bool:
    """Each task's lines stand together."""
    tasks = [match["task"] for match in map(SAID.fullmatch, text.splitlines()) if match]
    return len(list(groupby(tasks))) == TASKS


# --- many tasks at once


@pytest.mark.parametrize("output", ["stream", "group", "failed", "none"])
def test_every_line_arrives_once_whole_and_in_order_in_every_mode(project, output):
    project.tasks(chatter(status=1 if output == "failed" else 0))
    finished = project.taskrun("run", "-k", "--output", output, "print").exits(1 if output == "failed" else 0)
    if output == "none":
        assert said_in(finished.stdout, finished.stderr) == {}
    else:
        labelled = output == "stream"
        assert said_in(finished.stdout, labelled=labelled) == everything("out")
        assert said_in(finished.stderr, labelled=labelled) == everything("err")
        assert labelled or in_blocks(finished.stdout)
    expect_whole_logs(project)


@pytest.mark.parametrize("place", PLACES)
def test_by_itself_it_labels_lines_in_a_pipe_and_groups_them_on_stdout_in_ci(project, place):
    project.tasks(chatter())
    finished = project.taskrun("run", "print", env=PLACES[place]).succeeds()
    if place == "a pipe":
        assert said_in(finished.stdout, labelled=True) == everything("out")
        assert said_in(finished.stderr, labelled=True) == everything("err")
    else:
        assert finished.stderr == ""
        assert said_in(finished.stdout, labelled=False) == everything("out", "err")
        assert in_blocks(finished.stdout)


@pytest.mark.parametrize("place", ["GitHub", "some CI"])
def test_what_failed_in_ci_is_shown_once_in_full_and_named_at_the_end(project, place):
    project.tasks("""
        [tasks.fine]
        run = ["echo", "fine output"]
        [tasks.bad]
        needs = ["fine"]
        shell = "echo ::error file=x::from the task; echo bad output; exit 3"
        [tasks.after]
        needs = ["bad"]
        run = ["true"]
        [tasks.all]
        needs = ["fine", "bad", "after"]
    """)
    finished = project.taskrun("run", "all", env={**PLACES[place], "NO_COLOR": "1"}).exits(1)
    assert finished.stderr == ""
    lines = finished.stdout.splitlines()
    assert lines.count("fine output") == 1
    assert lines.count("bad output") == 1
    assert lines.count("::error file=x::from the task") == 1
    annotation = [line for line in lines if line.startswith("::error file=tasks.toml,line=3")]
    assert len(annotation) == (place == "GitHub")
    finished.prints(
        "    FAIL  bad  exit 3",
        "rerun: taskrun run bad",
        "not run  after  because of bad",
        "3 tasks: 1 ok, 1 failed, 1 not run",
    )


def test_the_lines_are_whole_on_a_terminal_too(project):
    project.tasks(chatter())
    with project.terminal("run", "--output", "stream", "print") as terminal:
        shown = terminal.finish().succeeds().stdout
    lines = [line.split("\r")[-1] for line in shown.split("\n")]
    numbers = [(match["label"], match["stream"], int(match["number"])) for match in map(SAID.fullmatch, lines) if match]
    found: dict[tuple[str, str], list[int]] = {}
    for task, stream, number in numbers:
        found.setdefault((task, stream), []).append(number)
    assert found == everything("out", "err")


# --- events on stdout


def test_the_events_are_json_lines_with_all_output_in_order(project):
    project.tasks(chatter())
    command = (
        "taskrun run --events - --output stream print | tee events.jsonl | python3 -m json.tool --json-lines > nice"
    )
    project.sh(command).succeeds()
    events = [json.loads(line) for line in project.read("events.jsonl").splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["event"], events[-1]["event"]) == ("run.start", "run.end")
    text: dict[tuple[str, str], str] = {}
    for event in events:
        if event["event"] == "task.output":
            key = event["task"], event["stream"]
            text[key] = text.get(key, "") + event["text"]
    assert len(text) == 2 * TASKS
    assert said_in(*text.values()) == everything("out", "err")


def test_no_event_of_an_attempt_comes_before_its_start_or_after_its_end(project):
    project.tasks("""
        [tasks.quick]
        foreach.n = { range = [1, 40] }
        shell = "echo out; echo progress 50% > $TASKRUN_PROGRESS; echo err >&2; [ $TASKRUN_ATTEMPT = 2 ] || exit 75"
        retry.attempts = 2
        retry.delay = 0.01
    """)
    events = project.taskrun("run", "-j", "4", "--events", "-", "--output", "stream", "quick").succeeds().json_lines()
    under_way: set[tuple[str, int]] = set()
    for event in events:
        attempt = event.get("task"), event.get("attempt")
        match event["event"]:
            case "task.start":
                assert attempt not in under_way
                under_way.add(attempt)
            case "task.output" | "task.progress":
                assert attempt in under_way
            case "task.retry" | "task.end":
                under_way.remove(attempt)
    assert under_way == set()
    assert [event["event"] for event in events].count("task.output") >= 160


def test_without_output_stream_events_have_no_output_and_nothing_else_is_on_stdout(project):
    project.tasks(chatter())
    events = project.taskrun("run", "--events", "-", "print").succeeds().json_lines()
    assert {event["event"] for event in events} <= {"run.start", "task.queued", "task.start", "task.end", "run.end"}


# --- the one task named

ODD_BYTES = b"1.2.3\0\xff\xc3(\x1b[2J\r\n\r end"
VERSION = f"""
    [tasks.version]
    needs = ["build"]
    run = {json.dumps(python(f"os.write(1, {ODD_BYTES!r}); os.write(2, b'to stderr' + bytes([10]))"))}
    [tasks.build]
    shell = "printf 'buil%s\\n' ding; printf 'warn%s\\n' ing >&2; exit {{{{ vars.status }}}}"
    [vars]
    status = 0
"""


@pytest.mark.parametrize("place", ["a pipe", "GitHub", "some CI"])
def test_the_stdout_of_the_one_task_named_is_exact(project, place):
    project.tasks(VERSION)
    finished = project.taskrun("run", "version", env=PLACES[place]).succeeds()
    assert finished.out == ODD_BYTES
    finished.says("to stderr").never_says("building")


@pytest.mark.parametrize("place", ["a pipe", "GitHub"])
def test_what_the_one_task_needs_is_shown_on_stderr_if_it_fails(project, place):
    project.tasks(VERSION)
    finished = project.taskrun("run", "version", "status=1", env=PLACES[place]).exits(1)
    assert finished.out == b""
    finished.says("building", "warning")


def test_a_shell_script_gets_exactly_what_the_task_wrote(project):
    project.tasks("""
        [tasks.version]
        run = ["printf", "1.2.3"]
        [tasks.bad]
        run = ["false"]
    """)
    script = 'v=$(taskrun run version 2>/dev/null) && echo "<$v>"; if ! v=$(taskrun run bad 2>/dev/null); then echo "bad <$v>"; fi'
    project.sh(script).succeeds().prints_exactly("<1.2.3>\nbad <>\n")


def test_a_group_that_is_named_is_not_the_one_task_that_streams(project):
    project.tasks("""
        [tasks.one]
        shell = "echo from one"
        [tasks.both]
        needs = ["one"]
    """)
    project.taskrun("run", "both").succeeds().prints_exactly("one | from one\n")


# --- who reads it


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_events_that_cannot_be_written_are_named_as_what_cannot_be_written(project):
    project.tasks("[tasks.a]\nrun = ['sleep', '30']")
    finished = project.taskrun("run", "a", "--events", "/dev/full").exits(125)
    finished.says("--events /dev/full cannot be written: No space left on device").never_says("stderr cannot")


def test_a_slow_reader_holds_the_task_up_and_gets_everything(project):
    project.tasks(f"[tasks.a]\nrun = {json.dumps(writes('lines', 60))}\n")
    read, write_end = os.pipe()
    running = project.start("run", "a", stdout=write_end)
    os.close(write_end)
    log = runs.folder(project) / "logs" / "a.1.log"
    try:
        sizes = [-1] * 15

        def stands_still() -> bool:
            sizes.append(log.stat().st_size if log.exists() else -1)
            return min(sizes[-15:]) == max(sizes[-15:]) > 0

        runs.wait_until(stands_still, "the task is held up, since nobody reads")
        assert log.stat().st_size < 20_000_000
        received = bytearray()
        while data := os.read(read, 1 << 16):
            received += data
    finally:
        os.close(read)
    running.finish().succeeds()
    assert len(received) == 60_000_000
    assert received == log.read_bytes()


# --- options


@pytest.mark.parametrize(
    ("shell", "status"),
    [
        ("exit 7", 7),
        ("kill -SEGV $$", 139),
        ("sleep 600", 124),
        ("exec ./nonesuch", 127),
    ],
)
def test_exit_code_task_hands_on_how_the_task_ended(project, shell, status):
    project.tasks(f"[tasks.a]\nshell = '{shell}'\ntimeout = '500ms'\n[tasks.b]\nrun = ['true']\nneeds = ['a']\n")
    project.taskrun("run", "--exit-code", "task", "a").exits(status)


def test_exit_code_task_of_what_could_not_be_started_is_the_shells(project):
    project.write("script", "#!/bin/sh\n").chmod(0o644)
    project.tasks("""
        [tasks.missing]
        run = ["nonesuch-program"]
        [tasks.denied]
        run = ["./script"]
        [tasks.victim]
        needs = ["missing"]
        run = ["true"]
    """)
    for task, status in (("missing", 127), ("denied", 126), ("victim", 1)):
        project.taskrun("run", "--exit-code", "task", task).exits(status)


def test_exit_code_task_needs_one_task(project):
    project.tasks("[tasks.a]\nrun = ['true']\n[tasks.b]\nrun = ['true']\n")
    project.taskrun("run", "--exit-code", "task", "a", "b").exits(2).says(
        "--exit-code task hands on the code of one task, and here are 2"
    )
    assert sorted(os.listdir(project.path)) == ["tasks.toml"]


def test_quiet_says_nothing_but_failures(project):
    project.tasks("""
        [tasks.fine]
        shell = "echo fine out; echo fine err >&2"
        [tasks.bad]
        shell = "echo bad out; exit 1"
    """)
    for option in ("-q", "--ui=none"):
        project.taskrun("run", option, "fine").succeeds().prints_exactly("fine out\n").says_exactly("fine err\n")
    failed = project.taskrun("run", "-q", "bad").exits(1).prints_exactly("bad out\n")
    failed.says("FAIL", "bad", "exit 1", "rerun: taskrun run bad", "Summary").never_says("START")


def test_verbose_names_what_a_condition_left_out(project):
    project.tasks("""
        [tasks.a]
        run = ["true"]
        when = { env = "NONESUCH" }
        [tasks.b]
        run = ["true"]
    """)
    project.taskrun("run", "a", "b").succeeds().never_says("SKIPPED")
    project.taskrun("run", "-v", "a", "b").succeeds().says("SKIPPED", "NONESUCH")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--json", "a"], "--json goes with --dry-run"),
        (["-k", "--on-failure", "stop", "a"], "-k is --on-failure continue; give one of them"),
        (["-j", "0", "a"], "must be at least 1"),
        (["--limit", "gpu", "a"], "'gpu' is not NAME=N with N at least 1"),
        (["--limit", "gpu=1", "a"], "--limit gpu: the file has no limit of that name (it has none)"),
        (["--deadline", "soon", "a"], "'soon' is no time above zero"),
        (["--grace", "-1", "a"], "'-1' is no time: a number of seconds"),
        (["x=1", "x=2", "a"], "x= is given twice"),
        (["x=1", "a"], "nothing in this run knows `x`"),
        (["a", "b", "--", "more"], "arguments after `--` go to one task, and here are 2: `a`, `b`"),
        (["all", "--", "more"], "`all` is a group and runs nothing that could take arguments"),
        (["--dry-run", "--events", "-", "a"], "--dry-run has no events"),
        ([], "no task was named"),
    ],
)
def test_options_that_clash_or_make_no_sense_are_refused_before_anything_starts(project, words, says):
    project.tasks("""
        [tasks.a]
        run = ["touch", "started"]
        [tasks.b]
        run = ["touch", "started"]
        [tasks.all]
        needs = ["a", "b"]
    """)
    finished = project.taskrun("run", *words).exits(2)
    assert says in finished.stderr
    finished.never_says("Traceback")
    assert sorted(os.listdir(project.path)) == ["tasks.toml"]


# --- dry runs


def tree(folder) -> dict[str, bytes | bool]:
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_a_dry_run_starts_nothing_writes_nothing_and_imports_nothing_of_the_users(project):
    project.write("evil.py", "open('imported', 'w').close()\n\ndef call(n: int): ...\n")
    project.write("in/a b.txt", "")
    project.tasks("""
        [run]
        jobs = 3
        [vars]
        made = { shell = "touch read; echo x" }
        [limits]
        gpu = 1
        [tasks.each]
        foreach.file = { glob = "in/*.txt" }
        needs = ["py"]
        run = ["touch", "started {{ file.match }}", "{{ vars.made }}"]
        timeout = "90s"
        idle-timeout = "1m"
        limits = ["gpu"]
        slots = 2
        retry.attempts = 3
        cwd = "in"
        env = { COLOUR = "blue" }
        finally = ["tidy"]
        [tasks.py]
        python = "evil:call"
        args = { n = 3 }
        [tasks.tidy]
        shell = "touch tidied"
        [tasks.off]
        run = ["touch", "started"]
        when = { env = "NONESUCH" }
        [tasks.all]
        needs = ["each", "off"]
    """)
    before = tree(project.path)
    shown = project.taskrun("run", "--dry-run", "all").succeeds()
    shown.prints("4 tasks, 3 at a time; nothing is started")
    shown.prints("evil:call(n=3)", "each[file=in/a b.txt]", "touch 'started a b' '$(touch read; echo x)'")
    shown.prints("slots 2, gpu 1, timeout 90s, idle-timeout 60s, up to 3 attempts, sets COLOUR", "touch tidied")
    assert shown.stderr == ""
    plan = project.taskrun("run", "--dry-run", "--json", "all").succeeds().json()
    assert [task["task"] for task in plan["tasks"]] == ["py", "each[file=in/a b.txt]", "off", "tidy"]
    (each,) = (task for task in plan["tasks"] if task["task"].startswith("each"))
    assert each["argv"] == ["touch", "started a b", "$(touch read; echo x)"]
    assert each["cwd"] == str(project.path / "in")
    assert each["clocks"] == {"timeout": 90.0, "idle-timeout": 60.0}
    assert (plan["jobs"], plan["limits"], each["limits"]) == (3, {"gpu": 1}, {"gpu": 1})
    assert tree(project.path) == before


def test_a_dry_run_of_a_wrong_file_is_refused_like_a_run(project):
    project.tasks("[tasks.a]\nrnu = ['true']\n")
    project.taskrun("run", "--dry-run", "a").exits(2).says("tasks.toml:2:1", "rnu")
    project.tasks("[tasks.a]\nrun = ['true']\n")
    project.taskrun("run", "--dry-run", "'*x'").exits(4)


# --- what to do next


def reruns(finished) -> list[str]:
    """The commands of the failure blocks."""
    return re.findall(r"^ *rerun: (.*)$", finished.stderr, re.MULTILINE)


ODD_NAMES = [
    "a b",
    "it's",
    'so "called"',
    "$HOME `id` $(id)",
    "*",
    "[12]",
    "back\\slash",
    "ünï-日本",
    "two\nlines",
    "a=b,clip=c",
    "-rf",
    "{{ x }}",
]


@pytest.mark.parametrize("names", [ODD_NAMES[:4], ODD_NAMES[4:8], ODD_NAMES[8:]])
def test_the_rerun_command_of_a_failure_runs_exactly_that_instance(project, names):
    project.tasks("""
        [tasks.probe]
        foreach.clip = { glob = "in/*" }
        run = ["true"]
        [tasks.transcode]
        foreach.clip = { glob = "in/*" }
        needs = ["probe"]
        run = ["sh", "-c", '! test -s "$0" || { printf "%s" "$0" > ran; exit 1; }', "{{ clip }}"]
    """)
    for name in ("1", "2", "a", "plain"):
        project.write(f"in/{name}", "")
    for name in names:
        project.write(f"in/{name}", "a bad one")
    commands = reruns(project.taskrun("run", "-k", "transcode").exits(1))
    ran = []
    for command in commands:
        assert reruns(project.sh(command).exits(1)) == [command]
        ran.append(project.read("ran"))
        settled = [task.partition("[")[0] for task in runs.ends(project)]
        assert sorted(settled) == ["probe", "transcode"]
    assert sorted(ran) == sorted(f"in/{name}" for name in names)


def test_the_rerun_command_keeps_what_the_task_knows_of_variables_arguments_and_picks(project):
    project.write("m.py", "def call(width: int, n: int = 0):\n    raise SystemExit(width)\n")
    project.tasks("""
        [vars]
        target = { type = "str", choices = ["staging", "live"] }
        n = "both a variable and a key"
        [tasks.lint]
        run = ["sh", "-c", "exit 1", "{{ vars.target }}"]
        [tasks.resize]
        foreach.n = [1, 2]
        python = "m:call"
        [tasks.flags]
        foreach.on = [true, false, 1.5]
        run = ["sh", "-c", "[ $0 != true ]", "{{ on }}"]
        [tasks.args]
        shell = 'echo "$@"; exit 1'
    """)
    finished = project.taskrun("run", "-k", "lint", "resize", "flags", "target=live", "width=3").exits(1)
    commands = reruns(finished)
    assert sorted(commands) == [
        "taskrun run 'resize[n=1]' target=live width=3",
        "taskrun run 'resize[n=2]' target=live width=3",
        "taskrun run flags target=live on=true",
        "taskrun run lint target=live",
    ]
    for command in commands:
        assert reruns(project.sh(command).exits(1)) == [command]
    finished = project.taskrun("run", "args", "--", "a b", "$x").exits(1)
    assert reruns(finished) == ["taskrun run args -- 'a b' '$x'"]


def test_the_rerun_command_names_the_file_that_was_named(project):
    project.write("sub dir/other.toml", "[tasks.a]\nrun = ['false']\n")
    finished = project.taskrun("run", "-f", "sub dir/other.toml", "a").exits(1)
    assert reruns(finished) == ["taskrun run -f 'sub dir/other.toml' a"]
    project.sh(reruns(finished)[0]).exits(1)


def test_a_python_failure_shows_its_traceback_once(project):
    project.write("m.py", "def call():\n    print('printed before')\n    raise ValueError('the reason')\n")
    project.tasks("[tasks.a]\npython = 'm:call'\n[tasks.b]\nrun = ['true']\n")
    finished = project.taskrun("run", "--output", "none", "a", "b").exits(1)
    block = finished.stderr[finished.stderr.index("FAIL  a") :]
    assert block.count("Traceback") == 1
    assert block.count("| ValueError: the reason") == 1
    assert "no output" not in block
    finished.says("| printed before", "| Traceback", "| ValueError: the reason", "log: ", "rerun: ")


def test_the_first_cause_is_last_and_says_where_its_output_is(project):
    project.tasks("""
        [tasks.first]
        shell = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done; exit 3"
        [tasks.silent]
        run = ["false"]
        [tasks.absent]
        run = ["nonesuch-program"]
    """)
    finished = project.taskrun("run", "-j", "1", "-k", "--output", "none", "first", "silent", "absent").exits(1)
    finished.says("FAIL  absent  nonesuch-program: command not found", "FAIL  silent", "no output", "FAIL  first")
    finished.says("| line 21", "| line 30", "last 10 of 30 lines", "log: .taskrun/runs/", "logs/first.1.log")
    assert finished.stderr.count("no output") == 1  # what never started has none to speak of
