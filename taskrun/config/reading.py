"""Reads the bytes of a project file, and says plainly why that did not work: missing, a folder, not UTF-8."""

from __future__ import annotations

import codecs
import errno
import os

from taskrun.config.source import SourceFile
from taskrun.model import Diagnostic, ProjectError

_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text(path: str, shown: str, note: str = "") -> str:
    """Reads a file as UTF-8; a byte order mark is left out and line ends become single newlines.

    Args:
        path: What to open.
        shown: What messages call it.
        note: Where its name came from, where that is not plain.

    Raises:
        ProjectError: It cannot be read or is no text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:
        raise unreadable(path, shown, error, note) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProjectError((_not_utf8(data, shown, error),)) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def unreadable(path: str, shown: str, error: OSError | ValueError, note: str = "") -> ProjectError:
    """The error for a file that cannot be opened or read."""
    code = error.errno if isinstance(error, OSError) else None
    label = ""
    if code in {errno.ENOENT, errno.ENOTDIR} and os.path.islink(path):
        message = f"{shown} is a symbolic link to {os.readlink(path)}, which does not exist"
    elif code in {errno.ENOENT, errno.ENOTDIR}:
        message = f"{shown} does not exist"
    elif code == errno.EISDIR:
        message = f"{shown} is a folder"
        inside = os.path.join(shown, "tasks.toml")
        label = f"did you mean {inside}?" if os.path.exists(os.path.join(path, "tasks.toml")) else "name a file in it"
    elif code in {errno.EACCES, errno.EPERM}:
        message = f"{shown} cannot be read: permission denied"
    else:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        message = f"{shown} cannot be read: {reason}"
    notes = (*((f"help: {label}",) if label else ()), *((f"note: {note}",) if note else ()))
    return ProjectError((Diagnostic(code="file", message=message, file=shown, notes=notes),))


def _not_utf8(data: bytes, shown: str, error: UnicodeDecodeError) -> Diagnostic:
    """Where the first wrong byte is, with what can be read of its line."""
    for mark, name in _OTHER_ENCODINGS:
        if data.startswith(mark):
            message = f"{shown} is {name}, not UTF-8"
            return Diagnostic(code="encoding", message=message, file=shown, notes=("help: save it as UTF-8",))
    before = data[: error.start].decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    line_end = data.find(b"\n", error.start)
    rest = data[error.start : len(data) if line_end < 0 else line_end].decode("utf-8", "replace").rstrip("\r")
    source = SourceFile(shown, before + rest)
    message = f"not UTF-8: the byte 0x{data[error.start]:02x} is not allowed here"
    span = source.span_at(len(before), len(before) + 1)
    return source.diagnostic_at("encoding", message, span, label="save the file as UTF-8")
