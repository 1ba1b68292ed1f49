"""Checks across tasks: circles on any graph, long chains, many tasks, and work that stays linear where all is wrong."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun import config
from taskrun.config.references import is_instance, is_pattern
from taskrun.model import Diagnostic, ProjectError

NAMES = [f"t{number}" for number in range(8)]
GRAPHS = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=4, unique=True), min_size=1)


def mistakes(text: str) -> tuple[Diagnostic, ...]:
    try:
        config.load_text(text)
    except ProjectError as error:
        return error.diagnostics
    return ()


def write(graph: dict[str, list[str]]) -> str:
    return "".join(f"[tasks.{name}]\nshell = 'x'\nneeds = {needs}\n" for name, needs in graph.items())


def drawn(diagnostic: Diagnostic) -> list[str]:
    """The circle that a message draws."""
    words = diagnostic.message
    if words.endswith("needs itself"):
        return [words.split("`")[1]]
    return words.partition(": ")[2].split(" -> ")[:-1]


@given(GRAPHS)
def test_circles_are_found_where_there_are_some_and_each_is_one(graph: dict[str, list[str]]):
    graph = {name: [need for need in needs if need in graph] for name, needs in graph.items()}
    found = mistakes(write(graph))
    assert all(each.code == "circle" for each in found)
    for each in found:
        circle = drawn(each)
        assert len(set(circle)) == len(circle)
        for name, need in zip(circle, [*circle[1:], circle[0]], strict=True):
            assert need in graph[name]
    broken = {
        name: needs for name, needs in graph.items() if name not in {each for one in found for each in drawn(one)}
    }
    assert has_circle(graph) == bool(found)
    assert not has_circle(broken)
    seen = [frozenset(drawn(each)) for each in found]
    assert all(a.isdisjoint(b) for index, a in enumerate(seen) for b in seen[:index])


def has_circle(graph: dict[str, list[str]]) -> bool:
    left = dict(graph)
    while left:
        free = [name for name, needs in left.items() if not any(need in left for need in needs)]
        if not free:
            return True
        for name in free:
            del left[name]
    return False


@given(GRAPHS, st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=3))
def test_a_file_loads_if_there_is_an_order_in_which_finally_comes_last(
    graph: dict[str, list[str]], pairs: list[tuple[str, str]]
):
    graph = {name: [need for need in needs if need in graph] for name, needs in graph.items()}
    cleaners: dict[str, set[str]] = {name: set() for name in graph}
    before = {name: set(needs) for name, needs in graph.items()}
    for owner, cleaner in pairs:
        if owner in graph and cleaner in graph:
            cleaners[owner].add(cleaner)
            before[cleaner] |= {owner, *dependents(graph, owner)}
    text = "".join(
        f"[tasks.{name}]\nshell = 'x'\nneeds = {needs}\nfinally = {sorted(cleaners[name])}\n"
        for name, needs in graph.items()
    )
    assert bool(mistakes(text)) == has_circle({name: sorted(needs) for name, needs in before.items()})


def dependents(graph: dict[str, list[str]], name: str) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        here = todo.pop()
        for other, needs in graph.items():
            if here in needs and other not in found:
                found.add(other)
                todo.append(other)
    return found


def test_a_chain_of_thousands_needs_no_recursion():
    count = 5_000
    chain = {f"t{n}": [f"t{n + 1}"] if n + 1 < count else [] for n in range(count)}
    assert mistakes(write(chain)) == ()
    chain[f"t{count - 1}"] = ["t0"]
    [found] = mistakes(write(chain))
    assert found.code == "circle"
    assert len(found.message) < 200


def test_thousands_that_need_one_and_one_that_needs_thousands():
    names = [f"t{n}" for n in range(5_000)]
    assert mistakes(write({"all": names} | {name: ["first"] for name in names} | {"first": []})) == ()


def test_thousands_of_circles_are_reported_in_bearable_time():
    graph = {f"t{n}": [f"t{n ^ 1}"] for n in range(5_000)}
    assert [each.code for each in mistakes(write(graph))] == ["circle"] * 20


def test_finally_for_all_of_thousands_is_checked_in_bearable_time():
    tasks = "".join(f"[tasks.t{n}]\nshell = 'x'\nneeds = {[f't{n - 1}'] if n else []}\n" for n in range(3_000))
    text = "defaults.finally = ['tidy']\n" + tasks + "[tasks.tidy]\nshell = 'x'\n"
    assert mistakes(text) == ()
    assert [each.code for each in mistakes(text + "needs = ['t7']\n")] == ["circle"]


def test_a_file_in_which_all_is_wrong_is_reported_in_bearable_time():
    text = write({f"task-{n}": [f"tsak-{n}"] for n in range(5_000)})
    found = mistakes(text)
    assert len(found) == 5_000
    assert config.render(found).endswith("and 4980 more\n\nfound 5000 errors in tasks.toml\n")


def test_many_patterns_are_matched_once():
    text = "".join(f"[tasks.p{n}]\nneeds = ['t-*']\n" for n in range(100))
    text += "".join(f"[tasks.t-{n}]\nshell = 'x'\n" for n in range(1_000))
    assert mistakes(text) == ()


def test_a_pattern_does_not_mean_the_task_itself():
    assert mistakes("[tasks.test-all]\nneeds = ['test-*']\n[tasks.test-a]\nshell = 'x'\n") == ()
    assert len(mistakes("[tasks.test-all]\nneeds = ['test-*']\n")) == 1


def test_hidden_tasks_may_be_needed_by_name_and_are_matched_by_no_pattern():
    text = "[tasks.a]\nneeds = ['{}']\n[tasks.hid]\nshell = 'x'\nhidden = true\n"
    assert mistakes(text.format("hid")) == ()
    assert len(mistakes(text.format("h*"))) == 1


@pytest.mark.parametrize(
    ("text", "pattern", "instance"),
    [
        ("a", False, False),
        ("a*", True, False),
        ("a?", True, False),
        ("[ab]", True, False),
        ("a[bc]", True, False),
        ("a[b=c]", False, True),
        ("a[b=*]", False, True),
        ("a[b=c,d=e]", False, True),
        ("a[b=[x]]", False, True),
        ("a*[b=c]", True, False),
        ("[b=c]", True, False),
    ],
)
def test_references_are_names_patterns_or_instances(text: str, *, pattern: bool, instance: bool):
    assert (is_pattern(text), is_instance(text)) == (pattern, instance)


@given(st.text(st.sampled_from("at-*?[]=!"), max_size=6))
def test_no_reference_breaks_the_check(text: str):
    found = mistakes(f"[tasks.at]\nneeds = ['{text}']\n[tasks.tat]\nshell = 'x'\n")
    if not found:
        assert text == "tat" or fnmatch.fnmatchcase("tat", text)


def test_names_that_differ_in_case_only_would_share_their_logs():
    assert [each.code for each in mistakes("[tasks.A]\nshell = 'x'\n[tasks.a]\nshell = 'x'\n")] == ["duplicate-name"]


def test_a_limit_may_be_taken_whole_and_not_beyond():
    text = "[limits]\ngpu = 2\n[tasks.a]\nshell = 'x'\nlimits = {{ gpu = {} }}\n"
    assert mistakes(text.format(2)) == ()
    assert [each.code for each in mistakes(text.format(3))] == ["limit-exceeded"]


def test_a_limit_of_the_defaults_is_reported_once():
    text = "[defaults]\nlimits = ['nope']\n" + "".join(f"[tasks.t{n}]\nshell = 'x'\n" for n in range(9))
    assert [each.code for each in mistakes(text)] == ["unknown-limit"]


def test_an_unknown_task_of_the_defaults_is_reported_once():
    text = "[defaults]\nfinally = ['nope']\n" + "".join(f"[tasks.t{n}]\nshell = 'x'\n" for n in range(9))
    assert [each.code for each in mistakes(text)] == ["unknown-task"]
