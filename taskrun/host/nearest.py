"""Finds the program that was meant, when there is none of the name that was written. For messages only."""

from __future__ import annotations

import os


def nearest_program(name: str, path: str | None) -> str | None:
    """The name of a program in ``path`` that differs from ``name`` by a slip of the finger; ``None``: none does."""
    from difflib import get_close_matches

    if not name or "/" in name:
        return None
    found: set[str] = set()
    for folder in (os.defpath if path is None else path).split(":"):
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        # Few names are compared: the comparison is slow, and a slip leaves the length and a first letter.
        found.update(other for other in names if abs(len(other) - len(name)) <= 2 and other[0] in name[:2])
    matches = get_close_matches(name, sorted(found), n=1, cutoff=0.75)
    return matches[0] if matches else None
