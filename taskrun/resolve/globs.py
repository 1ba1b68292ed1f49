"""Finds the files that a glob matches, and what its wildcards stood for. Reads folders, nothing else."""

from __future__ import annotations

import fnmatch
import os
import re

from taskrun.resolve.paths import FilePath

_WILD = re.compile(r"[*?\[]")


def has_wildcard(pattern: str) -> bool:
    """Whether the text is a pattern and not just a name."""
    return _WILD.search(pattern) is not None


def expand(pattern: str, root: str) -> list[FilePath]:
    """Return what a pattern matches, sorted by path.

    ``*``, ``?`` and ``[...]`` match within one part of a path and no leading dot; ``**`` as a whole part matches any
    number of folders, none included, and follows no symbolic links. Folders match only a pattern that ends in ``/``.

    Args:
        pattern: Relative to ``root``, or absolute.
        root: Absolute folder.
    """
    want_folders = pattern.endswith("/")
    absolute = os.path.isabs(pattern)
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    # A leading `..` is not a folder to list: it is walked through like any other part without wildcards.
    found: set[str] = set()
    _walk("/" if absolute else "", parts, root, want_folders, found)
    matched = _match_of_wildcards("/".join(parts), absolute)
    return [FilePath(path, matched(path)) for path in sorted(found)]


def _walk(prefix: str, parts: list[str], root: str, want_folders: bool, found: set[str]) -> None:  # noqa: FBT001 - recursive and private
    if not parts:
        if prefix and os.path.isdir(os.path.join(root, prefix)) == want_folders:
            found.add(os.path.normpath(prefix))
        return
    first, *rest = parts
    if first == "**":
        _walk_any_depth(prefix, rest, root, want_folders, found)
    elif not has_wildcard(first):
        path = _join(prefix, first)
        if os.path.lexists(os.path.join(root, path)):
            _walk(path, rest, root, want_folders, found)
    else:
        fits = re.compile(fnmatch.translate(first)).match
        for entry in _entries(os.path.join(root, prefix)):
            if fits(entry.name) and _may_match(entry.name, first) and (not rest or _is_folder(entry)):
                _walk(_join(prefix, entry.name), rest, root, want_folders, found)


def _walk_any_depth(prefix: str, rest: list[str], root: str, want_folders: bool, found: set[str]) -> None:  # noqa: FBT001 - recursive and private
    while rest and rest[0] == "**":
        rest = rest[1:]
    # A `**` at the end stands for every file below.
    pending = [prefix]
    while pending:
        folder = pending.pop()
        _walk(folder, rest or ["*"], root, want_folders, found)
        pending.extend(
            _join(folder, entry.name)
            for entry in _entries(os.path.join(root, folder))
            if not entry.name.startswith(".") and _is_folder(entry, follow=False)
        )


def _join(prefix: str, name: str) -> str:
    return f"{prefix}{name}" if prefix.endswith("/") or not prefix else f"{prefix}/{name}"


def _may_match(name: str, pattern: str) -> bool:
    return not name.startswith(".") or pattern.startswith(".")


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except OSError:  # not a folder, gone, or not ours to read: it has nothing that matches
        return []


def _is_folder(entry: os.DirEntry[str], *, follow: bool = True) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False


class _match_of_wildcards:  # noqa: N801 - a function with a compiled pattern
    """Returns what the wildcards of a pattern stood for: from the first of them to the last, with what is between."""

    def __init__(self, pattern: str, absolute: bool) -> None:  # noqa: FBT001 - private
        self._pattern: re.Pattern[str] | None = None
        if has_wildcard(pattern):
            normal = os.path.normpath(pattern)
            self._pattern = re.compile(_with_group(f"/{normal}" if absolute else normal))

    def __call__(self, path: str) -> str | None:
        found = self._pattern.fullmatch(path) if self._pattern is not None else None
        return found["match"] if found is not None else None


_TOKEN = re.compile(r"\*\*/|\*\*$|\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def _with_group(pattern: str) -> str:
    tokens = _TOKEN.findall(pattern)
    wild = [index for index, token in enumerate(tokens) if token[0] in "*?" or (token[0] == "[" and len(token) > 1)]
    pieces = []
    for index, token in enumerate(tokens):
        start = "(?P<match>" if index == wild[0] else ""
        end = ")" if index == wild[-1] else ""
        pieces.append(start + _as_regex(token) + end)
    return "".join(pieces)


def _as_regex(token: str) -> str:
    match token:
        case "**/":
            return "(?:[^/]+/)*"
        case "**":
            return ".+"
        case "?":
            return "[^/]"
    if token.startswith("*"):
        return "[^/]*"
    if token.startswith("[") and len(token) > 1:
        return fnmatch.translate(token).removeprefix("(?s:").removesuffix(")\\Z").removesuffix(")\\z")
    return re.escape(token)
