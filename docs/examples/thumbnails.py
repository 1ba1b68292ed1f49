"""What an image worker does: one picture, a batch with success for each item, and a look at its state.

`make_thumbnails.py` is the program. Needs Pillow.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from PIL import Image

import taskrun
from taskrun.workers import Handlers, Request

Width = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


# --- the contract: what may be asked, and what comes back ---


@dataclass(frozen=True)
class Thumbnail:
    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class ProcessImage(Request[Thumbnail]):
    path: Path
    folder: Path
    width: Width = 64


@dataclass(frozen=True)
class Item:
    """One picture of a batch; `error` is empty where it went well."""

    path: Path
    thumbnail: Thumbnail | None = None
    error: str = ""


@dataclass(frozen=True)
class Batch:
    items: list[Item]
    succeeded: int
    failed: int


@dataclass(frozen=True)
class BatchProcess(Request[Batch]):
    paths: list[Path]
    folder: Path
    width: Width = 64


@dataclass(frozen=True)
class Status:
    pid: int
    processed: int
    failed: int


@dataclass(frozen=True)
class GetStatus(Request[Status]):
    pass


# --- the state: made once in each worker, before its first request ---


@dataclass
class State:
    processed: int = 0
    failed: int = 0
    folders: set[Path] = field(default_factory=set)


@contextmanager
def open_state() -> Iterator[State]:
    yield State()  # what comes after the yield runs when the worker ends: close connections there


handlers = Handlers(state=open_state)


# --- the handlers: plain functions, which a test can call ---


@handlers.on(ProcessImage)
def process_image(request: ProcessImage, state: State) -> Thumbnail:
    return _process(request.path, request.folder, request.width, state)


@handlers.on(BatchProcess)
def batch_process(request: BatchProcess, state: State) -> Batch:
    items = []
    total = len(request.paths)
    for number, path in enumerate(request.paths, 1):
        try:
            items.append(Item(path, _process(path, request.folder, request.width, state)))
        except (OSError, ValueError) as error:  # one bad picture does not cost the batch
            items.append(Item(path, error=f"{path.name}: {type(error).__name__}"))
        if number % 100 == 0 or number == total:
            taskrun.progress(number, total, path.name)
    succeeded = sum(item.thumbnail is not None for item in items)
    return Batch(items, succeeded, total - succeeded)


@handlers.on(GetStatus)
def get_status(_request: GetStatus, state: State) -> Status:
    return Status(os.getpid(), state.processed, state.failed)


# --- the work ---


def _process(path: Path, folder: Path, width: int, state: State) -> Thumbnail:
    try:
        if folder not in state.folders:
            folder.mkdir(parents=True, exist_ok=True)
            state.folders.add(folder)
        made = folder / path.name
        with Image.open(path) as picture:
            picture.thumbnail((width, width))  # at most so wide and so high
            picture.save(made)
            size = picture.size
    except Exception:
        state.failed += 1
        raise
    state.processed += 1
    return Thumbnail(made, *size)
