"""Makes pictures, and thumbnails of them in worker processes: `python docs/examples/make_thumbnails.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from PIL import Image
from thumbnails import BatchProcess, GetStatus, ProcessImage

from taskrun.workers import HandlerFailed, Moved, RequestTimedOut, Timeouts, open_pool, open_worker

# Seconds of work, by request class; `message` is for all others. Waiting in a queue costs nothing of it.
TIMEOUTS = Timeouts(startup=30, message=10, per_message={ProcessImage: 30, BatchProcess: 300})
IMPATIENT = Timeouts(per_message={BatchProcess: 0.001})


def make_pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (80, 60), (number % 256, 100, 200)).save(path)
    (folder / "broken.png").write_text("not a picture")
    return [*paths, folder / "broken.png"]


def show(moved: Moved) -> None:
    print(f"  {moved.done:g} of {moved.total:g}, {moved.message}")


async def main(folder: Path) -> None:
    paths = make_pictures(folder / "pictures", 250)

    async with open_worker("thumbnails:handlers", timeouts=TIMEOUTS) as worker:
        one = await worker.send(ProcessImage(paths[0], folder / "one", width=32))
        print(f"{one.path.name}: {one.width} x {one.height}")
        try:
            await worker.send(ProcessImage(paths[-1], folder / "one"))
        except HandlerFailed as failure:  # it raised; the worker lives on
            print(f"{paths[-1].name}: {failure.type_name}")
        batch = await worker.send(BatchProcess(paths, folder / "batch", width=16), on_progress=show)
        print(f"{batch.succeeded} made, {batch.failed} failed")
        for item in batch.items:
            if item.error:
                print(f"  {item.error}")
        status = await worker.send(GetStatus())  # the worker's state has lived through all of it
        print(f"the worker has made {status.processed}, and failed at {status.failed}")

    async with open_pool("thumbnails:handlers", size=2, timeouts=TIMEOUTS, prefetch=4) as pool:
        sizes = set()
        async for done in pool.map(ProcessImage(path, folder / "each", width=8) for path in paths):
            if done.failure is None:
                sizes.add((done.result.width, done.result.height))
            else:
                print(f"{done.request.path.name} failed")
        print(f"{pool.statistics.completed} done, all of {sizes}")

    async with open_worker("thumbnails:handlers", timeouts=IMPATIENT) as worker:
        try:
            await worker.send(BatchProcess(paths, folder / "late"))
        except RequestTimedOut as timeout:  # its work has been ended, with the worker
            print(timeout)
        status = await worker.send(GetStatus())
        print(f"the worker in its place has made {status.processed}")


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
