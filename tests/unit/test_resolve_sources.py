"""`[vars]` and the values of `foreach`: every source, once and only where it is needed; parameters and KEY=VALUE."""

from __future__ import annotations

import pytest
from support.resolving import marked, mistake, mistakes, resolve, resolver_for

from taskrun.model import NothingMatched, ProjectError, UsageError
from taskrun.resolve import ShellFailed

SHOW = "[tasks.t]\nrun = ['x', '{{ vars.v }}']"


def value(source: str, **how):
    """What an entry of [vars] becomes as arguments of a program."""
    return resolve(f"[vars]\nv = {source}\n{SHOW}", "t", **how).argv("t")[1:]


def test_every_source_is_read(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).touch()
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbfone\r\n\r\n two \nthree\x0bfour")
    assert value('{ glob = "*.txt" }', root=tmp_path) == ["a.txt", "b.txt"]
    assert value('{ glob = ["*.md", "*.txt", "a.*"] }', root=tmp_path) == ["a.txt", "b.txt", "c.md"]
    assert value('{ lines = "list" }', root=tmp_path) == ["one", " two ", "three\x0bfour"]
    assert value("{ range = [2, 4] }") == ["2", "3", "4"]
    assert value("{ range = [2, 2] }") == ["2"]
    assert value('{ env = "HOME" }') == ["/home/nobody"]
    assert value('{ env = "NO", default = "d {{ env.HOME }}" }') == ["d /home/nobody"]
    assert value('{ shell = "cmd" }', shell=lambda c, e: "out\n\n") == ["out\n"]
    assert value('{ shell = "cmd" }', shell=lambda c, e: "") == [""]
    assert value('"a {{ run.id }}"') == ["a r-1"]
    assert value('["a", "{{ env.HOME }}"]') == ["a", "/home/nobody"]


def test_sources_may_look_each_other_up(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.x").touch()
    found = resolve(
        """
        [vars]
        files = { glob = "{{ vars.folder }}/*.{{ vars.suffix }}" }
        folder = { env = "FOLDER", default = "in" }
        suffix = "x"
        all = ["{{ vars.files }}", "{{ vars.suffix }}"]
        [tasks.t]
        foreach.f = "{{ vars.all }}"
        run = ["{{ f }}"]
        """,
        "t",
        root=tmp_path,
    )
    assert found.names == ["t[f=in/a.x]", "t[f=x]"]


def test_in_foreach_the_lines_of_a_text_are_the_values():
    text = "[tasks.t]\nforeach.l = { shell = 'x' }\nrun = ['{{ l }}']"
    assert resolve(text, "t", shell=lambda c, e: "a\n\nb c\r\n").names == ["t[l=a]", "t[l=b c]"]
    text = "[vars]\nv = { shell = 'x' }\n[tasks.t]\nforeach.l = '{{ vars.v }}'\nrun = ['{{ l }}']"
    assert resolve(text, "t", shell=lambda c, e: "a\nb\n").names == ["t[l=a]", "t[l=b]"]
    text = "[tasks.t]\nforeach.l = { env = 'L' }\nrun = ['{{ l }}']"
    assert resolve(text, "t", environ={"L": "a\nb"}).names == ["t[l=a]", "t[l=b]"]


def test_a_source_is_read_once_and_only_where_the_plan_needs_it():
    reads = []

    def shell(command, environ):
        reads.append(command)
        return command

    text = """
        [vars]
        used = { shell = "used" }
        unused = { shell = "unused" }
        again = { shell = "used" }
        [tasks.a]
        run = ["{{ vars.used }}", "{{ vars.again }}"]
        [tasks.b]
        foreach.x = { shell = "used" }
        needs = ["a"]
        run = ["{{ vars.used }}"]
        [tasks.c]
        run = ["{{ vars.unused }}"]
        """
    found = resolve(text, "b", shell=shell)
    found.attempt("a")
    found.attempt("b[x=used]")
    assert reads == ["used"]


def test_a_dry_run_reads_no_shell_source_and_shows_what_it_would_be():
    found = resolve(f"[vars]\nd = 'a b'\nv = {{ shell = 'git log {{{{ vars.d }}}}' }}\n{SHOW}", "t", dry=True)
    assert found.argv("t") == ["x", "$(git log 'a b')"]


def test_a_shell_source_that_fails_is_a_mistake_at_its_place():
    def shell(command, environ):
        raise ShellFailed("exit 128: not a git repository")

    found = mistake(f"[vars]\nv = {{ shell = 'git log' }}\n{SHOW}", "t", shell=shell)
    assert found.message == "this command failed: exit 128: not a git repository"
    assert found.span.line == 2


def test_shell_sources_see_the_callers_environment():
    seen = {}

    def shell(command, environ):
        seen.update(environ)
        return ""

    value('{ shell = "x" }', shell=shell, environ={"A": "b"})
    assert seen == {"A": "b"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('{ lines = "missing" }', "`missing` cannot be read: No such file or directory"),
        ('{ lines = "." }', "`.` cannot be read: Is a directory"),
        ('{ lines = "latin" }', "`latin` is not UTF-8: byte 4, line 2"),
        ('{ lines = "nul" }', "the value `a\\0b` contains a NUL character"),
        ('{ env = "NOT_SET" }', "the environment has no variable `NOT_SET`"),
        ('{ glob = "*.raw" }', "the value `\\udcff.raw` is not valid UTF-8"),
        ('"{{ vars.v }}"', "these variables need each other: v -> v"),
    ],
)
def test_a_source_that_cannot_be_read_is_a_mistake_at_its_place(tmp_path, entry, message):
    import os

    (tmp_path / "latin").write_bytes(b"ok\n\xe9\xff\n".replace(b"\xe9", b"e"))
    (tmp_path / "nul").write_bytes(b"a\0b\n")
    with open(os.fsencode(tmp_path) + b"/\xff.raw", "w"):
        pass
    found = mistake(f"[vars]\nv = {entry}\n{SHOW}", "t", root=tmp_path)
    assert found.message == message
    assert found.span.line == 2


def test_variables_that_need_each_other_are_shown_as_a_circle():
    text = "[vars]\na = '{{ vars.b }}'\nb = ['{{ vars.c }}']\nc = { glob = '{{ vars.a }}' }\n[tasks.t]\nrun = ['{{ vars.b }}']"
    found = mistakes(text, "t")
    assert [each.message for each in found] == ["these variables need each other: b -> c -> a -> b"]


def test_a_mistake_in_a_variable_is_said_once_and_not_by_those_who_use_it():
    text = "[vars]\na = '{{ vars.no }}'\nb = '{{ vars.a }}'\n[tasks.t]\nforeach.x = '{{ vars.b }}'\nneeds = ['u']\nrun = ['{{ vars.b }}', '{{ x }}']\n[tasks.u]\nforeach.x = '{{ vars.b }}'\nrun = ['{{ vars.a }}']"
    assert [each.message for each in mistakes(text, "t")] == ["there is no `no` in [vars]"]


# --- parameters and KEY=VALUE

PARAMETERS = """
    [vars]
    target = { type = "str", choices = ["staging", "production"], default = "staging", help = "where to" }
    n = { type = "int", default = 1 }
    f = { type = "float", default = 0.5 }
    yes = { type = "bool", default = false }
    file = { type = "path", default = "./in/x.tar.gz" }
    must = { type = "int", help = "how many" }
    [tasks.t]
    run = ["{{ vars.target }}", "{{ vars.n }}", "{{ vars.f }}", "{{ vars.yes }}", "{{ vars.file }}", "{{ vars.file.stem }}"]
    [tasks.p]
    python = "m:f"
    args = ["{{ vars.target }}", "{{ vars.n }}", "{{ vars.f }}", "{{ vars.yes }}", "{{ vars.file }}"]
    [tasks.m]
    run = ["{{ vars.must }}"]
    """


def test_parameters_have_their_type():
    assert resolve(PARAMETERS, "t").argv("t") == ["staging", "1", "0.5", "false", "in/x.tar.gz", "x.tar"]
    keys = {"target": "production", "n": "-4", "f": "1e3", "yes": "true", "file": "../y"}
    found = resolve(PARAMETERS, "t", "p", keys=keys, cwd="/nowhere/a/b")
    assert found.argv("t") == ["production", "-4", "1000.0", "true", "a/y", "y"]
    assert found.call("p").args == ("production", -4, 1000.0, True, "a/y")
    assert found.call("p").lax == ()


def test_all_mistakes_in_parameters_are_said_at_once():
    keys = {"target": "prodution", "n": "4.5", "f": "x", "yes": "perhaps"}
    with pytest.raises(UsageError) as caught:
        resolve(PARAMETERS, "m", keys=keys)
    assert str(caught.value).splitlines() == [
        "`target=prodution`: must be one of `staging`, `production`; did you mean `production`?",
        "`n=4.5`: must be a whole number",
        "`f=x`: must be a number",
        "`yes=perhaps`: must be true or false",
        "`must` needs a value: give must=VALUE (how many)",
    ]


def test_a_required_parameter_is_asked_for_only_where_it_is_needed():
    resolve(PARAMETERS, "t")
    assert resolve(PARAMETERS, "m", keys={"must": "7"}).argv("m") == ["7"]


def test_mistakes_of_file_and_command_line_come_together():
    with pytest.raises(ProjectError) as caught:
        resolve("[vars]\nmust = { type = 'int' }\n[tasks.t]\nrun = ['{{ vars.must }}', '{{ vars.no }}']", "t")
    assert [each.file for each in caught.value.diagnostics] == ["tasks.toml", None]


def test_a_value_of_the_command_line_is_never_read_as_a_look_up():
    assert value('"x"', keys={"v": "{{ env.HOME }} {{{{"}) == ["{{ env.HOME }} {{{{"]
    assert value('{ env = "HOME" }', environ={"HOME": "{{ run.id }}"}) == ["{{ run.id }}"]


def test_key_value_sets_any_entry_of_vars(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.x").touch()
    assert value("8", keys={"v": "9"}) == ["9"]
    assert value("true", keys={"v": "false"}) == ["false"]
    assert value('["a"]', keys={"v": '["b c", 1]'}) == ["b c", "1"]
    assert value('["a"]', keys={"v": "b c\nd"}) == ["b c", "d"]
    assert value("{ range = [1, 9] }", keys={"v": "3\n5"}) == ["3", "5"]
    assert value('{ shell = "never" }', keys={"v": "given"}) == ["given"]
    assert value('{ glob = "*" }', keys={"v": "*.x"}, root=tmp_path, cwd=str(tmp_path / "sub")) == ["sub/a.x"]
    with pytest.raises(NothingMatched, match="matches no file"):
        value('{ glob = "*" }', keys={"v": "*.y"}, root=tmp_path)
    with pytest.raises(UsageError, match="must be a whole number"):
        value("8", keys={"v": "x"})


def test_texts_from_outside_are_converted_leniently_for_python(tmp_path):
    (tmp_path / "l").write_text("5\n")
    found = resolve(
        """
        [vars]
        e = { env = "E" }
        s = { shell = "x" }
        given = "text"
        own = "text"
        [tasks.t]
        foreach.l = { lines = "l" }
        python = "m:f"
        args = { e = "{{ vars.e }}", s = ["{{ vars.s }}"], given = "{{ vars.given }}", own = "{{ vars.own }}", l = "{{ l }}", v = "{{ env.E }}", t = "n{{ vars.e }}" }
        """,
        "t",
        root=tmp_path,
        environ={"E": "1"},
        shell=lambda c, e: "2",
        keys={"given": "3"},
    )
    call = found.call("t[l=5]")
    assert call.kwargs == {"e": "1", "s": ["2"], "given": "3", "own": "text", "l": "5", "v": "1", "t": "n1"}
    assert sorted(call.lax) == ["e", "given", "l", "s", "v"]
    assert all(type(each) is str for each in (*call.kwargs, call.kwargs["e"], call.kwargs["l"]))


def test_too_many_values_are_refused():
    text = "[tasks.t]\nforeach.a = { range = [1, 1000] }\nforeach.b = { range = [1, 1000] }\nrun = ['x']"
    found = mistake(text, "t")
    assert "1000000 instances" in found.message


def test_what_is_no_list_cannot_be_gone_through():
    found = mistake("[vars]\nn = 5\n[tasks.t]\nforeach.a = '{{ vars.n }}'\nrun = ['x']", "t")
    assert found.message == "`foreach` needs a list"
    assert marked(found) == "'{{ vars.n }}'"


def test_the_resolver_can_be_made_without_reading_anything():
    resolver_for("[vars]\nv = { lines = 'missing' }\n" + SHOW, "t")
