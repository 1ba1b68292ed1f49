"""Throws old runs away, and never one that is under way."""

from __future__ import annotations

import os
import time

import msgspec

from taskrun.record import liveness, places, summary

_YOUNG = 60.0  # seconds for which a folder without a readable run.json may be one that is just being made
_HEAD = 256  # bytes in which a run.json says its id and its state
_DOOMED = ".removing-"


def run_ids(runs: str) -> list[str]:
    """The runs in a folder of runs, oldest first; none where it cannot be read."""
    try:
        return sorted(filter(places.is_run_id, os.listdir(runs)))
    except OSError:
        return []


def is_live(path: str, recorded: summary.RunSummary | None = None) -> bool:
    """Whether a run is under way.

    Args:
        path: Its folder.
        recorded: Its ``run.json``, where it was read already.
    """
    if liveness.is_claimed(os.path.join(path, places.EVENTS)):
        return True
    recorded = recorded or read_summary(path)
    if recorded is None:  # it is just being made, or could not be written; but whoever writes has claimed the events
        return _is_young(path) and not os.path.exists(os.path.join(path, places.EVENTS))
    return recorded.state == "running" and liveness.is_process(recorded.pid, recorded.process_start, recorded.boot)


def read_summary(path: str) -> summary.RunSummary | None:
    """The ``run.json`` of a run's folder; ``None``: there is none, or it is damaged."""
    try:
        with open(os.path.join(path, places.SUMMARY), "rb") as file:
            return summary.decode(file.read())
    except (OSError, msgspec.DecodeError):
        return None


def read_aborted(path: str) -> summary.RunSummary | None:
    """The ``run.json`` of a run that was aborted; ``None``: it was not. What has ended well is not read to its end."""
    try:
        with open(os.path.join(path, places.SUMMARY), "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if b'"state":"running"' not in head or is_live(path):
        return None
    recorded = read_summary(path)
    return None if recorded is None else msgspec.structs.replace(recorded, state="aborted")


def prune(runs: str, keep: int) -> None:
    """Throws away all runs but the newest ``keep`` (at least one) and those under way. Never raises."""
    for run_id in run_ids(runs)[: -max(1, keep)]:
        path = os.path.join(runs, run_id)
        if is_live(path):
            continue
        doomed = os.path.join(runs, _DOOMED + run_id)
        try:
            os.rename(path, doomed)  # a reader sees all of a run or nothing
        except OSError:
            continue
        _remove(doomed)


def _remove(path: str) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def _is_young(path: str) -> bool:
    try:
        return time.time() - os.stat(path).st_mtime < _YOUNG
    except OSError:
        return False
