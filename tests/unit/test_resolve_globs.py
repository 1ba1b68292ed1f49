"""Globs: which files, in which order, and what the wildcards stood for."""

from __future__ import annotations

import glob as reference
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskrun.resolve.globs import expand, has_wildcard

FILES = [
    "in/a.mov",
    "in/b.mov",
    "in/.hidden.mov",
    "in/sub/c.mov",
    "in/sub/deep/d.mov",
    "in/.git/e.mov",
    "in/[x].mov",
    "in/x.txt",
    "top.mov",
]


@pytest.fixture
def root(tmp_path):
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "in" / "folder.mov").mkdir()
    return str(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("in/*.mov", {"in/a.mov": "a", "in/b.mov": "b", "in/[x].mov": "[x]"}),
        ("in/**/*.mov", {"in/a.mov": "a", "in/b.mov": "b", "in/[x].mov": "[x]", "in/sub/c.mov": "sub/c", "in/sub/deep/d.mov": "sub/deep/d"}),
        ("./in/?.mov", {"in/a.mov": "a", "in/b.mov": "b"}),
        ("in/[ab].mov", {"in/a.mov": "a", "in/b.mov": "b"}),
        ("in/[!a].mov", {"in/b.mov": "b"}),
        ("in/[[]x].mov", {"in/[x].mov": "["}),
        ("in/.*.mov", {"in/.hidden.mov": "hidden"}),
        ("in/.git/*", {"in/.git/e.mov": "e.mov"}),
        ("*.mov", {"top.mov": "top"}),
        ("**/*.mov", {"top.mov": "top", "in/a.mov": "in/a", "in/b.mov": "in/b", "in/[x].mov": "in/[x]", "in/sub/c.mov": "in/sub/c", "in/sub/deep/d.mov": "in/sub/deep/d"}),
        ("in/sub/**", {"in/sub/c.mov": "c.mov", "in/sub/deep/d.mov": "deep/d.mov"}),
        ("in/**/**/d.mov", {"in/sub/deep/d.mov": "sub/deep/"}),
        ("*/sub/*.mov", {"in/sub/c.mov": "in/sub/c"}),
        ("in/*/", {"in/sub": "sub", "in/folder.mov": "folder.mov"}),
        ("in/*/deep/", {"in/sub/deep": "sub"}),
        ("in/a.mov", {"in/a.mov": None}),
        ("in/sub/../a.mov", {"in/a.mov": None}),
        ("in/sub/../*.txt", {"in/x.txt": "x"}),
        ("in/sub", {}),
        ("nothing/*", {}),
        ("in/a.mov/*", {}),
        ("*.nothing", {}),
    ],
)  # fmt: skip
def test_a_glob_finds_files_sorted_with_what_its_wildcards_stood_for(root, pattern, found):
    paths = expand(pattern, root)
    assert {path.text: path.match for path in paths} == found
    assert [path.text for path in paths] == sorted(found)


def test_absolute_patterns_give_absolute_paths(root):
    assert [path.text for path in expand(f"{root}/in/?.mov", "/")] == [f"{root}/in/a.mov", f"{root}/in/b.mov"]
    assert [path.match for path in expand(f"{root}/in/?.mov", "/")] == ["a", "b"]


def test_patterns_may_leave_the_folder(root):
    paths = expand("../*/top.mov", f"{root}/in")
    assert [(path.text, path.match) for path in expand("../top.*", f"{root}/in")] == [("../top.mov", "mov")]
    assert paths == []


def test_circles_of_symbolic_links_end(root):
    os.symlink("..", f"{root}/in/sub/loop")
    os.symlink("a.mov", f"{root}/in/link.mov")
    os.symlink("nowhere", f"{root}/in/broken.mov")
    found = [path.text for path in expand("in/**/*.mov", root)]
    assert found == [
        "in/[x].mov",
        "in/a.mov",
        "in/b.mov",
        "in/broken.mov",
        "in/link.mov",
        "in/sub/c.mov",
        "in/sub/deep/d.mov",
    ]


def test_names_that_are_not_utf_8_are_found(root):
    with open(os.fsencode(root) + b"/in/\xff.raw", "w"):
        pass
    assert [path.text for path in expand("in/*.raw", root)] == ["in/\udcff.raw"]


_PARTS = st.sampled_from(["*", "**", "a*", "?", "[ab]*", "a", "b", "*.t", ".*"])


@given(pattern=st.lists(_PARTS, min_size=1, max_size=4).map("/".join))
@settings(max_examples=150)
def test_the_standard_library_finds_the_same(tree, pattern):
    mine = [path.text for path in expand(pattern, tree)]
    theirs = {path for path in reference.glob(pattern, root_dir=tree, recursive=True) if not path.endswith("/")}
    assert mine == sorted(path for path in theirs if not os.path.isdir(os.path.join(tree, path)))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for name in ("a", "b/a", "b/b.t", "ab/a/a.t", "ab/b/.h", ".h/a", "a.t", "c/c/c/c.t", "c/c/a"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(root)


def test_what_is_a_pattern():
    assert has_wildcard("a*")
    assert has_wildcard("a?")
    assert has_wildcard("[a]")
    assert not has_wildcard("a.b-c_d{e}")
