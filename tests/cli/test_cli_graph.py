"""`taskrun graph`: trees, Graphviz, Mermaid and JSON, of any shape and depth."""

from __future__ import annotations

import re

import pytest

#     report -> probe -> tidy (finally)
#        \-> transcode -> probe
DIAMOND = """
    [tasks.probe]
    foreach.clip = ["a", "b"]
    run = ["echo", "{{ clip }}"]
    finally = ["tidy"]

    [tasks.transcode]
    foreach.clip = ["a", "b"]
    needs = ["probe"]
    run = ["echo", "{{ clip }}"]

    [tasks.report]
    aliases = ["r"]
    needs = ["probe", "transcode"]
    run = ["echo", "done"]

    [tasks.tidy]
    hidden = true
    run = ["true"]
"""


def test_a_tree_draws_what_is_shared_once(project):
    project.tasks(DIAMOND).taskrun("graph").succeeds().says_exactly("").prints_exactly("""
        report
        ├── probe [clip]
        │   └── finally: tidy
        └── transcode [clip]
            └── probe [clip] (see above)
    """)


def test_a_tree_of_the_tasks_named_in_the_order_named(project):
    project.tasks(DIAMOND).taskrun("graph", "transcode", "r").succeeds().prints_exactly("""
        transcode [clip]
        └── probe [clip]
            └── finally: tidy
        report
        ├── probe [clip] (see above)
        └── transcode [clip] (see above)
    """)


def test_globs_and_instances_in_needs_become_tasks(project):
    project.tasks("""
        [tasks.test-a]
        run = ["true"]
        [tasks.test-b]
        foreach.k = ["1", "2"]
        run = ["true"]
        [tasks.test-hidden]
        hidden = true
        run = ["true"]
        [tasks.test-all]
        needs = ["test-*"]
        [tasks.one]
        needs = ["test-b[k=1]"]
    """)
    project.taskrun("graph", "test-all", "one").succeeds().prints_exactly("""
        test-all
        ├── test-a
        └── test-b [k]
        one
        └── test-b [k]
    """)


def test_json_is_an_array_in_file_order(project):
    graph = project.tasks(DIAMOND).taskrun("graph", "--format", "json").succeeds().json()
    assert [(task["name"], task["needs"], task["finally"], task["foreach"]) for task in graph] == [
        ("probe", [], ["tidy"], ["clip"]),
        ("transcode", ["probe"], [], ["clip"]),
        ("report", ["probe", "transcode"], [], []),
        ("tidy", [], [], []),
    ]


def test_json_of_one_task_has_what_it_needs_only(project):
    graph = project.tasks(DIAMOND).taskrun("graph", "probe", "--format", "json").succeeds().json()
    assert [task["name"] for task in graph] == ["probe", "tidy"]


def test_dot_has_arrows_in_the_order_of_work(project):
    project.tasks(DIAMOND).taskrun("graph", "--format", "dot").succeeds().prints_exactly("""
        digraph tasks {
          rankdir=LR;
          node [shape=box];
          "probe" [label="probe [clip]"];
          "transcode" [label="transcode [clip]"];
          "report";
          "tidy";
          "probe" -> "tidy" [style=dashed, label="finally"];
          "probe" -> "transcode";
          "probe" -> "report";
          "transcode" -> "report";
        }
    """)


def test_mermaid_never_uses_names_as_ids(project):
    """`end` is a word of Mermaid's language, and would end the graph."""
    project.tasks("""
        [tasks.end]
        run = ["true"]
        [tasks.graph]
        needs = ["end"]
        foreach.k = ["1"]
    """)
    project.taskrun("graph", "--format", "mermaid").succeeds().prints_exactly("""
        graph LR
          t0["end"]
          t1["graph [k]"]
          t0 --> t1
    """)


def test_quoting_survives_names_that_no_file_may_have():
    from taskrun.cli.graph import _dot_quoted, _mermaid_quoted

    assert _dot_quoted('a"b\\c\n') == '"a\\"b\\\\c\\n"'
    assert _mermaid_quoted('a"b]<c>#`') == "a#34;b]#60;c#62;#35;#96;"


def test_an_unknown_task_gets_the_nearest_name(project):
    project.tasks(DIAMOND).taskrun("graph", "probee").exits(2).prints_exactly("").says("did you mean `probe`?")


def test_a_glob_that_matches_nothing_is_status_4(project):
    project.tasks(DIAMOND).taskrun("graph", "x*").exits(4).prints_exactly("").says("x*")


@pytest.mark.parametrize("style", ["tree", "dot", "mermaid", "json"])
def test_a_chain_of_5000_is_drawn_whole_and_without_recursion(project, style):
    count = 5000
    project.tasks(
        "[tasks.t0]\nrun = ['true']\n"
        + "".join(f"[tasks.t{number}]\nneeds = ['t{number - 1}']\n" for number in range(1, count))
    )
    done = project.taskrun("graph", "--format", style).succeeds()
    assert set(re.findall(r"\bt\d+\b", done.stdout)) >= {f"t{number}" for number in range(count)}
    assert len(done.stdout) < 2_000_000
    assert max(len(line) for line in done.stdout.splitlines()) < 300


def test_a_deep_tree_goes_on_below_where_it_was_cut(project):
    project.tasks(
        "[tasks.t0]\nrun = ['true']\n"
        + "".join(f"[tasks.t{number}]\nneeds = ['t{number - 1}']\n" for number in range(1, 100))
    )
    lines = project.taskrun("graph").succeeds().stdout.splitlines()
    cut = next(index for index, line in enumerate(lines) if line.endswith("(see below)"))
    assert lines[cut].split()[-3] == lines[cut + 1]


def test_wide_layers_are_linear(project):
    """40 layers of 10, each needing all of the one before: 10 to the power of 40 paths, 400 tasks."""
    tables = [f"[tasks.t0-{column}]\nrun = ['true']" for column in range(10)]
    for layer in range(1, 40):
        needs = ", ".join(f"'t{layer - 1}-{column}'" for column in range(10))
        tables += [f"[tasks.t{layer}-{column}]\nneeds = [{needs}]" for column in range(10)]
    lines = project.tasks("\n".join(tables)).taskrun("graph").succeeds().stdout.splitlines()
    assert len(lines) < 5000
