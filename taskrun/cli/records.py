"""Where `taskrun runs` and `taskrun logs` find the records: also where the project's file is broken by now."""

from __future__ import annotations

import os
from typing import Any


def state_folder(file: str | None) -> str:
    """The absolute folder of the project's records. The file is only looked at, not checked.

    Raises:
        NoProjectFile: There is none here or above.
        ProjectError: The file named is not there.
    """
    from taskrun.config import find
    from taskrun.config.peek import read_table

    found = find(file, os.environ)
    table: Any = (read_table(found.path) or {}).get("run")
    named = table.get("state") if isinstance(table, dict) else None
    state = os.environ.get("TASKRUN_STATE") or (named if isinstance(named, str) else ".taskrun")
    return os.path.join(found.root, os.path.expanduser(state))
