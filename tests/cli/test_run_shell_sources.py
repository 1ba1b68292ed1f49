"""`{ shell = ... }` sources that go beyond their bounds or fail: one message at their place, and nothing is started."""

from __future__ import annotations

import os
import signal

import pytest
import trio
from support import linked

from taskrun.execute import shell_source
from taskrun.model import ResourceError
from taskrun.resolve import ShellFailed

PATH = {"PATH": os.environ["PATH"]}
SOURCE = """
    [vars]
    answer = {{ shell = "{command}" }}
    [tasks.a]
    run = ["touch", "started", "{{{{ vars.answer }}}}"]
"""


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_source_that_never_stops_writing_is_stopped(project, command):
    project.tasks(SOURCE.format(command="yes"))
    finished = project.taskrun(command, "a").exits(2).never_says("Traceback", "a bug")
    assert "it wrote more than 16 MiB" in finished.stdout + finished.stderr
    assert "tasks.toml:2:" in finished.stdout + finished.stderr
    assert not (project.path / "started").exists()
    assert project.left_behind() == []


def test_a_source_that_takes_too_long_is_killed(monkeypatch):
    monkeypatch.setattr(shell_source, "_PATIENCE", 0.2)

    async def body(link):
        with pytest.raises(ShellFailed, match="it took longer than"):
            await shell_source.read_shell(link, "sleep 71.5", PATH, "/")
        assert link.processes == {}

    linked.run(body)


def test_a_source_whose_host_dies_says_so():
    async def kill_when_it_runs(link):
        while not link.processes:  # noqa: ASYNC110 - the link sends no event for this
            await trio.sleep(0.01)
        os.kill(link.pid, signal.SIGKILL)

    async def body(link):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_when_it_runs, link)
            with pytest.raises(ResourceError, match="SIGKILL"):
                await shell_source.read_shell(link, "sleep 71.5", PATH, "/")

    linked.run(body)
