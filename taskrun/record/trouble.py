"""What could not be recorded, told once for each thing and not once for each line."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Trouble:
    """Collects what went wrong with a record.

    Args:
        warn: Called with the first clause for each kind of thing; must not raise.

    Attributes:
        clauses: All that was told, in order. Not empty: the record is not whole.
        failed: Something could not be written. What others took away again is told, and is no failure of ours.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._told: set[tuple[str, int | None]] = set()
        self.clauses: list[str] = []
        self.failed = False

    def tell(self, what: str, detail: str, error: OSError) -> None:
        """Reports that something could not be written, unless the same was told before.

        Args:
            what: The kind of thing: "logs", "events". One warning for each, and each cause.
            detail: Which one, for people.
            error: Why.
        """
        if (what, error.errno) in self._told:
            return
        self._told.add((what, error.errno))
        why = os.strerror(error.errno) if error.errno else str(error)
        # Where a file that we make has no folder any more, somebody took it away.
        self.failed = self.failed or error.errno != errno.ENOENT
        self.note(f"{detail}: {why[:1].lower()}{why[1:]}")

    def note(self, clause: str) -> None:
        """Tells what is missing from the record through no failure of ours."""
        self.clauses.append(clause)
        self._warn(clause)
