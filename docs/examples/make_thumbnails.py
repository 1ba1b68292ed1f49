"""Makes pictures, and thumbnails of them in worker processes: `python docs/examples/make_thumbnails.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from thumbnails import BatchProcess, GetStatus, ProcessImage

from taskrun.workers import HandlerFailed, Moved, Timeouts, open_pool, open_worker

TIMEOUTS = Timeouts(startup=30, message=10, per_message={ProcessImage: 30, BatchProcess: 300})


def make_pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.ppm" for number in range(count)]
    for number, path in enumerate(paths):
        pixels = bytes((x * 2, y * 2, number % 256)[c] % 256 for y in range(60) for x in range(80) for c in range(3))
        path.write_bytes(b"P6 80 60 255\n" + pixels)
    return paths


def show(moved: Moved) -> None:
    print(f"  {moved.done:g} of {moved.total:g}, {moved.message}")


async def main(folder: Path) -> None:
    paths = make_pictures(folder / "pictures", 250)
    (folder / "pictures/broken.ppm").write_text("not a picture")
    paths.append(folder / "pictures/broken.ppm")

    async with open_worker("thumbnails:handlers", timeouts=TIMEOUTS) as worker:
        one = await worker.send(ProcessImage(paths[0], folder / "one", width=32))
        print(f"{one.path.name}: {one.width} x {one.height}")
        try:
            await worker.send(ProcessImage(paths[-1], folder / "one"))
        except HandlerFailed as failure:
            print(f"{failure.type_name}: {failure.message}")
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


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
