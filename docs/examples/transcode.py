"""ffmpeg, driven from an async handler: `python docs/examples/transcode.py FOLDER [LIMIT]`. Needs ffmpeg.

The handler reads what ffmpeg says about itself and passes it on as progress. When its time is over, or its sender is
cancelled, so is the handler: its `finally` ends ffmpeg and removes the half of a file. LIMIT is in seconds.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import trio

import taskrun
from taskrun.workers import AsyncHandlers, Moved, Pool, Request, RequestTimedOut, open_pool

# --- the contract ---


@dataclass(frozen=True)
class GetDuration(Request[float]):
    """Seconds of a clip."""

    path: Path


@dataclass(frozen=True)
class Transcode(Request[Path]):
    source: Path
    target: Path
    width: Annotated[int, msgspec.Meta(ge=2)] = 64
    as_it_plays: bool = False  # no faster than that: to have something that takes its time


# --- the handlers ---

handlers = AsyncHandlers()


@handlers.on(GetDuration)
async def get_duration(request: GetDuration) -> float:
    argv = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(request.path)]
    return float((await trio.run_process(argv, capture_stdout=True)).stdout)


@handlers.on(Transcode)
async def transcode(request: Transcode) -> Path:
    total = await get_duration(GetDuration(request.source))  # a handler is still a function
    part = request.target.with_suffix(f".part{request.target.suffix}")
    argv = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-progress", "pipe:1", "-stats_period", "0.1"]
    argv += [*(["-re"] if request.as_it_plays else []), "-i", str(request.source)]
    argv += ["-vf", f"scale={request.width}:-2", "-c:v", "mpeg4", str(part)]
    process = await trio.lowlevel.open_process(argv, stdout=subprocess.PIPE)
    taskrun.status(f"ffmpeg is process {process.pid}")
    try:
        assert process.stdout is not None
        async for line in lines(process.stdout):
            key, _, value = line.partition("=")
            if key == "out_time_us" and value.isdecimal():  # it says N/A before the first picture
                taskrun.progress(min(int(value) / 1e6, total), total, request.source.name)
        if await process.wait():
            raise OSError(f"ffmpeg exited with {process.returncode}; its stderr says why")
        part.replace(request.target)
    finally:  # all went well, or ffmpeg failed, or this handler is cancelled
        process.kill()  # does nothing to one that has ended
        with trio.CancelScope(shield=True):
            await process.wait()
        part.unlink(missing_ok=True)
    return request.target


async def lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    rest = b""
    async with stream:
        async for data in stream:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode().strip()


# --- the program ---


class Watch:
    """What is known of one transcoding."""

    def __init__(self) -> None:
        self.pid = 0
        self.seconds = 0.0
        self.has_begun = trio.Event()

    def __call__(self, moved: Moved) -> None:
        if moved.done is None:
            self.pid = int(moved.message.rpartition(" ")[2])
        else:
            self.seconds = moved.done
            self.has_begun.set()
            print(f"  {moved.message}: {moved.done:.1f} of {moved.total:.1f} s")

    def tell_end(self, target: Path) -> None:
        alive = self.pid and os.path.exists(f"/proc/{self.pid}")
        left = list(target.parent.glob(f"{target.stem}.*"))
        print(f"  ffmpeg {'still runs' if alive else 'is gone'}, {len(left)} files are left of it")


async def two_at_once(pool: Pool, source: Path) -> None:
    async def one(width: int) -> None:
        target = await pool.send(Transcode(source, source.with_name(f"{width}.mkv"), width), on_progress=Watch())
        print(f"{target.name} has {await pool.send(GetDuration(target)):.1f} s")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, 64)
        nursery.start_soon(one, 32)


async def timed_out(pool: Pool, source: Path, limit: float) -> None:
    watch, target = Watch(), source.with_name("late.mkv")
    try:
        await pool.send(Transcode(source, target, as_it_plays=True), timeout=limit, on_progress=watch)
    except RequestTimedOut as timeout:
        print(timeout)
        watch.tell_end(target)


async def cancelled(pool: Pool, source: Path) -> None:
    watch, target = Watch(), source.with_name("unwanted.mkv")

    async def send() -> None:
        await pool.send(Transcode(source, target, as_it_plays=True), on_progress=watch)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await watch.has_begun.wait()
        nursery.cancel_scope.cancel()  # returns when the work has ended
    print("cancelled")
    watch.tell_end(target)


def make_clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = "testsrc2=duration=60:size=160x120:rate=5"
    argv = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", picture, "-c:v", "mpeg4", str(path)]
    subprocess.run(argv, check=True)


async def main(source: Path, limit: float) -> None:
    async with open_pool("transcode:handlers", size=2) as pool:
        await two_at_once(pool, source)
        await timed_out(pool, source, limit)
        await cancelled(pool, source)


if __name__ == "__main__":
    clip = Path(sys.argv[1]) / "clip.mkv"
    make_clip(clip)
    trio.run(main, clip, float(sys.argv[2]) if len(sys.argv) > 2 else 2.0)
