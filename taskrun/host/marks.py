"""The mark in a task's environment, by which its processes are known: how it is put there, and how it is read."""

from __future__ import annotations

VARIABLE = "TASKRUN_MARK"
_START = f"{VARIABLE}=".encode()


def add_mark(env: dict[str, str], mark: str) -> None:
    """Puts the attempt's mark behind those of the runs that we are below of."""
    if mark:
        outer = env.get(VARIABLE)
        env[VARIABLE] = f"{outer}:{mark}" if outer else mark


def marks_of(environ: bytes) -> list[bytes]:
    """The marks in an environment block: one for each taskrun that the process is below of, the outermost first."""
    at = 0 if environ.startswith(_START) else environ.find(b"\0" + _START) + 1
    if not environ.startswith(_START, at):
        return []
    end = environ.find(b"\0", at)
    return environ[at + len(_START) : end if end >= 0 else None].split(b":")
