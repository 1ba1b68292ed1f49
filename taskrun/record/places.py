"""Where records lie, and what their files are called. It makes folders and small files, and reads nothing back.

STATE/
  .gitignore            `*`
  history.json          how long tasks took
  checkpoints/          what tasks saved half-way
  jobs/                 the same once more, for the runs by which a queue worker carried jobs out
  runs/latest           a link to the newest run
  runs/<id>/            mode 0700
    run.json            what was asked for, by which process; at the end how it went
    events.jsonl        the events, one JSON object a line
    logs/<task>.<n>.log the output of attempt n, stdout and stderr in order of arrival
    logs.index          which bytes of a log came from which stream, and when
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
from binascii import crc32
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from taskrun.config import Project

RUNS = "runs"
JOBS = "jobs"
LOGS = "logs"
EVENTS = "events.jsonl"
INDEX = "logs.index"
SUMMARY = "run.json"
LATEST = "latest"

# Texts and not patterns: `re` compiles them on their first use, and not at every start-up.
_RUN_ID = r"\d{8}-\d{6}\.\d{3}-[0-9a-z]{4,}"
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # none that is mistaken for another
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")
_ODD = r"[^\w.,=@+-]+"


def new_run_id(now: float) -> str:
    """A new run's id, such as ``20261121-224312.417-k3f9``: UTC time, so that ids sort by age, and chance.

    Args:
        now: Seconds since the epoch.
    """
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    chance = "".join(_LETTERS[byte % 32] for byte in os.urandom(4))
    return f"{moment:%Y%m%d-%H%M%S}.{moment.microsecond // 1000:03d}-{chance}"


def is_run_id(name: str) -> bool:
    """Whether a folder of this name is a run's."""
    return re.fullmatch(_RUN_ID, name) is not None


def log_name(task: str, attempt: int) -> str:
    """The file name of an attempt's log, readable and safe for any task's name.

    Names of lower-case letters, digits, ``_``, ``.`` and ``-`` stand as they are. Any other is made harmless and gets
    a digest of the name, so that no two share a file, not even where the file system ignores case.
    """
    if _PLAIN.issuperset(task) and 0 < len(task) <= 100 and task[0] not in "-.":
        return f"{task}.{attempt}.log"
    digest = _digest(task.encode("utf-8", "surrogatepass"))
    ascii_only = task.encode("ascii", "replace").decode().replace("?", "_")
    readable = re.sub(_ODD, "_", ascii_only).strip("._-")[:80].rstrip("._-")
    return f"{readable}~{digest}.{attempt}.log"


def _digest(data: bytes) -> str:
    """Eight hexadecimal digits that tell names apart, which nobody forges; ``hashlib`` costs two milliseconds."""
    return f"{crc32(data):08x}"


def state_folder(project: Project, environ: Mapping[str, str]) -> str:
    """Where records and stamps are kept: ``$TASKRUN_STATE``, else `[run] state`; absolute."""
    return os.path.join(project.root, os.path.expanduser(environ.get("TASKRUN_STATE") or project.run.state))


def state_roots(state_dir: str, environ: Mapping[str, str]) -> Iterator[str]:
    """The folders in which this project's state may lie, the preferred one first.

    Args:
        state_dir: The project's, absolute.
        environ: For ``XDG_STATE_HOME`` and ``HOME``; without either there is no second one.
    """
    yield state_dir
    base = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # the specification has relative ones ignored
        home = environ.get("HOME", "")
        base = os.path.join(home, ".local", "state") if os.path.isabs(home) else ""
    if not base:
        return
    digest = _digest(os.fsencode(state_dir))
    project = re.sub(_ODD, "_", os.path.basename(os.path.dirname(state_dir))) or "root"
    yield os.path.join(base, "taskrun", f"{project}-{digest}")


def make_state(root: str) -> None:
    """Makes a state folder with what belongs into each.

    Raises:
        OSError: It cannot be made, or not be written.
    """
    os.makedirs(os.path.join(root, RUNS), exist_ok=True)
    try:
        fd = os.open(os.path.join(root, ".gitignore"), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return
    try:
        os.write(fd, b"*\n")
    except OSError:
        os.unlink(os.path.join(root, ".gitignore"))  # empty it would stay so
        raise
    finally:
        os.close(fd)


def write_whole(path: str, data: bytes, *, durable: bool) -> None:
    """Replaces a file, so that a reader sees the old or the new one and never a part.

    Args:
        path: The file; a temporary one is made beside it.
        data: All of it.
        durable: Return only when it would survive a loss of power.

    Raises:
        OSError: It was not written; the old one still stands.
    """
    put(write_beside(path, data, durable=durable), path, durable=durable)


def write_beside(path: str, data: bytes, *, durable: bool) -> str:
    """The part of ``write_whole`` that needs room: writes the temporary file, and returns its path, for ``put``.

    Raises:
        OSError: There is none.
    """
    temporary = f"{path}.{os.getpid():x}-{os.urandom(4).hex()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def put(temporary: str, path: str, *, durable: bool) -> None:
    """Puts a file in the place of another one.

    Raises:
        OSError: The old one still stands, and the temporary one is gone.
    """
    try:
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if durable:
        sync_folder(os.path.dirname(path))


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it, in as many calls as it takes.

    Raises:
        OSError: After some of it, perhaps.
    """
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def was_removed(path: str, fd: int) -> bool:
    """Whether an open file is no longer the one at its path; where that cannot be told, it is."""
    try:
        return os.stat(path).st_ino != os.fstat(fd).st_ino
    except FileNotFoundError:
        return True
    except OSError:
        return False


def sync_folder(path: str) -> None:
    """Makes a rename in it durable; file systems that cannot do that are left to themselves."""
    fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


def link_latest(runs: str, run_id: str) -> None:
    """Points ``latest`` at a run. Where there are no links, there is none: it is a convenience."""
    temporary = os.path.join(runs, f".{LATEST}-{run_id}")
    try:
        os.symlink(run_id, temporary)
        os.rename(temporary, os.path.join(runs, LATEST))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
