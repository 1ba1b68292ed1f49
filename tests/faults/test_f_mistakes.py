"""Rows F1 to F15: mistakes in the file and on the command line: one clear message with its place, nothing is started.

The wording of every message is held by `tests/golden/config`; here it is that a run ends with it, in good order.
"""

from __future__ import annotations

import pytest
from support import runs

GOOD = "[tasks.good]\nrun = ['touch', 'started']\n"


def refused(project, toml: str | bytes, *says: str, words: tuple[str, ...] = ("run", "good"), status: int = 2):
    """The run is refused with these words in this order; nothing is started and nothing recorded."""
    project.write("tasks.toml", toml if isinstance(toml, bytes) else (toml + GOOD).encode())
    finished = project.taskrun(*words).exits(status).says(*says)
    assert finished.stdout == ""
    assert not (project.path / "started").exists()
    assert not (project.path / ".taskrun").exists()
    return finished


def test_f1_a_syntax_error_has_its_line_its_column_and_its_text(project):
    refused(
        project, "[tasks.a]\nrun = ['x'\nneeds = []\n", "error[syntax]: ", "--> tasks.toml:2:7", "2 | run = ['x'", "^"
    )


def test_f2_what_is_defined_twice_names_both_places(project):
    twice = "[tasks.a]\nrun = ['x']\n[tasks.a]\nrun = ['y']\n"
    refused(project, twice, "task `a` is defined twice", "--> tasks.toml:3:8", "the first is at tasks.toml:1:8")
    twice = "[tasks.a]\nrun = ['x']\nrun = ['y']\n"
    refused(project, twice, "twice", "--> tasks.toml:3:1", "the first is at tasks.toml:2:1")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[tasks.good]".encode("utf-16"), "tasks.toml is UTF-16, not UTF-8"),
        (b"[tasks.good]\nrun = ['\xff']\n", "--> tasks.toml:2:9"),
        (b"", "tasks.toml defines no task"),
        (b"# nothing but this\n", "tasks.toml defines no task"),
    ],
)
def test_f3_a_file_that_is_no_text_or_empty_says_so(project, content, told):
    refused(project, content, told)


def test_f3_what_windows_writes_is_read(project):
    project.write("tasks.toml", ("\ufeff" + GOOD.replace("\n", "\r\n")).encode())
    project.taskrun("run", "good").succeeds()


def test_f3_a_file_that_cannot_be_read_says_why(project):
    (project.path / "folder.toml").mkdir()
    project.write("closed.toml", GOOD).chmod(0)
    for name, told in {
        "folder.toml": "folder.toml is a folder",
        "gone.toml": "gone.toml does not exist",
        "folder.toml/x": "folder.toml/x does not exist",
    }.items():
        project.taskrun("run", "-f", name, "good").exits(2).says(told)
    closed = project.taskrun("run", "-f", "closed.toml", "good")
    if closed.status:  # root may read anything
        closed.exits(2).says("closed.toml cannot be read")
    project.taskrun("run", "good").exits(2).says(f"there is no tasks.toml in {project.path} or above")


def test_f4_an_unknown_key_names_the_nearest_one(project):
    toml = "[tasks.a]\nrun = ['x']\ntiemout = 3\n"
    refused(project, toml, "unknown key `tiemout` in task `a`", "--> tasks.toml:3:1", "did you mean `timeout`?")


def test_f5_a_wrong_type_says_what_was_expected_and_what_is_there(project):
    toml = "[tasks.a]\nrun = 'x y'\ntimeout = 'ten'\nhidden = 1\n[run]\njobs = true\n"
    finished = refused(project, toml, "found 4 errors")
    for told, place in {
        "`run` in task `a` must be an array of strings, not a string": "2:7",
        '`timeout` in task `a` must be a duration above zero, or false, not "ten"': "3:11",
        "`hidden` in task `a` must be true or false, not the number 1": "4:10",
        "`jobs` in [run] must be a whole number of 1 or more, not `true`": "6:8",
    }.items():
        finished.says(told, f"--> tasks.toml:{place}")


def test_f6_an_unknown_dependency_names_both_tasks_and_the_nearest(project):
    toml = "[tasks.probe]\nrun = ['x']\n[tasks.encode]\nneeds = ['prob']\nrun = ['x']\n"
    told = "task `encode` needs `prob`, which is not defined"
    refused(project, toml, told, "--> tasks.toml:4:10", "did you mean `probe`?")


def test_f7_a_circle_is_drawn_once(project):
    toml = "".join(f"[tasks.{a}]\nneeds = ['{b}']\n" for a, b in ("ab", "bc", "ca", "dd"))
    finished = refused(project, toml, "tasks need each other in a circle: a -> b -> c -> a", "task `d` needs itself")
    assert finished.stderr.count("in a circle") == 1


def test_f8_names_that_clash_or_are_none_name_the_rule(project):
    toml = "".join(
        f"[tasks.{name}]\nrun = ['x']\n" for name in ("Build", "build", '"a/b"', '".."', '"a\\u0000"', "x" * 300)
    )
    finished = refused(
        project, toml, "task `build` differs from task `Build` in case only", "the first is at tasks.toml:1:8"
    )
    for name in ("a/b", "..", "a\\x00"):
        finished.says(f"task `{name}` has a name that is not allowed", "expected a name of letters, digits")
    finished.says("at most 100 characters")


def test_f9_a_variable_that_is_missing_is_named_and_no_value_of_another_is_shown(project):
    toml = "[tasks.a]\nrun = ['x', '{{ env.TOKEN }}']\nenv = { OTHER = '{{ env.SECRET }}' }\n"
    project.env["SECRET"] = "hunter2-and-more"
    told = "the environment has no variable `TOKEN`"
    finished = refused(project, toml, told, "--> tasks.toml:2:14", words=("run", "a"))
    finished.never_says("hunter2")
    project.taskrun("run", "good").succeeds()  # which has no need of it


def test_f10_a_task_with_two_commands_or_none_is_named(project):
    toml = "[tasks.two]\nrun = ['x']\npython = 'm:f'\n[tasks.none]\ndescription = 'nothing'\n"
    refused(project, toml, "task `two` has", "task `none` has nothing to do")


def test_f11_python_targets_that_cannot_be_called_are_named_before_anything_starts(project):
    project.write("m.py", "value = 3\n\ndef f(a: int):\n    pass\n")
    targets = {
        "nowhere:f": "there is no module `nowhere`",
        "m:g": "has no `g`",
        "m:value": "is not a function but of type `int`",
    }
    toml = "".join(f"[tasks.t{n}]\npython = '{target}'\n" for n, target in enumerate(targets))
    toml += "[tasks.args]\npython = 'm:f'\nargs = { a = 'x', b = 1 }\n"
    finished = refused(project, toml, words=("run", "-k", "*"))
    for target, told in targets.items():
        finished.says(f"`{target}`", told)
    finished.says("argument `a` of `m:f` in task `args`: expected `int`, got `str`")
    finished.says("argument `b` of `m:f` in task `args`: unknown argument", "it takes `a`")


def test_f12_an_unknown_task_names_the_nearest_one(project):
    refused(project, "", "error: there is no task `god`; did you mean `good`?", words=("run", "god"))
    refused(project, "", "error: there is no task `nothing-like-it`", words=("run", "good", "nothing-like-it"))


def test_f13_what_selects_nothing_has_a_status_of_its_own(project):
    refused(project, "", "error: no task matches `x*`", words=("run", "x*"), status=4)
    toml = "[tasks.each]\nforeach.n = [1, 2]\nrun = ['x', '{{ n }}']\n"
    refused(project, toml, words=("run", "each", "n=3"), status=4)


def test_f14_an_option_that_does_not_exist_names_the_nearest_one(project):
    refused(project, "", "No such option '--jbos'", "--jobs", words=("run", "--jbos", "3", "good"))
    refused(project, "", "Invalid value for '--ui': 'tui' is not one of", words=("run", "--ui", "tui", "good"))
    refused(project, "", "there is no command `rnu`; did you mean `run`?", words=("rnu", "good"))


def test_f15_a_file_that_changes_under_way_changes_nothing_of_the_run(project):
    project.tasks("""
        [tasks.a]
        shell = ": > up; until [ -e go ]; do sleep 0.02; done; echo {{ vars.word }}"
        [tasks.b]
        needs = ["a"]
        run = ["echo", "{{ vars.word }}"]
        [vars]
        word = "old"
    """)
    running = project.start("run", "a", "b")
    runs.wait_for_files(project, "up")
    project.tasks("[tasks.b]\nrun = 3\n")
    project.write("go", "")
    running.finish().succeeds().prints_exactly("a | old\nb | old\n")
    project.taskrun("run", "b").exits(2).says("`run` in task `b` must be")
