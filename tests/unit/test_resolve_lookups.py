"""The syntax of look-ups, and what names mean where."""

from __future__ import annotations

import pytest
from support.resolving import marked, mistake, mistakes, resolve

from taskrun.resolve.lookups import LookUp, as_text, is_exact, parse
from taskrun.resolve.mistakes import Mistake
from taskrun.resolve.paths import FilePath, Folder


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [""]),
        ("plain", ["plain"]),
        ("{{ x }}", [("x",)]),
        ("{{x}}", [("x",)]),
        ("{{\tx \n}}", [("x",)]),
        ("a{{ x }}b", ["a", ("x",), "b"]),
        ("{{ a }}{{ b.c.0 }}", [("a",), ("b", "c", "0")]),
        ("{{{{", ["{{"]),
        ("{{{{ x }}", ["{{ x }}"]),
        ("{{{ x }}}", ["{", ("x",), "}"]),
        ("{{{{{{ x }}", ["{{", ("x",)]),
        ("}} {{{{ }}", ["}} {{ }}"]),
        ("${a:-{{ x }}}", ["${a:-", ("x",), "}"]),
        ("{ {{ größe }} }", ["{ ", ("größe",), " }"]),
    ],
)
def test_a_string_is_split_into_texts_and_look_ups(text, parts):
    found = [part.parts if isinstance(part, LookUp) else part for part in parse(text)]
    assert found == parts


@pytest.mark.parametrize(
    "text", ["{{ x", "{{}}", "{{ }}", "{{ a b }}", "{{ .Names }}", "{{ a..b }}", "{{ f(x) }}", "{{ a|b }}"]
)
def test_what_is_not_a_name_is_refused_with_the_way_to_write_braces(text):
    with pytest.raises(Mistake) as caught:
        parse(text)
    assert "{{{{" in caught.value.label
    assert caught.value.within is not None
    assert text.startswith(caught.value.within)


def test_only_a_look_up_by_itself_is_exact():
    assert is_exact(parse("{{ x }}"))
    assert not is_exact(parse(" {{ x }}"))
    assert not is_exact(parse("{{ x }}{{ y }}"))
    assert not is_exact(parse("x"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (3, "3"),
        (-0.5, "-0.5"),
        (2.0, "2.0"),
        ("as it is", "as it is"),
        ([1, "a"], '[1,"a"]'),
        ({"a": FilePath("in/x")}, '{"a":"../in/x"}'),
        (FilePath("in/x"), "../in/x"),
    ],
)
def test_values_become_text_as_toml_and_json_print_them(value, text):
    assert as_text(value, Folder("/p/sub", "/p")) == text


def test_every_name_of_a_run_can_be_looked_up():
    found = resolve(
        """
        [vars]
        list = ["a", "b"]
        [tasks.t]
        foreach.k = ["v w"]
        run = ["{{ vars.list.1 }}", "{{ env.HOME }}", "{{ k }}", "{{ run.id }}", "{{ run.folder }}", "{{ run.root }}",
               "{{ run.cwd }}", "{{ attempt }}", "{{ slots }}", "x{{ attempt }}"]
        """,
        "t",
        cwd="/nowhere/deep",
    )
    attempt = found.attempt("t[k=v w]", number=2, slots=3)
    assert attempt.command.argv == (
        "b", "/home/nobody", "v w", "r-1", "/nowhere/.taskrun/runs/r-1", "/nowhere", "/nowhere/deep", "2", "3", "x2",
    )  # fmt: skip
    assert (attempt.number, attempt.slots) == (2, 3)


def test_a_list_in_run_becomes_as_many_arguments_and_each_element_stays_one():
    found = resolve(
        """
        vars = { many = ["a b", "", "*", "$(x)"], none = [], n = 8, f = 1.5, yes = true }
        [tasks.t]
        run = ["p", "{{ vars.many }}", "{{ vars.none }}", "{{ vars.n }}", "{{ vars.f }}", "{{ vars.yes }}", "<{{ vars.n }}>"]
        """,
        "t",
    )
    assert found.argv("t") == ["p", "a b", "", "*", "$(x)", "8", "1.5", "true", "<8>"]


def test_exact_look_ups_keep_their_type_in_python_arguments():
    found = resolve(
        """
        vars = { many = [1, "b"], n = 8, f = 1.5, yes = true }
        [tasks.t]
        python = "m:f"
        args = { a = "{{ vars.many }}", b = ["{{ vars.n }}", { c = "{{ vars.f }}" }], d = "{{ vars.yes }}", e = "n={{ vars.n }}", g = 1 }
        """,
        "t",
    )
    assert found.call("t").kwargs == {"a": [1, "b"], "b": [8, {"c": 1.5}], "d": True, "e": "n=8", "g": 1}
    assert found.call("t").lax == ()


def test_literal_braces_reach_the_program():
    found = resolve("[tasks.t]\nrun = ['docker', '--format', '{{{{.Names}}']", "t")
    assert found.argv("t") == ["docker", "--format", "{{.Names}}"]


@pytest.mark.parametrize(
    ("look_up", "message", "label"),
    [
        ("vars.commmit", "there is no `commmit` in [vars]", "did you mean `commit`?"),
        ("env.HOMEE", "the environment has no variable `HOMEE`", "did you mean `HOME`?"),
        ("run.fodler", "there is no `run.fodler`", "did you mean `folder`?"),
        ("clpi", "there is no `clpi` to look up", "did you mean `clip`?"),
        ("commit", "there is no `commit` to look up", "did you mean `vars.commit`?"),
        ("HOME", "there is no `HOME` to look up", "did you mean `env.HOME`?"),
        ("vars", "`vars` is not a name that can be looked up", "write `{{ vars.NAME }}`"),
        ("attempt.x", "`attempt.x` is not a name that can be looked up", "write `{{ attempt }}`"),
        ("clip.stemm", "`clip` is a text and has no `.stemm`", ""),
        (
            "clip.stem",
            "`clip` is a text and has no `.stem`",
            "only paths, of a `glob` or a parameter of type `path`, have it",
        ),
        ("vars.list.2", "`vars.list` has no `.2`", "it is a list of 2"),
        ("tasks.othr.result", "there is no task `othr`", "did you mean `other`?"),
        ("tasks.other", "`tasks.other` is no value", "write `tasks.other.result`"),
        ("tasks.other.reslt", "task `other` has no `reslt`", "did you mean `result`?"),
        ("tasks.other.result", "`t` does not need `other`, which may not have ended", 'add "other" to its `needs`'),
        ("tasks.t.result", "`t` does not need `t`, which may not have ended", "it cannot ask itself"),
    ],
)
def test_a_missing_name_is_a_mistake_at_its_place_with_the_nearest_name(look_up, message, label):
    toml = f"""
        vars = {{ commit = "abc", list = [1, 2] }}
        [tasks.other]
        run = ["x"]
        [tasks.t]
        foreach.clip = ["a"]
        run = ["p", "say {{{{ {look_up} }}}} now"]
        """
    found = mistake(toml, "t")
    assert (found.message, found.label) == (message, label)
    assert marked(found) == f"{{{{ {look_up} }}}}"


def test_all_missing_names_are_said_at_once_but_only_those_of_the_plan():
    toml = """
        [env]
        E = "{{ vars.e }}"
        [tasks.dep]
        shell = "{{ vars.a }} {{ vars.b }}"
        [tasks.t]
        needs = ["dep"]
        run = ["{{ vars.c }}"]
        env = { X = "{{ vars.d }}" }
        cwd = "{{ vars.f }}"
        stdin = "{{ vars.g }}"
        dotenv = ["{{ vars.h }}"]
        when = { exists = "{{ vars.i }}" }
        [tasks.unrelated]
        python = "m:f"
        args = ["{{ vars.j }}"]
        """
    assert [each.message[len("there is no `")] for each in mistakes(toml, "t")] == list("eabcdfghi")
    everything = resolve("[tasks.x]\nrun=['x']", "x")
    assert everything.resolver.check_all() == []


def test_check_finds_what_no_plan_has_shown_and_misses_no_required_parameter():
    from support.resolving import resolver_for

    resolver = resolver_for(
        """
        [vars]
        must = { type = "int" }
        unused = "{{ vars.nothing }}"
        [tasks.a]
        foreach.x = "{{ vars.must }}"
        run = ["{{ x }}", "{{ vars.must }}", "{{ y }}"]
        hidden = true
        """
    )
    assert [each.message for each in resolver.check_all()] == [
        "there is no `nothing` in [vars]",
        "there is no `y` to look up",
    ]


def test_mistakes_of_defaults_are_placed_there():
    found = mistakes("[defaults]\ncwd = '{{ vars.no }}'\n[tasks.a]\nrun=['x']\n[tasks.b]\nrun=['x']", "a", "b")
    assert [(each.span.line, marked(each)) for each in found] == [(2, "{{ vars.no }}")]


def test_names_of_an_attempt_are_not_known_where_nothing_has_been_started():
    for text in ("{{ attempt }}", "{{ tasks.a.result }}", "{{ extra }}", "{{ slots }}"):
        found = mistake(f"[vars]\nv = '{text}'\n[tasks.a]\nrun = ['{{{{ vars.v }}}}']", "a")
        assert "nothing has been started yet" in found.message
        assert marked(found) == text


def test_a_list_within_a_text_is_refused():
    for field in (
        'run = ["x{{ vars.l }}"]',
        'run = ["x"]\nenv = { A = "{{ vars.l }}" }',
        'python = "m:f"\nargs = ["x{{ vars.l }}"]',
    ):
        found = mistake(f"vars = {{ l = [] }}\n[tasks.a]\n{field}", "a")
        assert found.code == "list-in-text"
        assert found.label == ("let it stand alone" if "x{{" in field else "look up one of its values: `.0`, `.1`, ...")
        assert marked(found) == "{{ vars.l }}"


@pytest.mark.parametrize("bad", ["a\0b", "a\udcffb"])
def test_what_no_process_can_be_given_is_a_mistake_that_names_the_look_up(bad):
    found = mistake("[tasks.a]\nrun = ['x', '{{ env.BAD }}']", "a", environ={"BAD": bad})
    assert found.code == "bad-text"
    assert marked(found) == "{{ env.BAD }}"
