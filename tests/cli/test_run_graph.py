"""Graphs of real tasks: order, limits, clean-up, conditions, failures, what is named and what it is given."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from support import runs

ROOT = Path(__file__).resolve().parents[2]

# Writes when it begins and ends; waits in between until $MEET tasks of its kind have begun.
MARKS = """
    kind=${TASKRUN_TASK%%-*}
    echo "+ $TASKRUN_TASK" >> marks
    until [ "$(grep -c "^+ $kind" marks)" -ge "${MEET:-0}" ]; do sleep 0.01; done
    sleep 0.02
    echo "- $TASKRUN_TASK" >> marks
"""


def timeline(project) -> list[set[str]]:
    """Which tasks ran at once, after each change."""
    running: set[str] = set()
    found = []
    for line in project.read("marks").splitlines():
        sign, task = line.split()
        (running.add if sign == "+" else running.remove)(task)
        found.append(set(running))
    assert running == set()
    return found


def at_once(moments: list[set[str]], kind: str = "") -> int:
    return max(sum(task.startswith(kind) for task in moment) for moment in moments)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def marked(names: str, **keys: object) -> str:
    lines = "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())
    return "".join(f"[tasks.{name}]\nshell = '''{MARKS}'''\ntimeout = '20s'\n{lines}\n" for name in names.split())


# --- limits and slots


def test_limits_weights_and_slots_are_used_up_and_never_exceeded(project):
    project.tasks(
        "[limits]\ngpu = 2\nnet = 3\n"
        + marked("gpu-1 gpu-2 gpu-3 gpu-4 gpu-5 gpu-6", limits=["gpu"], env={"MEET": "2"})
        + marked("net-1 net-2 net-3", limits={"net": 2})
        + marked("wide-1 wide-2", slots=3)
        + marked("free-1 free-2 free-3")
        + marked("whole-1 whole-2", slots="all")
    )
    project.taskrun("run", "-j", "5", "*").succeeds().says("16 tasks: 16 ok")
    moments = timeline(project)
    slots = {"wide": 3, "whole": 5}
    assert max(sum(slots.get(task.partition("-")[0], 1) for task in moment) for moment in moments) <= 5
    assert at_once(moments, "gpu") == 2
    assert at_once(moments, "net") == 1
    assert at_once(moments, "wide") == 1
    assert all(len(moment) == 1 for moment in moments if any(task.startswith("whole") for task in moment))


@pytest.mark.parametrize(
    ("options", "expected"), [(["-j", "1"], 1), (["-j", "3"], 3), (["-j", "4", "--limit", "gpu=2"], 2), ([], 4)]
)
def test_the_command_line_sets_slots_and_limits(project, options, expected):
    project.tasks(
        "[run]\njobs = 4\n[limits]\ngpu = 6\n"
        + marked("a-1 a-2 a-3 a-4 a-5 a-6", limits=["gpu"], env={"MEET": str(expected)})
    )
    project.taskrun("run", *options, "*").succeeds()
    assert at_once(timeline(project)) == expected


def test_what_is_ready_does_not_wait_for_what_is_not(project):
    """Instances flow as pipelines: the second step of one does not wait for the first step of the others."""
    project.tasks("""
        [tasks.first]
        foreach.n = [1, 2]
        shell = "if [ {{ n }} = 1 ]; then until [ -e second-2 ]; do sleep 0.01; done; fi"
        [tasks.second]
        foreach.n = [1, 2]
        needs = ["first"]
        shell = ": > second-{{ n }}"
    """)
    project.taskrun("run", "-j", "2", "second").succeeds()


# --- failures

POLICY = """
    [tasks.bad]
    shell = "until [ -e long-is-up ]; do sleep 0.01; done; exit 3"
    [tasks.long]
    shell = ": > long-is-up; until [ -e go ]; do sleep 0.01; done"
    [tasks.later]
    needs = ["long"]
    run = ["true"]
    [tasks.victim]
    needs = ["bad"]
    run = ["true"]
    [tasks.victim-of-victim]
    needs = ["victim"]
    run = ["true"]
"""


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ([], {"long": "succeeded", "later": "not-started"}),
        (["--on-failure", "stop"], {"long": "cancelled", "later": "not-started"}),
        (["--on-failure", "continue"], {"long": "succeeded", "later": "succeeded"}),
        (["-k"], {"long": "succeeded", "later": "succeeded"}),
    ],
)
def test_what_a_failure_does_to_the_rest(project, option, expected):
    project.tasks(POLICY)
    running = project.start("run", "-j", "2", *option, "bad", "later", "victim-of-victim").wait_for("FAIL")
    project.write("go", "")
    finished = running.finish().exits(1)
    assert runs.states(project) == {"bad": "failed", "victim": "skipped", "victim-of-victim": "skipped"} | expected
    # The first cause is last of the failures, and no victim is among them.
    assert re.findall(r"^ *FAIL  (\S+)  exit", finished.stderr, re.MULTILINE) == ["bad"]
    finished.says("not run  victim  because of bad")
    assert runs.summary(project)["first_cause"] == "bad"


def test_an_allowed_failure_is_told_and_changes_nothing(project):
    project.tasks("""
        [tasks.lint]
        run = ["false"]
        allow-failure = true
        [tasks.after]
        needs = ["lint"]
        shell = "echo lint {{ tasks.lint.state }}"
    """)
    finished = project.taskrun("run", "after").succeeds().prints_exactly("lint failed\n")
    finished.says("allowed  lint  exit 1", "2 tasks: 1 ok, 1 allowed to fail")


def test_a_condition_leaves_a_task_out_and_its_dependents_go_on(project):
    project.tasks("""
        [tasks.maybe]
        shell = "echo ran"
        when = { env = "ASKED=yes", exists = "there" }
        [tasks.either]
        shell = "echo either"
        when = [{ env = "ASKED" }, { exists = "there" }]
        [tasks.never]
        run = ["false"]
        when = { env = "NONESUCH" }
        [tasks.after]
        needs = ["maybe", "either", "never"]
        shell = "echo {{ tasks.maybe.state }} {{ tasks.either.state }} {{ tasks.never.state }}"
        [tasks.needs-it]
        needs = ["never"]
        shell = "echo {{ tasks.never.result.x }}"
    """)
    project.taskrun("run", "after").succeeds().prints_exactly("skipped skipped skipped\n").says(
        "4 tasks: 1 ok, 3 skipped"
    )
    project.write("there", "")
    project.taskrun("run", "after").succeeds().prints_exactly("skipped succeeded skipped\n")
    asked = project.taskrun("run", "after", env={"ASKED": "yes"}).succeeds()
    asked.prints_exactly("succeeded succeeded skipped\n")
    finished = project.taskrun("run", "needs-it").exits(1)
    finished.says("FAIL  needs-it", "never")


# --- clean-up

CLEAN = """
    [tasks.work]
    shell = ": > up; {{ vars.work }}"
    finally = ["tidy", "report"]
    [tasks.after]
    needs = ["work"]
    shell = "echo after >> order"
    [tasks.other]
    needs = ["after"]
    shell = "echo other >> order"
    finally = ["tidy"]
    [tasks.tidy]
    hidden = true
    shell = "echo tidy >> order; exit {{ vars.tidy }}"
    [tasks.report]
    shell = "echo report {{ tasks.work.state }} >> order"
    [vars]
    work = "echo work >> order"
    tidy = 0
"""


def shell_of(work: str) -> str:
    """The same file with another command; in `shell` a look-up would be one word."""
    return CLEAN.replace("{{ vars.work }}", work).replace('work = "echo work >> order"\n', "")


@pytest.mark.parametrize(
    ("work", "words", "status", "order"),
    [
        ("echo work >> order", [], 0, ["work", "after", "other", "tidy", "report succeeded"]),
        ("exit 3", [], 1, ["tidy", "report failed"]),
        ("sleep 60", [], 124, ["tidy", "report timed-out"]),
        ("echo work >> order", ["tidy=5"], 1, ["work", "after", "other", "tidy", "report succeeded"]),
    ],
)
def test_clean_up_runs_once_after_all_that_it_belongs_to_however_that_ended(project, work, words, status, order):
    project.tasks(
        shell_of(work).replace('finally = ["tidy", "report"]', 'finally = ["tidy", "report"]\n    timeout = \'500ms\'')
    )
    finished = project.taskrun("run", "-j", "4", "other", *words).exits(status)
    found = project.read("order").splitlines()
    assert sorted(found) == sorted(order)
    # `report` belongs to `work` and what depends on it, `tidy` to `other` as well.
    assert found[: len(order) - 2] == order[:-2]
    if words:
        finished.says("FAIL  tidy  exit 5")


def test_clean_up_of_what_never_started_is_left_out(project):
    project.tasks("""
        [tasks.bad]
        run = ["false"]
        [tasks.work]
        needs = ["bad"]
        run = ["true"]
        finally = ["tidy"]
        [tasks.tidy]
        run = ["touch", "tidied"]
    """)
    project.taskrun("run", "work").exits(1).says("not run  tidy")
    assert not (project.path / "tidied").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_clean_up_has_its_time_after_an_interruption(project, number):
    project.tasks(shell_of("sleep 600"))
    running = project.start("run", "other")
    runs.wait_for_files(project, "up")
    running.signal(number).finish().dies_of(number)
    assert sorted(project.read("order").splitlines()) == ["report cancelled", "tidy"]
    assert runs.states(project) == {
        "work": "cancelled",
        "after": "not-started",
        "other": "not-started",
        "tidy": "succeeded",
        "report": "succeeded",
    }


def test_clean_up_that_takes_too_long_after_an_interruption_is_ended(project):
    project.tasks("""
        [run]
        cleanup = "300ms"
        [tasks.work]
        shell = ": > up; sleep 600"
        finally = ["tidy"]
        [tasks.tidy]
        shell = ": > tidying; sleep 600"
    """)
    running = project.start("run", "work")
    runs.wait_for_files(project, "up")
    running.signal(signal.SIGINT).finish().dies_of(signal.SIGINT)
    assert (project.path / "tidying").exists()
    assert runs.states(project)["tidy"] == "cancelled"


# --- what is named

NAMES = """
    [run]
    default = ["test-a"]
    [tasks.test-a]
    aliases = ["ta"]
    run = ["echo", "test-a"]
    [tasks.test-b]
    run = ["echo", "test-b"]
    [tasks.test-hidden]
    hidden = true
    run = ["echo", "test-hidden"]
    [tasks.build]
    foreach.target = ["arm64", "x86"]
    foreach.mode = ["debug", "release"]
    run = ["echo", "{{ target }}/{{ mode }}"]
    [tasks.link]
    foreach.target = ["arm64", "x86"]
    needs = ["build"]
    shell = "echo link {{ target }}"
    [tasks.arm]
    needs = ["build[target=arm64]", "test-*"]
    run = ["echo", "arm"]
    [tasks.everything]
    needs = ["link", "arm"]
    [tasks.empty]
    foreach.file = { glob = "none/*" }
    run = ["false"]
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "test-a"),
        (["ta"], "test-a"),
        (["test-*"], "test-a test-b"),
        (["test-hidden"], "test-hidden"),
        (["build[target=x86,mode=debug]"], "x86/debug"),
        (["build[mode=release]"], "arm64/release x86/release"),
        (["build", "mode=d*"], "arm64/debug x86/debug"),
        (["link", "target=arm64"], "arm64/debug arm64/release link-arm64"),
        (["link[target=x86]", "mode=debug"], "x86/debug link-x86"),
        (["arm"], "arm64/debug arm64/release test-a test-b arm"),
        (["everything", "target=arm64"], "arm64/debug arm64/release link-arm64 test-a test-b arm"),
        (["empty", "test-b"], "test-b"),
    ],
)
def test_what_is_named_is_run_with_what_it_needs(project, words, expected):
    """Asked of a dry run, which has the same plan and takes half the time."""
    project.tasks(NAMES)
    plan = project.taskrun("run", "--dry-run", "--json", *words).succeeds().json()
    ran = [step["argv"][1] if step["kind"] == "binary" else f"link-{step['task'][12:-1]}" for step in plan["tasks"]]
    assert sorted(ran) == sorted(expected.split())


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["none-*"], 4, "no task matches `none-*`"),
        (["*hidden"], 4, "no task matches `*hidden`"),
        (["build", "target=riscv"], 4, "no instance has `target=riscv`: there are `arm64`, `x86`"),
        (["build[target=r*]"], 4, "no instance matches `build[target=r*]`"),
        (
            ["build[target=arm64,mode=relaese]"],
            2,
            "there is no instance `build[target=arm64,mode=relaese]`; did you mean",
        ),
        (["test-c"], 2, "there is no task `test-c`; did you mean `test-b`?"),
        (["test-a[x=1]"], 2, "`test-a` has no `foreach`"),
        (["test-a", "mode=debug"], 2, "it is a `foreach` key of `build`, which it does not include"),
    ],
)
def test_what_matches_nothing_is_told_with_a_status_of_its_own(project, words, status, says):
    project.tasks(NAMES)
    finished = project.taskrun("run", *words).exits(status).prints_exactly("")
    assert finished.stderr.startswith("error: ")
    assert says in finished.stderr
    assert not (project.path / ".taskrun").exists()


def test_a_partner_that_is_missing_is_a_mistake_of_the_file(project):
    project.tasks("""
        [tasks.probe]
        foreach.clip = ["a"]
        run = ["true"]
        [tasks.transcode]
        foreach.clip = ["a", "b"]
        needs = ["probe"]
        run = ["true"]
    """)
    finished = project.taskrun("run", "transcode").exits(2)
    finished.says(
        "error[missing-partner]", "`transcode[clip=b]` has no partner: there is no `probe[clip=b]`", "tasks.toml:6"
    )


# --- what a task is given


def test_extra_arguments_arrive_word_for_word(project):
    project.tasks("""
        [tasks.argv]
        run = ["printf", "<%s>", "first"]
        [tasks.place]
        run = ["printf", "<%s>", "{{ extra }}", "last"]
        [tasks.shell]
        shell = 'printf "<%s>" "$@"'
        [tasks.shell-place]
        shell = 'printf "<%s>" {{ extra }}'
    """)
    extra = ["a b", "$HOME", "", "*", "--", "-x", "it's\\n"]
    words = "".join(f"<{word}>" for word in extra)
    project.taskrun("run", "argv", "--", *extra).succeeds().prints_exactly(f"<first>{words}")
    project.taskrun("run", "place", "--", *extra).succeeds().prints_exactly(f"{words}<last>")
    project.taskrun("run", "shell", "--", *extra).succeeds().prints_exactly(words)
    project.taskrun("run", "shell-place", "--", *extra).succeeds().prints_exactly(words)
    project.taskrun("run", "argv", "--").succeeds().prints_exactly("<first>")


def test_values_in_a_shell_are_words_whatever_they_contain(project):
    project.write("in/$(touch pwned) `touch pwned`; touch pwned.txt", "")
    project.tasks("""
        [tasks.show]
        foreach.file = { glob = "in/*.txt" }
        shell = 'printf "<%s>" {{ file }} {{ vars.list }}'
        [vars]
        list = ["a b", "*", "$x"]
    """)
    finished = project.taskrun("run", "show").succeeds()
    assert finished.stdout == "<in/$(touch pwned) `touch pwned`; touch pwned.txt><a b><*><$x>"
    assert not (project.path / "pwned").exists()


def test_environments_by_their_rank(project):
    project.write(".env", 'FROM_DOTENV=first\nBOTH=dotenv\nCALLER=dotenv\nEXPANDED="${FROM_DOTENV}-x"\n')
    project.write("late.env", "FROM_DOTENV=second\n")
    project.tasks("""
        [vars]
        name = "value"
        [env]
        OF_FILE = "file"
        BOTH = "file"
        CALLER_TOO = "file"
        LOOKED_UP = "{{ vars.name }}/{{ env.CALLER }}"
        [tasks.show]
        dotenv = [".env", "late.env", "?absent.env"]
        env = { BOTH = "task", OF_TASK = "task" }
        shell = 'echo $FROM_DOTENV $BOTH $CALLER $CALLER_TOO $OF_FILE $OF_TASK $LOOKED_UP'
        [tasks.missing]
        dotenv = ["absent.env"]
        run = ["true"]
    """)
    env = {"CALLER": "caller", "CALLER_TOO": "caller"}
    project.taskrun("run", "show", env=env).succeeds().prints_exactly(
        "second task caller file file task value/caller\n"
    )
    project.taskrun("run", "missing").exits(2).says("absent.env")


def test_a_task_knows_where_it_stands(project):
    project.tasks("""
        [tasks.show]
        foreach.n = [1]
        slots = 2
        shell = 'echo $TASKRUN_TASK $TASKRUN_ATTEMPT $TASKRUN_SLOTS $PYTHONUNBUFFERED; [ $TASKRUN_ATTEMPT = 2 ]; test -p $TASKRUN_PROGRESS; test -n "$TASKRUN_MARK"; test "$TASKRUN_RUN" = {{ run.id }}; test "$PWD" = {{ run.root }}'
        retry = 2
    """)
    finished = project.taskrun("run", "-j", "4", "show", cwd=".").succeeds()
    finished.prints_exactly("show[n=1] 1 2 1\nshow[n=1] 2 2 1\n")


def test_command_lines_as_sources_are_read_once_and_their_failure_is_told_before_anything_starts(project):
    project.tasks("""
        [vars]
        names = { shell = "echo called >> calls; printf 'one\\ntwo words\\n'" }
        broken = { shell = "echo output; echo the reason >&2; exit 5" }
        [tasks.all]
        run = ["printf", "<%s>", "{{ vars.names }}", "{{ vars.names }}"]
        [tasks.broken]
        needs = ["all"]
        run = ["echo", "{{ vars.broken }}"]
    """)
    project.taskrun("run", "all").succeeds().prints_exactly("<one\ntwo words><one\ntwo words>")
    assert project.read("calls") == "called\n"
    finished = project.taskrun("run", "broken").exits(2).prints_exactly("")
    finished.says("exit 5: the reason", "tasks.toml:3").never_says("START", "Traceback")


# --- the example


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg here")
def test_each_transcode_of_the_example_rises_to_100_percent_and_never_falls(project):
    for name in ("tasks.example.toml", "docs/examples/media.py"):
        project.write(name, (ROOT / name).read_bytes())
    words = ["-f", "tasks.example.toml", "seconds=2", "--events", "events.jsonl"]
    with project.terminal("run", *words) as terminal:
        terminal.finish(timeout=110).succeeds().prints("Summary", "ok")
    events = [json.loads(line) for line in project.read("events.jsonl").splitlines()]
    ended = {event["task"]: event["state"] for event in events if event["event"] == "task.end"}
    assert set(ended.values()) == {"succeeded"}
    transcodes = [task for task in ended if task.startswith("transcode[")]
    assert len(transcodes) == 3
    running = 0
    for task in transcodes:
        fractions = [e["fraction"] for e in events if e["event"] == "task.progress" and e["task"] == task]
        known = [fraction for fraction in fractions if fraction is not None]
        assert len(known) >= 3
        assert known == sorted(known)
        assert known[-1] == 1.0
    for event in events:
        if str(event.get("task")).startswith("transcode["):
            running += (event["event"] == "task.start") - (event["event"] == "task.end")
            assert running <= 2  # `encoder = 2`


@pytest.mark.parametrize("words", [(), ("--ui", "none"), ("-q",)], ids=" ".join)
def test_a_glob_that_matches_nothing_is_told_and_is_no_failure(project, words):
    """In CI a mistyped glob would else look like a success."""
    project.tasks("""
        [vars]
        clips = { glob = ["in/*.mov", "in/*.mp4"] }
        lines = { lines = "none.txt" }
        [tasks.probe]
        foreach.clip = "{{ vars.clips }}"
        run = ["false"]
        [tasks.image]
        foreach.height = [480, 720]
        foreach.image = { glob = "in/*.png" }
        run = ["false"]
        [tasks.line]
        foreach.line = "{{ vars.lines }}"
        run = ["false"]
        [tasks.other]
        foreach.x = { glob = "other/*" }
        run = ["false"]
        [tasks.pack]
        needs = ["probe", "image", "line"]
        run = ["true"]
    """)
    project.write("none.txt", "")
    done = project.taskrun("run", *words, "pack").succeeds()
    done.says("warning: `probe` has no instances: no file matches `in/*.mov`, `in/*.mp4`")
    done.says("warning: `image` has no instances: no file matches `in/*.png`")
    assert done.stderr.count("has no instances") == 2  # the file of lines is there, and is empty
    alone = project.taskrun("run", *words, "probe").succeeds()
    assert alone.stderr.count("has no instances") == 1
