"""What the command line may name, and what it gets: targets, picks, KEY=VALUE, extra arguments."""

from __future__ import annotations

import pytest
from support.resolving import mistake, resolve, resolver_for

from taskrun.model import NothingMatched, UsageError
from taskrun.resolve import NothingAsked

FILE = """
    [vars]
    level = "1"
    [tasks.probe]
    foreach.clip = ["in/a.mov", "in/b.mov", "in/[c].mov"]
    run = ["probe", "{{ clip }}"]
    [tasks.transcode]
    aliases = ["tc", "x"]
    foreach.clip = ["in/a.mov", "in/b.mov", "in/[c].mov"]
    foreach.size = [1, 2]
    needs = ["probe"]
    run = ["transcode", "{{ clip }}", "{{ size }}"]
    [tasks.site]
    needs = ["transcode"]
    shell = "tar {{ vars.level }}"
    [tasks.test-a]
    run = ["a"]
    [tasks.test-b]
    run = ["b"]
    [tasks.test-secret]
    hidden = true
    run = ["c"]
    [tasks.call]
    python = "m:f"
    args = { fixed = 1 }
    [tasks.group]
    needs = ["test-a"]
    """


def requested(*targets: str, **how) -> list[str]:
    return list(resolve(FILE, *targets, **how).selection.requested)


def test_tasks_are_named_by_name_alias_glob_and_instance():
    assert requested("test-a") == ["test-a"]
    assert requested("tc") == [
        f"transcode[clip=in/{clip}.mov,size={size}]" for clip in ("a", "b", "[c]") for size in (1, 2)
    ]
    assert requested("test-*") == ["test-a", "test-b"]
    assert requested("test-[b]") == ["test-b"]
    assert requested("test-secret") == ["test-secret"]
    assert requested("transcode[clip=in/a.mov,size=2]") == ["transcode[clip=in/a.mov,size=2]"]
    assert requested("x[clip=in/[c].mov,size=1]") == ["transcode[clip=in/[c].mov,size=1]"]
    assert requested("probe[clip=in/[c].mov]") == ["probe[clip=in/[c].mov]"]
    assert requested("transcode[size=2]") == [f"transcode[clip=in/{clip}.mov,size=2]" for clip in ("a", "b", "[c]")]
    assert requested("probe[clip=in/[ab].mov]") == ["probe[clip=in/a.mov]", "probe[clip=in/b.mov]"]
    assert requested("test-b", "test-a", "test-*") == ["test-b", "test-a"]


def test_an_instance_brings_its_partners_and_no_others():
    found = resolve(FILE, "transcode[clip=in/b.mov,size=1]")
    assert found.names == ["probe[clip=in/b.mov]", "transcode[clip=in/b.mov,size=1]"]


def test_the_selection_is_in_the_order_of_the_file():
    assert resolve(FILE, "group", "test-b", "probe[clip=in/a.mov]").names == [
        "probe[clip=in/a.mov]",
        "test-a",
        "test-b",
        "group",
    ]


def test_every_unknown_name_is_said_at_once_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        requested("tset-a", "test-b", "trancode", "zzz", "nothing-*")
    assert str(caught.value).splitlines() == [
        "there is no task `tset-a`; did you mean `test-a`?",
        "there is no task `trancode`; did you mean `transcode`?",
        "there is no task `zzz`",
    ]


@pytest.mark.parametrize("target", ["nothing-*", "*secret*", "probe[clip=*.png]"])
def test_a_glob_that_matches_nothing_says_so(target):
    with pytest.raises(NothingMatched, match="matches"):
        requested(target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("probe[clip=in/aa.mov]", "there is no instance `probe[clip=in/aa.mov]`; did you mean `probe[clip=in/a.mov]`?"),
        ("probe[clop=in/a.mov]", "`probe[clop=in/a.mov]` names no instance of `probe`: its keys are `clip=...`"),
        ("test-a[clip=x]", "`test-a` has no `foreach`, and so no instance `test-a[clip=x]`"),
    ],
)
def test_an_instance_that_does_not_exist_is_an_error(target, message):
    with pytest.raises(UsageError) as caught:
        requested(target)
    assert str(caught.value) == message


def test_without_targets_the_default_runs_and_without_a_default_the_caller_is_told():
    text = '[run]\ndefault = ["b", "al", "c-*"]\n' + "".join(
        f"[tasks.{name}]\nrun = ['x']\n" for name in ("a", "b", "c-1")
    )
    text += "aliases = ['al']\n"
    assert resolve(text).selection.requested == ("b", "c-1")
    with pytest.raises(NothingAsked):
        requested()


# --- picks


def test_a_pick_chooses_instances_and_their_partners():
    found = resolve(FILE, "transcode", keys={"clip": "in/a*", "size": "2"})
    assert found.names == ["probe[clip=in/a.mov]", "transcode[clip=in/a.mov,size=2]"]


def test_a_pick_is_a_value_first_and_a_pattern_then():
    assert requested("probe", keys={"clip": "in/[c].mov"}) == ["probe[clip=in/[c].mov]"]
    assert requested("probe", keys={"clip": "in/[ab].mov"}) == ["probe[clip=in/a.mov]", "probe[clip=in/b.mov]"]


def test_a_pick_holds_for_every_task_of_the_plan_that_has_the_key():
    found = resolve(FILE, "site", keys={"clip": "in/b.mov"})
    assert found.names == [
        "probe[clip=in/b.mov]",
        "transcode[clip=in/b.mov,size=1]",
        "transcode[clip=in/b.mov,size=2]",
        "site",
    ]
    assert found.needs("site") == ["transcode[clip=in/b.mov,size=1]", "transcode[clip=in/b.mov,size=2]"]


def test_a_pick_that_matches_nothing_says_what_there_is():
    with pytest.raises(NothingMatched) as caught:
        requested("probe", keys={"clip": "in/a.mvo"})
    assert str(caught.value) == "no instance has `clip=in/a.mvo`: did you mean `in/a.mov`?"
    with pytest.raises(NothingMatched) as caught:
        requested("transcode", keys={"size": "9"})
    assert str(caught.value) == "no instance has `size=9`: there are `1`, `2`"


def test_a_pick_that_leaves_nothing_of_an_instance_that_was_named_says_so():
    with pytest.raises(NothingMatched) as caught:
        requested("probe[clip=in/a.mov]", keys={"clip": "in/b.mov"})
    assert str(caught.value) == "no instance is both `probe[clip=in/a.mov]` and `clip=in/b.mov`"
    assert requested("transcode[size=2]", keys={"clip": "in/b.mov"}) == ["transcode[clip=in/b.mov,size=2]"]


def test_what_a_pick_leaves_without_instances_is_a_group():
    text = "[tasks.a]\nforeach.k = ['x']\nrun = ['x']\n[tasks.b]\nforeach.k = ['y']\nrun = ['x']\n[tasks.c]\nneeds = ['a', 'b']\nrun = ['x']"
    found = resolve(text, "c", keys={"k": "x"})
    assert found.names == ["a[k=x]", "b", "c"]
    assert found.selection.instances["b"].is_group


def test_an_instance_that_the_file_pins_is_not_picked_away():
    text = "[tasks.a]\nforeach.k = ['x', 'y']\nrun = ['x']\n[tasks.b]\nforeach.k = ['x', 'y']\nneeds = ['a[k=y]']\nrun = ['x']"
    assert resolve(text, "b", keys={"k": "x"}).names == ["a[k=y]", "b[k=x]"]


# --- KEY=VALUE


def test_a_key_that_nothing_knows_is_an_error():
    with pytest.raises(UsageError) as caught:
        requested("site", keys={"clop": "1", "level": "2", "zzz": "3"})
    assert str(caught.value).splitlines() == [
        "nothing in this run knows `clop`; did you mean `clip`?",
        "nothing in this run knows `zzz`: no entry of [vars], `foreach` key or open argument",
    ]
    with pytest.raises(UsageError, match="it is a `foreach` key of `probe`, `transcode`, which it does not include"):
        requested("test-a", keys={"clip": "x"})


def test_a_key_that_is_two_things_is_an_error():
    text = "[vars]\nk = '1'\n[tasks.t]\nforeach.k = ['1']\nrun = ['x']"
    with pytest.raises(UsageError, match="both an entry of"):
        resolve(text, "t", keys={"k": "1"})


def test_keys_may_be_arguments_of_python_tasks_and_are_decided_after_the_inspection():
    found = resolve(FILE, "call", keys={"width": "8", "level": "2"})
    assert found.selection.open_keys == {"width": "8"}
    found.resolver.accept_open_keys(found.selection, {"m:f": ("fixed", "width")})
    assert found.call("call").kwargs == {"fixed": 1, "width": "8"}
    assert found.call("call").lax == ("width",)
    assert found.resolver.python_calls(found.selection)[0].kwargs == {"fixed": 1, "width": "8"}


@pytest.mark.parametrize(
    ("key", "parameters", "message"),
    [
        ("widht", ("fixed", "width"), "nothing in this run knows `widht`; did you mean `width`?"),
        ("fixed", ("fixed", "width"), "`fixed` is fixed by the `args` of `call`"),
        (
            "level",
            ("fixed", "level"),
            "`level` is both an entry of [vars] and an open argument of `call`: which is meant?",
        ),
    ],
)
def test_after_the_inspection_every_key_has_one_meaning(key, parameters, message):
    found = resolve(FILE, "call", keys={key: "1"})
    with pytest.raises(UsageError) as caught:
        found.resolver.accept_open_keys(found.selection, {"m:f": parameters})
    assert str(caught.value) == message


def test_arguments_by_position_are_not_open():
    text = "[tasks.t]\npython = 'm:f'\nargs = [1]"
    found = resolve(text, "t", keys={"b": "2"})
    found.resolver.accept_open_keys(found.selection, {"m:f": ("a", "b")})
    assert (found.call("t").args, found.call("t").kwargs) == ((1,), {"b": "2"})
    found = resolve(text, "t", keys={"a": "2"})
    with pytest.raises(UsageError, match="`a` is fixed"):
        found.resolver.accept_open_keys(found.selection, {"m:f": ("a", "b")})


def test_an_open_argument_goes_to_every_task_of_the_plan_that_has_it():
    text = "[tasks.a]\npython = 'm:f'\n[tasks.b]\nneeds = ['a']\nforeach.i = [1, 2]\npython = 'm:g'\nargs = { i = '{{ i }}' }\n[tasks.c]\nneeds = ['b']\npython = 'm:h'"
    found = resolve(text, "c", keys={"w": "3"})
    found.resolver.accept_open_keys(found.selection, {"m:f": ("w",), "m:g": ("i", "w"), "m:h": ()})
    assert found.call("a").kwargs == {"w": "3"}
    assert found.call("b[i=2]").kwargs == {"i": 2, "w": "3"}
    assert found.call("c").kwargs == {}


# --- extra


def test_extra_arguments_go_to_the_one_task_named():
    found = resolve(FILE, "transcode[clip=in/a.mov,size=1]", extra=("-y", "a b"))
    assert found.argv("transcode[clip=in/a.mov,size=1]") == ["transcode", "in/a.mov", "1", "-y", "a b"]
    assert found.argv("probe[clip=in/a.mov]") == ["probe", "in/a.mov"]


def test_extra_arguments_stand_where_the_task_says():
    text = "[tasks.t]\nrun = ['x', '{{ extra }}', 'last']"
    assert resolve(text, "t", extra=("a", "b")).argv("t") == ["x", "a", "b", "last"]
    assert resolve(text, "t", extra=()).argv("t") == ["x", "last"]
    assert resolve(text, "t").argv("t") == ["x", "last"]
    assert mistake("[tasks.t]\nrun = ['x', 'y{{ extra }}']", "t").code == "list-in-text"


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["test-a", "test-b"], "go to one task, and here are 2: `test-a`, `test-b`"),
        (["test-*"], "go to one task, and here are 2: `test-a`, `test-b`"),
        (["call"], "`call` calls a Python function"),
        (["group"], "`group` is a group"),
        (["site"], "has neither"),
    ],
)
def test_extra_arguments_that_nobody_could_take_are_refused(targets, message):
    with pytest.raises(UsageError, match=message):
        requested(*targets, extra=("x",))
    assert requested(*targets, extra=())


def test_extra_arguments_for_a_command_line_that_cannot_be_read_show_its_mistake():
    assert mistake("[tasks.t]\nshell = 'x \"$@\" {{ extra'", "t", extra=("a",)).code == "look-up"


def test_extra_arguments_must_be_text():
    with pytest.raises(UsageError, match="not valid UTF-8"):
        requested("test-a", extra=("\udcff",))


def test_a_request_can_be_resolved_again():
    resolver = resolver_for(FILE, "site")
    assert resolver.select() == resolver.select()
