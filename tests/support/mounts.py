"""Shell scripts that may mount something: small disks, read-only ones. What they mount goes with them."""

from __future__ import annotations

import functools
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.commands import Finished
    from support.project import ProjectDir


@functools.cache
def mounting() -> tuple[str, ...]:
    """The command by which one may mount: what it mounts goes with it. Empty: this user may not."""
    for command in (("unshare", "--mount"), ("unshare", "--mount", "--map-root-user")):
        try:
            probe = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=20)
        except FileNotFoundError:
            break
        if probe.returncode == 0:
            return command
    return ()


def in_mounts(project: ProjectDir, script: str, env: Mapping[str, str] | None = None) -> Finished:
    """Runs a shell script that may mount, and in which `taskrun` is the one under test; else skips the test."""
    if not mounting():
        pytest.skip("this user may not mount anything, not in a user namespace either")
    return project.launch(*mounting(), "bash", "-euo", "pipefail", "-c", script, env=env).finish()
