"""Removes what a runner that was killed could not. It removes nothing but folders of files."""

from __future__ import annotations

import os


def remove_flat(folder: str) -> None:
    """Removes a folder of files; what else a task has put there keeps it."""
    try:
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)
    except OSError:
        pass  # mostly it is gone: the runner has removed it itself
