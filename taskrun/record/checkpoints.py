"""What tasks save half-way, kept over attempts and runs: one file each, safely on disk before ``save`` returns."""

from __future__ import annotations

import contextlib
import os

from taskrun.model import ResourceError
from taskrun.record.places import make_state, write_whole

LARGEST = 1024 * 1024
"""Bytes of a checkpoint, at most."""


class Checkpoints:
    """The checkpoints in one state folder.

    A key belongs to a task and its arguments; whoever makes it sees to that. It is made of letters and digits, such as
    a hexadecimal digest.
    """

    def __init__(self, state: str) -> None:
        self._state = state
        self._folder = os.path.join(state, "checkpoints")

    @property
    def exist(self) -> bool:
        """Whether one was ever saved here. Most projects have none, and need not make keys to look for them."""
        return os.path.isdir(self._folder)

    def save(self, key: str, data: bytes) -> None:
        """Replaces a checkpoint. When it returns, the new one would survive a loss of power.

        Raises:
            ValueError: It is larger than ``LARGEST``.
            ResourceError: It could not be written; the one before still stands.
        """
        path = self._path(key)
        if len(data) > LARGEST:
            raise ValueError(f"a checkpoint is at most {LARGEST:,} bytes; this one has {len(data):,}")
        try:
            try:
                write_whole(path, data, durable=True)
            except FileNotFoundError:
                make_state(self._state)
                os.makedirs(self._folder, mode=0o700, exist_ok=True)
                write_whole(path, data, durable=True)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ResourceError(f"the checkpoint could not be saved: {why}") from error

    def load(self, key: str) -> bytes | None:
        """The checkpoint, if there is one that can be read."""
        try:
            with open(self._path(key), "rb") as file:
                return file.read()
        except OSError:
            return None

    def delete(self, key: str) -> None:
        """Forgets it. Never raises; one that cannot be deleted would only be offered again."""
        with contextlib.suppress(OSError):
            os.unlink(self._path(key))

    def _path(self, key: str) -> str:
        if not (key.isascii() and key.isalnum()):
            raise ValueError(f"not a checkpoint's key: {key!r}")
        return os.path.join(self._folder, f"{key}.json")
