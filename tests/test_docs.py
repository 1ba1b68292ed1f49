"""The documentation does not lie: its files load, its commands run, their output is what the page says."""

from __future__ import annotations

import ast
import os
import re
import shutil
from pathlib import Path

import click
import pytest
from support.markdown import Block, blocks, matches
from support.project import ProjectDir

from taskrun.cli import COMMANDS, cli
from taskrun.cli.exits import EXIT_BUG, EXIT_FAILED, EXIT_NOTHING_MATCHED, EXIT_RESOURCES, EXIT_USAGE

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/tutorial.md"),
        *ROOT.glob("docs/howto/*.md"),
        *ROOT.glob("docs/examples/**/*.md"),
        *ROOT.glob("docs/reference/*.md"),
    ]
)
TOML = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{block.line}")
    for page in PAGES
    for block in blocks(page.read_text(encoding="utf-8"))
    if block.language == "toml" and "fragment" not in block.marks
]
TOLD = [page for page in PAGES if any("run" in block.marks for block in blocks(page.read_text(encoding="utf-8")))]


@pytest.mark.parametrize("block", TOML)
def test_every_toml_block_is_a_complete_file_that_loads(block: Block, tmp_path: Path):
    from taskrun import config
    from taskrun.model import ProjectError

    path = tmp_path / "tasks.toml"
    path.write_text(block.text, encoding="utf-8")
    found = config.find(str(path), {}, str(tmp_path))
    if block.marks.get("broken") == "":
        with pytest.raises(ProjectError):
            config.load(found)
    else:
        config.load(found)


@pytest.mark.slow
@pytest.mark.parametrize("page", TOLD, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_in_order_and_write_what_it_says(page: Path, tmp_path: Path):
    with ProjectDir(tmp_path) as project:
        output = ""
        for block in blocks(page.read_text(encoding="utf-8")):
            if "file" in block.marks:
                project.write(block.marks["file"], block.text)
            elif "run" in block.marks:
                wanted = block.marks["run"]
                if "ffmpeg" in wanted and not shutil.which("ffmpeg"):
                    pytest.skip("no ffmpeg here")
                status = re.search(r"status (\d+)", wanted)
                finished = project.sh(f"set -e\n{block.text}", timeout=120).exits(int(status[1]) if status else 0)
                output = finished.stdout + finished.stderr
            elif "output" in block.marks:
                assert matches(block.text, output), f"line {block.line}: expected\n{block.text}\nbut it wrote\n{output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)", text):
        goal = page.parent / target if target else page
        assert goal.exists(), f"{target} does not exist"
        if anchor:
            assert anchor[1:] in _anchors(goal.read_text(encoding="utf-8")), f"{target}{anchor} does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_are_python(page: Path):
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            ast.parse(block.text)


def test_the_example_loads_and_all_its_look_ups_are_right():
    from taskrun import config
    from taskrun.resolve import Request, Resolver

    project = config.load(config.find(str(ROOT / "tasks.example.toml"), {}, str(ROOT)))
    request = Request(targets=(), environ={"PATH": os.environ["PATH"]}, cwd=str(ROOT))
    assert Resolver(project, request, lambda _command, _env: "").check_all() == []


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg here")
def test_the_example_makes_what_it_says(tmp_path: Path):
    with ProjectDir(tmp_path) as project:
        for name in ("tasks.example.toml", "docs/examples/media.py"):
            project.write(name, (ROOT / name).read_bytes())
        project.taskrun("check", "-f", "tasks.example.toml").succeeds()
        project.taskrun("run", "-f", "tasks.example.toml", "seconds=1", "columns=2", timeout=110).succeeds().says(
            "title", "attempt 2"
        )
        made = project.path / "example-output"
        assert sorted(path.name for path in made.iterdir()) == ["media.tar", "report.html", "web"]
        assert len(list(made.glob("web/*.mp4"))) == 3
        page = (made / "report.html").read_text()
        assert "<h1>Three test pictures</h1>" in page
        assert page.count("<img") == 6


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_every_option_of_every_command(name: str):
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    section = re.search(rf"^## taskrun {name}$(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    assert section, f"there is no section on `taskrun {name}`"
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    below = command.commands.values() if isinstance(command, click.Group) else ()
    for each in below:
        assert f"`{each.name}`" in section[1], f"`taskrun {name} {each.name}` is not in its section"
    parameters = [parameter for each in (command, *below) for parameter in each.params]
    for option in (parameter for parameter in parameters if isinstance(parameter, click.Option)):
        for word in option.opts + option.secondary_opts:
            named = re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", section[1])
            assert named or (word == "--file" and "-f FILE" in section[1]), f"{word} is not in the section on {name}"


def test_the_reference_has_every_exit_status():
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    table = page.partition("## Exit statuses")[2]
    for status in (0, EXIT_FAILED, EXIT_USAGE, EXIT_BUG, EXIT_NOTHING_MATCHED, 124, EXIT_RESOURCES):
        assert f"| {status} |" in table


@pytest.mark.parametrize(
    ("expected", "output", "fits"),
    [
        ("a\nb\n", "x\na\ny\nb\n", True),
        ("b\na\n", "a\nb\n", False),
        ("took ... s\n", "took 0.3 s\n", True),
        ("a.c\n", "abc\n", False),
    ],
)
def test_expected_output_is_matched_line_by_line(expected: str, output: str, *, fits: bool):
    assert matches(expected, output) is fits


def _anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
