"""`foreach`: instances, their names, and how `needs` joins them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.resolving import marked, mistake, mistakes, resolve

from taskrun.model import ProjectError, UsageError
from taskrun.resolve.instances import instance_name, read_pins


def test_instances_are_the_cross_product_in_order():
    found = resolve(
        """
        [tasks.build]
        foreach.os = ["linux", "mac"]
        foreach.n = { range = [1, 2] }
        foreach.fast = [true]
        run = ["{{ os }}", "{{ n }}", "{{ fast }}"]
        """,
        "build",
    )
    assert found.names == [
        "build[os=linux,n=1,fast=true]",
        "build[os=linux,n=2,fast=true]",
        "build[os=mac,n=1,fast=true]",
        "build[os=mac,n=2,fast=true]",
    ]
    assert [each.position for each in found.selection.instances.values()] == [0, 1, 2, 3]
    assert found.selection.instances["build[os=mac,n=1,fast=true]"].keys == {"os": "mac", "n": 1, "fast": True}
    assert found.selection.requested == tuple(found.names)
    assert found.argv("build[os=mac,n=1,fast=true]") == ["mac", "1", "true"]


def test_instances_are_named_relative_to_the_file_and_given_paths_relative_to_their_folder(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "a.tar.gz").touch()
    (tmp_path / "-dash").touch()
    found = resolve(
        """
        [tasks.t]
        foreach.f = { glob = "in/**/*.gz" }
        cwd = "work/deep"
        run = ["{{ f }}", "out/{{ f.match }}", "{{ f.name }}", "{{ f.stem }}", "{{ f.suffix }}", "{{ f.parent }}", "{{ f.parent.name }}", "x={{ f }}"]
        env = { F = "{{ f }}" }
        stdin = "{{ f }}"
        [tasks.p]
        foreach.f = { glob = "in/**/*.gz" }
        cwd = "in"
        python = "m:f"
        args = { f = "{{ f }}" }
        [tasks.s]
        foreach.f = { glob = "-*" }
        shell = "rm {{ f }} x{{ f }}"
        """,
        "t",
        "p",
        "s",
        root=tmp_path,
        cwd=str(tmp_path / "elsewhere"),
    )
    assert found.names == ["t[f=in/sub/a.tar.gz]", "p[f=in/sub/a.tar.gz]", "s[f=-dash]"]
    attempt = found.attempt("t[f=in/sub/a.tar.gz]")
    up = "../../in/sub"
    program = str(tmp_path / "in/sub/a.tar.gz")
    assert attempt.command.argv == (
        program, "out/sub/a.tar", "a.tar.gz", "a.tar", ".gz", up, "sub", f"x={up}/a.tar.gz"
    )  # fmt: skip
    assert attempt.env["F"] == f"{up}/a.tar.gz"
    assert attempt.command.stdin == program
    assert attempt.cwd == str(tmp_path / "work/deep")
    assert found.call("p[f=in/sub/a.tar.gz]").kwargs == {"f": "sub/a.tar.gz"}
    words = found.env("s[f=-dash]")
    assert words["TASKRUN_V1"] == "./-dash", "a file's name must not be read as an option"


def test_a_folder_behind_a_symbolic_link_gets_paths_that_lead_back(tmp_path):
    root = tmp_path / "project"
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    root.mkdir()
    (root / "a.x").write_text("found")
    (root / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    found = resolve("[tasks.t]\nforeach.f = { glob = '*.x' }\ncwd = 'link'\nrun = ['cat', '{{ f }}']", "t", root=root)
    attempt = found.attempt("t[f=a.x]")
    import os

    assert attempt.cwd == str(root / "link")
    assert os.path.samefile(os.path.join(attempt.cwd, attempt.command.argv[1]), root / "a.x")


def test_needs_joins_instances_by_shared_keys():
    found = resolve(
        """
        [tasks.fetch]
        run = ["x"]
        [tasks.probe]
        needs = ["fetch"]
        foreach.clip = ["a", "b"]
        run = ["x"]
        [tasks.fonts]
        foreach.lang = ["de", "en"]
        run = ["x"]
        [tasks.encode]
        foreach.lang = ["de", "en"]
        foreach.clip = ["b", "a"]
        needs = ["probe", "fonts", "fetch"]
        run = ["x"]
        [tasks.site]
        needs = ["encode"]
        run = ["x"]
        [tasks.sub]
        foreach.clip = ["a"]
        needs = ["encode"]
        run = ["x"]
        """,
        "site",
        "sub",
    )
    assert found.needs("encode[lang=de,clip=b]") == ["probe[clip=b]", "fonts[lang=de]", "fetch"]
    assert found.needs("sub[clip=a]") == ["encode[lang=de,clip=a]", "encode[lang=en,clip=a]"]
    assert found.needs("site") == [f"encode[lang={lang},clip={clip}]" for lang in ("de", "en") for clip in "ba"]
    assert found.needs("probe[clip=a]") == ["fetch"]


def test_a_group_between_is_a_barrier():
    found = resolve(
        """
        [tasks.a]
        foreach.n = [1, 2]
        run = ["x"]
        [tasks.all]
        needs = ["a"]
        [tasks.b]
        foreach.n = [1, 2]
        needs = ["all"]
        run = ["x"]
        """,
        "b",
    )
    assert found.needs("b[n=1]") == ["all"]
    assert found.needs("all") == ["a[n=1]", "a[n=2]"]
    assert found.selection.instances["all"].is_group
    assert not found.selection.instances["b[n=1]"].is_group


def test_a_group_may_have_instances_of_its_own():
    text = "[tasks.a]\nforeach.n = [1, 2]\nrun = ['x']\n[tasks.g]\nforeach.n = [1, 2]\nneeds = ['a']"
    found = resolve(text, "g")
    assert found.needs("g[n=2]") == ["a[n=2]"]
    assert found.selection.instances["g[n=2]"].is_group


def test_a_foreach_without_values_is_a_group():
    found = resolve(
        """
        [tasks.pre]
        run = ["x"]
        [tasks.each]
        foreach.f = { glob = "none/*" }
        needs = ["pre"]
        run = ["x", "{{ f.match }}"]
        [tasks.post]
        needs = ["each"]
        run = ["x"]
        """,
        "post",
    )
    assert found.names == ["pre", "each", "post"]
    assert found.selection.instances["each"].is_group
    assert found.selection.instances["each"].keys == {}
    assert found.needs("post") == ["each"]
    assert found.needs("each") == ["pre"]


def test_look_ups_of_a_foreach_without_values_are_checked_all_the_same():
    found = mistakes("[tasks.t]\nforeach.f = []\nrun = ['{{ vars.no }}', '{{ g }}', '{{ f.match }}']", "t")
    assert [marked(each) for each in found] == ["{{ vars.no }}", "{{ g }}"]


def test_a_missing_partner_is_a_mistake_on_the_entry():
    text = """
        [tasks.probe]
        foreach.clip = ["a"]
        run = ["x"]
        [tasks.pre]
        run = ["x"]
        [tasks.t]
        foreach.clip = ["a", "b", "c"]
        needs = ["pre", "probe"]
        run = ["x"]
        """
    found = mistakes(text, "t")
    assert [each.message for each in found] == [
        "`t[clip=b]` has no partner: there is no `probe[clip=b]`",
        "`t[clip=c]` has no partner: there is no `probe[clip=c]`",
    ]
    assert [marked(each) for each in found] == ['"probe"', '"probe"']
    assert resolve(text, "t", keys={"clip": "a"}).names == ["probe[clip=a]", "pre", "t[clip=a]"]


def test_needs_may_name_instances_and_globs():
    found = resolve(
        """
        [tasks.compile]
        foreach.target = ["arm64", "arm32", "x86"]
        foreach.mode = ["debug", "fast"]
        run = ["x"]
        [tasks.test-a]
        run = ["x"]
        [tasks.test-b]
        foreach.mode = ["fast"]
        run = ["x"]
        [tasks.test-hidden]
        hidden = true
        run = ["x"]
        [tasks.test-all]
        needs = ["test-*"]
        [tasks.one]
        needs = ["compile[target=arm64,mode=fast]"]
        run = ["x"]
        [tasks.some]
        needs = ["compile[target=arm*]"]
        run = ["x"]
        [tasks.joined]
        foreach.mode = ["fast"]
        needs = ["compile[target=x86]"]
        run = ["x"]
        [tasks.pinned]
        foreach.mode = ["debug"]
        needs = ["compile[target=x86,mode=fast]"]
        run = ["x"]
        """,
        "test-all",
        "one",
        "some",
        "joined",
        "pinned",
    )
    assert found.needs("test-all") == ["test-a", "test-b[mode=fast]"]
    assert found.needs("one") == ["compile[target=arm64,mode=fast]"]
    assert found.needs("some") == [
        f"compile[target={target},mode={mode}]" for target in ("arm64", "arm32") for mode in ("debug", "fast")
    ]
    assert found.needs("joined[mode=fast]") == ["compile[target=x86,mode=fast]"]
    assert found.needs("pinned[mode=debug]") == ["compile[target=x86,mode=fast]"]
    assert "compile[target=x86,mode=debug]" not in found.names


def test_an_instance_reference_that_names_none_is_a_mistake():
    found = mistake("[tasks.a]\nforeach.k = ['x']\nrun = ['x']\n[tasks.b]\nneeds = ['a[k=y]']\nrun = ['x']", "b")
    assert found.message == "`b` has no partner: there is no `a[k=y]`"
    assert marked(found) == "'a[k=y]'"


def test_two_entries_for_one_task_give_it_once():
    found = resolve("[tasks.a-1]\nrun = ['x']\n[tasks.b]\nneeds = ['a-1', 'a-*']\nrun = ['x']", "b")
    assert found.needs("b") == ["a-1"]


def test_two_instances_of_one_name_are_a_mistake(tmp_path):
    (tmp_path / "l").write_text("a\nb\na\n")
    found = mistake("[tasks.t]\nforeach.x = { lines = 'l' }\nrun = ['x']", "t", root=tmp_path)
    assert found.message == "two instances would both be called `t[x=a]`"
    text = "[vars]\na = 1\n[tasks.t]\nforeach.x = ['{{ vars.a }}', '1']\nrun = ['x']"
    assert mistake(text, "t").code == "duplicate-instance"


def test_finally_tasks_join_by_shared_keys_too():
    found = resolve(
        """
        [tasks.make]
        foreach.n = [1, 2]
        run = ["x"]
        finally = ["tidy", "sweep"]
        [tasks.tidy]
        foreach.n = [1, 2, 3]
        run = ["x"]
        hidden = true
        [tasks.sweep]
        run = ["x"]
        needs = ["broom"]
        [tasks.broom]
        run = ["x"]
        """,
        "make[n=2]",
    )
    assert found.names == ["make[n=2]", "tidy[n=2]", "sweep", "broom"]
    assert found.selection.instances["make[n=2]"].finally_ == ("tidy[n=2]", "sweep")
    assert found.selection.requested == ("make[n=2]",)


def test_names_show_what_cannot_be_printed():
    assert instance_name("t", ["k"], ["a\nb\x1b"]) == "t[k=a\\nb\\x1b]"
    assert instance_name("t", ["k"], ["ü [x],y=z"]) == "t[k=ü [x],y=z]"


@pytest.mark.parametrize(
    ("text", "pins"),
    [
        ("a=1", {"a": "1"}),
        ("a=1,b=2", {"a": "1", "b": "2"}),
        ("b=2,a=1", {"a": "1", "b": "2"}),
        ("a=x,y,b=2", {"a": "x,y", "b": "2"}),
        ("a=x,c=3,b=2", {"a": "x,c=3", "b": "2"}),
        ("a=,b=", {"a": "", "b": ""}),
        ("c=1", None),
        ("", None),
        ("1", None),
    ],
)
def test_instance_references_are_read_by_the_tasks_keys(text, pins):
    assert read_pins(text, ["a", "b"]) == pins


_VALUES = st.lists(st.sampled_from(["1", "2", "a b", "x,y", "k=v", "[z]", "*"]), unique=True, max_size=3)
_FOREACH = st.dictionaries(st.sampled_from(["k", "l", "m"]), _VALUES, max_size=2)
_COMMON = {"k": ["1", "a b"], "l": ["x,y", "[z]"], "m": []}


@st.composite
def _files(draw, *, same_values):
    count = draw(st.integers(1, 7))
    lines = []
    for index in range(count):
        keys = (
            draw(st.lists(st.sampled_from(["k", "l", "m"]), unique=True, max_size=2)) if same_values else draw(_FOREACH)
        )
        foreach = {key: _COMMON[key] for key in keys} if same_values else keys
        needs = (
            draw(st.lists(st.sampled_from([f"t{other}" for other in range(index)]), max_size=3, unique=True))
            if index
            else []
        )
        lines.append(f"[tasks.t{index}]\nneeds = {needs}")
        lines += [f"foreach.{key} = {values}" for key, values in foreach.items()]
        if draw(st.booleans()):
            lines.append("run = ['x']")
        elif not needs:
            lines.append("shell = 'x'")
        if index and draw(st.booleans()):
            lines.append(f"finally = ['t{draw(st.integers(0, index - 1))}']")
    return "\n".join(lines), draw(
        st.lists(st.sampled_from([f"t{index}" for index in range(count)]), min_size=1, max_size=2)
    )


def _selected(text: str, targets: list[str]):
    """The selection, or what is wrong with the file."""
    try:
        return resolve(text, *targets).selection, []
    except ProjectError as error:
        return None, error.diagnostics
    except UsageError as error:
        return None, [str(error)]


@given(_files(same_values=True))
@settings(max_examples=150)
def test_every_instance_of_any_selection_needs_only_what_is_in_it(drawn):
    selection, problems = _selected(*drawn)
    if selection is None:  # what no file may say, such as a task that is tidied up by what it needs
        assert problems
        return
    instances = selection.instances
    assert list(instances) == [each.name for each in instances.values()]
    assert [each.position for each in instances.values()] == list(range(len(instances)))
    assert selection.requested
    assert set(selection.requested) <= set(instances)
    for each in instances.values():
        assert len(set(each.needs)) == len(each.needs)
        assert set(each.needs) | set(each.finally_) <= set(instances)
        assert each.name not in each.needs
        for need in each.needs:
            other = instances[need]
            shared = set(each.keys) & set(other.keys)
            assert all(each.keys[key] == other.keys[key] for key in shared)
    reached = set(selection.requested)
    stack = list(reached)
    while stack:
        each = instances[stack.pop()]
        new = (set(each.needs) | set(each.finally_)) - reached
        reached |= new
        stack += new
    assert reached == set(instances), "nothing that nobody asked for is in it"


@given(_files(same_values=False))
@settings(max_examples=100)
def test_any_file_resolves_or_says_what_is_wrong(drawn):
    selection, problems = _selected(*drawn)
    assert bool(selection) != bool(problems)
