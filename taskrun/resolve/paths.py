"""Path values: named relative to the file's folder, handed to a task relative to its `cwd`."""

from __future__ import annotations

import os.path

import msgspec


class FilePath(msgspec.Struct, frozen=True, gc=False):
    """A path as look-ups see it.

    Attributes:
        text: Normalised; relative to the file's folder, or absolute where the user wrote it so.
        match: What the wildcards of its glob stood for; ``None`` where no wildcard found it.
    """

    text: str
    match: str | None = None

    @property
    def name(self) -> str:
        """The last part."""
        return os.path.basename(self.text)

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return os.path.splitext(self.name)[0]

    @property
    def suffix(self) -> str:
        """The suffix with its dot, or nothing."""
        return os.path.splitext(self.name)[1]

    @property
    def parent(self) -> FilePath:
        """The folder it is in, again a path."""
        return FilePath(os.path.dirname(self.text) or ".")


ATTRIBUTES = ("stem", "name", "suffix", "parent", "match")


class Folder:
    """An absolute folder that paths are written relative to: a task's `cwd`."""

    __slots__ = ("_is_root", "_real", "_real_root", "path")

    def __init__(self, path: str, root: str) -> None:
        self.path = path
        self._is_root = path == root
        # `..` leads to the real parent of a folder, also where a symbolic link led into it.
        self._real = path if self._is_root else os.path.realpath(path)
        self._real_root = root if self._is_root else os.path.realpath(root)

    def relative(self, path: FilePath) -> str:
        """Return the path as a process in this folder has to write it."""
        if self._is_root or path.text.startswith("/"):
            return path.text
        return os.path.relpath(f"{self._real_root}/{path.text}", self._real)


class Anywhere(Folder):
    """Stands for every folder: paths are absolute."""

    __slots__ = ()

    def __init__(self, root: str) -> None:
        super().__init__(root, root)

    def relative(self, path: FilePath) -> str:
        """Return the path as a process in any folder can write it."""
        return os.path.normpath(os.path.join(self.path, path.text))


def normalised(text: str, start: str, root: str) -> str:
    """Return a path that was written relative to ``start`` as one relative to ``root``; absolute ones stay so."""
    if os.path.isabs(text):
        return os.path.normpath(text)
    if start == root:
        return os.path.normpath(text)
    return os.path.relpath(os.path.join(start, text), root)
