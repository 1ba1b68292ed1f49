"""Look-ups of other tasks: who may ask whom, which instance answers, and what is missing."""

from __future__ import annotations

import pytest
from support.resolving import marked, mistake, mistakes, resolve

from taskrun.model import State
from taskrun.resolve import LookUpError, TaskView

CLIPS = """
    [tasks.probe]
    foreach.clip = ["a", "b", "c"]
    python = "m:probe"
    [tasks.encode]
    foreach.clip = ["a", "b", "c"]
    needs = ["probe"]
    run = ["encode", "{{ tasks.probe.result.seconds }}", "{{ tasks.probe.state }}"]
    [tasks.all]
    needs = ["encode"]
    [tasks.mux]
    foreach.clip = ["a", "b", "c"]
    foreach.lang = ["de"]
    needs = ["all"]
    run = ["mux", "{{ tasks.probe.result }}"]
    [tasks.report]
    needs = ["all"]
    python = "m:report"
    args = { every = "{{ tasks.probe.result }}", first = "{{ tasks.probe.result.0.seconds }}", states = "{{ tasks.probe.state }}" }
    """


def answers(**states: str) -> dict[str, TaskView]:
    """Results of all probes; the states of some."""
    return {
        f"probe[clip={clip}]": TaskView(
            state=states.get(clip, "succeeded"), result={"seconds": number} if clip not in states else None
        )
        for number, clip in enumerate("abc")
    }


def test_instances_with_shared_keys_get_the_result_of_that_one():
    found = resolve(CLIPS, "encode")
    assert found.argv("encode[clip=b]", **answers()) == ["encode", "1", "succeeded"]


def test_that_one_answers_through_a_barrier_too():
    found = resolve(CLIPS, "mux")
    assert found.needs("mux[clip=b,lang=de]") == ["all"]
    assert found.argv("mux[clip=b,lang=de]", **answers()) == ["mux", '{"seconds":1}']


def test_without_a_shared_key_the_result_is_the_list_of_those_that_succeeded_in_order():
    found = resolve(CLIPS, "report")
    call = found.call("report", **answers(a="failed"))
    assert call.kwargs == {
        "every": [{"seconds": 1}, {"seconds": 2}],
        "first": 1,
        "states": ["failed", "succeeded", "succeeded"],
    }
    with pytest.raises(LookUpError, match=r"`tasks.probe.result` has no `.0` \(it is a list of 0\)"):
        found.call("report", **answers(a="failed", b="skipped", c="timed-out"))


def test_picks_shorten_the_list():
    found = resolve(CLIPS, "report", keys={"clip": "b"})
    assert found.call("report", **answers()).kwargs["every"] == [{"seconds": 1}]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (TaskView(state="failed"), "`probe[clip=b]` has no result: it failed"),
        (TaskView(state="timed-out"), "`probe[clip=b]` has no result: it timed out"),
        (TaskView(state="skipped"), "`probe[clip=b]` has no result: it was skipped"),
        (TaskView(state="not-started"), "`probe[clip=b]` has no result: it was not started"),
        (
            TaskView(state="succeeded", result={"secnds": 1}),
            "`tasks.probe.result` has no `seconds` (did you mean `secnds`?)",
        ),
        (TaskView(state="succeeded", result={}), "`tasks.probe.result` has no `seconds` (it is empty)"),
        (TaskView(state="succeeded", result=[1]), "`tasks.probe.result` has no `.seconds` (it is a list of 1)"),
        (TaskView(state="succeeded", result="x"), "`tasks.probe.result` is a text and has no `.seconds`"),
        (TaskView(state="succeeded", result=None), "`tasks.probe.result` is null and has no `.seconds`"),
        (
            TaskView(state="succeeded", result={"seconds": "a\0b"}),
            "the value of `{{ tasks.probe.result.seconds }}` contains a NUL character",
        ),
    ],
)
def test_a_result_that_is_not_there_fails_the_attempt_with_the_reason(view, message):
    found = resolve(CLIPS, "encode")
    with pytest.raises(LookUpError) as caught:
        found.attempt("encode[clip=b]", **{**answers(), "probe[clip=b]": view})
    assert message in str(caught.value)
    assert "{{ tasks.probe.result.seconds }}" in str(caught.value)


def test_a_program_that_handed_on_nothing_has_no_result():
    found = resolve("[tasks.a]\nrun = ['x']\n[tasks.b]\nneeds = ['a']\nrun = ['x', '{{ tasks.a.result }}']", "b")
    with pytest.raises(LookUpError, match="no `output KEY=VALUE` came from it"):
        found.attempt("b", a=None)
    assert found.argv("b", a={"v": [1, True]}) == ["x", '{"v":[1,true]}']
    assert found.argv("b", a=["p q", 2]) == ["x", "p q", "2"]


def test_states_may_be_the_enumeration():
    found = resolve("[tasks.a]\nrun = ['x']\n[tasks.b]\nneeds = ['a']\nrun = ['x', '{{ tasks.a.state }}']", "b")
    assert found.argv("b", a=TaskView(state=State.TIMED_OUT)) == ["x", "timed-out"]


def test_results_reach_shells_as_words():
    text = "[tasks.a]\nrun = ['x']\n[tasks.b]\nneeds = ['a']\nshell = 'x {{ tasks.a.result.l }} {{ tasks.a.result.s }}'"
    found = resolve(text, "b")
    attempt = found.attempt("b", a={"l": ["$(x)", ""], "s": "; y"})
    assert attempt.command.argv[-1] == 'x "$TASKRUN_V1" "$TASKRUN_V2" "$TASKRUN_V3"'
    assert [attempt.env[f"TASKRUN_V{n}"] for n in (1, 2, 3)] == ["$(x)", "", "; y"]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("run = ['x', 'n={{ tasks.a.result }}']", "is a list and cannot be part of a text"),
        ("run = ['x']\nenv = { E = '{{ tasks.a.result }}' }", "is a list, and this can only be a text"),
    ],
)
def test_a_list_that_turns_up_where_a_text_belongs_fails_the_attempt(use, message):
    text = f"[tasks.a]\nrun = ['x']\n[tasks.b]\nneeds = ['a']\n{use}"
    with pytest.raises(LookUpError, match=message):
        resolve(text, "b").attempt("b", a=[1])


def test_a_list_of_instances_within_a_text_is_a_mistake_at_load():
    text = "[tasks.a]\nforeach.i = [1, 2]\nrun = ['x']\n[tasks.b]\nneeds = ['a']\nrun = ['x', 'n={{ tasks.a.result }}']"
    assert mistake(text, "b").code == "list-in-text"
    text = text.replace("n={{ tasks.a.result }}", "{{ tasks.a.result.key }}")
    assert mistake(text, "b").message == "`tasks.a.result` has no `.key`"


def test_results_may_be_used_in_folders_environment_and_input():
    text = "[tasks.a]\nrun = ['x']\n[tasks.b]\nneeds = ['a']\nrun = ['x', '{{ env.E }}']\ncwd = '{{ tasks.a.result.d }}'\nstdin = '{{ tasks.a.result.d }}/i'\nenv = { E = '{{ tasks.a.result.d }}' }"
    attempt = resolve(text, "b").attempt("b", a={"d": "dir"})
    assert (attempt.cwd, attempt.command.stdin, attempt.command.argv) == (
        "/nowhere/dir",
        "/nowhere/dir/i",
        ("x", "dir"),
    )


def test_who_needs_a_task_through_others_may_ask_it():
    text = "[tasks.a]\nrun = ['x']\n[tasks.b]\nneeds = ['a']\nrun = ['x']\n[tasks.c]\nneeds = ['b']\nrun = ['x', '{{ tasks.a.result.k }}']"
    assert resolve(text, "c").argv("c", a={"k": 1}) == ["x", "1"]


def test_names_of_tasks_may_hold_dots_and_the_words_of_look_ups():
    text = "[tasks.'a.result.b']\nrun = ['x']\n[tasks.c]\nneeds = ['a.result.b']\nrun = ['{{ tasks.a.result.b.result.k.state }}']"
    assert resolve(text, "c").argv("c", **{"a.result.b": {"k": {"state": "found"}}}) == ["found"]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ('["a[k=x]"]', ["one"]),
        ('["a[k=x]", "a[k=y]"]', ["one", "two"]),
        ('["a[k=*]"]', ["one", "two"]),
    ],
)
def test_an_instance_that_is_pinned_answers_alone(needs, expected):
    text = f"[tasks.a]\nforeach.k = ['x', 'y']\nrun = ['p']\n[tasks.b]\nneeds = {needs}\npython = 'm:f'\nargs = ['{{{{ tasks.a.result }}}}']"
    call = resolve(text, "b").call("b", **{"a[k=x]": "one", "a[k=y]": "two"})
    assert call.args == ((expected[0] if len(expected) == 1 else expected),)


def test_an_empty_foreach_gives_an_empty_list():
    text = "[tasks.a]\nforeach.k = []\nrun = ['p']\n[tasks.b]\nneeds = ['a']\nrun = ['x', '{{ tasks.a.result }}']"
    assert resolve(text, "b").argv("b") == ["x"]


def test_one_that_is_not_in_the_chain_cannot_answer():
    text = """
        [tasks.a]
        foreach.k = ["x", "y"]
        run = ["p"]
        [tasks.mid]
        needs = ["a[k=x]"]
        run = ["p"]
        [tasks.b]
        foreach.k = ["x", "y"]
        needs = ["mid"]
        run = ["p", "{{ tasks.a.result }}"]
        """
    found = mistake(text, "b")
    assert found.message == "`b[k=y]` needs no `a[k=y]`"
    assert marked(found) == "{{ tasks.a.result }}"


def test_a_group_has_no_result():
    found = mistakes(
        "[tasks.a]\nrun = ['x']\n[tasks.g]\nneeds = ['a']\n[tasks.b]\nneeds = ['g']\nrun = ['{{ tasks.g.result }}', '{{ tasks.g.state }}']",
        "b",
    )
    assert [each.message for each in found] == ["`g` is a group and has no result"]


FINALLY = """
    [tasks.pre]
    run = ["x"]
    [tasks.make]
    needs = ["pre"]
    run = ["x"]
    finally = ["tidy"]
    [tasks.other]
    run = ["x"]
    finally = ["tidy"]
    [tasks.tidy]
    run = ["tidy", "{{ tasks.make.state }}", "{{ tasks.other.state }}", "{{ tasks.pre.state }}"]
    """


def test_a_finally_task_may_ask_those_it_follows():
    found = resolve(FINALLY, "make", "other")
    views = {"make": TaskView(state="failed"), "other": TaskView(state="cancelled"), "pre": TaskView(state="succeeded")}
    assert found.argv("tidy", **views) == ["tidy", "failed", "cancelled", "succeeded"]


def test_those_it_follows_that_are_not_in_the_run_were_not_started():
    found = resolve(FINALLY, "make")
    views = {"make": TaskView(state="failed"), "pre": TaskView(state="succeeded")}
    assert found.argv("tidy", **views) == ["tidy", "failed", "not-started", "succeeded"]
    found = resolve(FINALLY.replace("other.state", "other.result"), "make")
    with pytest.raises(LookUpError, match="`other` is not part of this run"):
        found.argv("tidy", **views)


def test_finally_tasks_of_instances_ask_their_own():
    text = """
        [tasks.make]
        foreach.n = [1, 2]
        run = ["x"]
        finally = ["tidy", "sum"]
        [tasks.tidy]
        foreach.n = [1, 2]
        run = ["{{ tasks.make.state }}"]
        [tasks.sum]
        run = ["x", "{{ tasks.make.state }}"]
        """
    found = resolve(text, "make")
    views = {"make[n=1]": TaskView(state="failed"), "make[n=2]": TaskView(state="succeeded")}
    assert found.argv("tidy[n=2]", **views) == ["succeeded"]
    assert found.argv("sum", **views) == ["x", "failed", "succeeded"]


def test_what_is_only_a_consequence_is_not_reported():
    text = """
        [tasks.a]
        foreach.k = "{{ vars.no }}"
        run = ["p"]
        [tasks.b]
        needs = ["a[k=x]"]
        run = ["p", "{{ tasks.a.result }}"]
        [tasks.c]
        foreach.k = ["x"]
        needs = ["a"]
        run = ["p", "{{ tasks.a.result }}"]
        """
    assert [each.message for each in mistakes(text, "b", "c")] == ["there is no `no` in [vars]"]


def test_a_preview_shows_what_is_known_and_the_rest_as_it_is_written():
    text = """
        vars = { v = "known" }
        [tasks.a]
        foreach.i = [1, 2]
        run = ["x"]
        [tasks.b]
        needs = ["a"]
        run = ["x", "{{ vars.v }}", "{{ tasks.a.result }}"]
        [tasks.c]
        needs = ["b"]
        shell = "x {{ vars.v }} {{ tasks.b.result.k }}"
        [tasks.d]
        needs = ["b"]
        python = "m:f"
        args = ["{{ vars.v }}", "{{ tasks.b.result }}"]
        """
    found = resolve(text, "b", "c", "d")
    commands = {name: found.resolver.preview(found.selection.instances[name], 1).command for name in "bcd"}
    assert commands["b"].argv == ("x", "known", "{{ tasks.a.result }}")
    assert commands["c"].shell == "x known '{{ tasks.b.result.k }}'"
    assert commands["d"].args == ("known", "{{ tasks.b.result }}")
