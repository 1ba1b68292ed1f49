"""Environments go over the link as differences, and arrive whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.linked import outcome, run

from taskrun.link import SpawnError

if TYPE_CHECKING:
    from taskrun.link import Link


def test_every_program_gets_its_own_environment_whole() -> None:
    path = os.environ["PATH"]
    environments = [
        {"PATH": path, "A": "1", "B": "2"},
        {"PATH": path, "A": "1", "B": "2"},
        {"PATH": path, "A": "other", "C": ""},  # one differs, one is gone, one is new
        {"PATH": path},
        {"PATH": path, "B": "2", "A": "1"},
        {},
    ]

    async def body(link: Link) -> None:
        for env in environments:
            _usage, text = await outcome(link, ("/usr/bin/env",), env=dict(env))
            seen = dict(line.split("=", 1) for line in text.splitlines())
            del seen["TASKRUN_MARK"]
            assert seen == env

    run(body)


def test_what_is_not_found_is_looked_for_in_the_environments_own_path(tmp_path) -> None:
    """The PATH is the same as in the first environment, and so not in the request."""
    program = tmp_path / "my-program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    async def body(link: Link) -> None:
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        for _ in range(2):
            with pytest.raises(SpawnError, match=r"did you mean my-program\?"):
                await outcome(link, ("my-progran",), env=env)

    run(body)
