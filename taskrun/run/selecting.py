"""From a setting to the selection of what will run, with everything checked that can be before a task starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from taskrun.model import ProjectError
from taskrun.run.folders import missing_folders
from taskrun.run.python import inspect_calls

if TYPE_CHECKING:
    from taskrun.link import Link
    from taskrun.resolve import Selection
    from taskrun.run.setting import Setting


async def select(setting: Setting, link: Link) -> Selection:
    """The tasks that were asked for, with what they need.

    Raises:
        UsageError, ProjectError, NothingMatched: See ``Resolver.select``.
    """
    if setting.selection is not None:
        return setting.selection
    from taskrun.execute.shell_source import read_shell

    root = setting.prepared.project.root

    def read(command: str, env: dict[str, str]) -> str:
        return trio.from_thread.run(read_shell, link, command, env, root)

    # Selecting is not async, and waits for command lines: it gets a thread, and the loop keeps the signals.
    setting.shell.read = read
    return await trio.to_thread.run_sync(setting.prepared.resolver.select, abandon_on_cancel=True)


async def check_selection(setting: Setting, selection: Selection, link: Link, said: int) -> tuple[str, ...]:
    """Has Python calls inspected, looks for folders, and returns warnings.

    Args:
        setting: The run's.
        selection: Of it.
        link: To the host.
        said: See ``inspect_calls``.

    Raises:
        ProjectError, UsageError, ResourceError: As ``inspect_calls``; and where a task could not start in its folder,
            whatever the others do.
    """
    warnings = await inspect_calls(link, setting, selection, said)
    warnings += setting.prepared.resolver.remarks()
    missing = tuple(missing_folders(setting.prepared.project, selection))  # after imports, which may have made one
    if missing:
        raise ProjectError(missing)
    return warnings
