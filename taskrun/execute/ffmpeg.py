"""ffmpeg's own progress, brought to the attempt's FIFO, and the duration that its percent needs.

ffmpeg prints each input's duration when it starts, so that nothing has to be asked beforehand, unless the user made
it silent: then ffprobe is asked first, for a bounded time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from taskrun.link import HostLost, SpawnError
from taskrun.output import ffmpeg as arguments

if TYPE_CHECKING:
    from taskrun.execute.equipment import Equipment
    from taskrun.execute.sink import Sink
    from taskrun.model import Attempt

_PATIENCE = 5.0  # seconds for ffprobe: without an answer there is no percent, which is no reason to fail


async def arrange(attempt: Attempt, argv: tuple[str, ...], sink: Sink, equipment: Equipment) -> tuple[str, ...]:
    """The command line to start: ffmpeg's with `-progress`, any other as it is."""
    if attempt.progress is None or attempt.progress.parser != "ffmpeg":
        return argv
    if os.path.basename(argv[0]) not in {"ffmpeg", "ffmpeg.exe"}:
        return argv
    total = arguments.duration_limit(argv)
    if total is None and arguments.is_silent(argv):
        total = await _longest_input(attempt, argv, sink, equipment)
    if total is not None:
        sink.expect_total(total)
    return tuple(arguments.instrument(argv, sink.fifo_path))


async def _longest_input(
    attempt: Attempt, argv: tuple[str, ...], sink: Sink, equipment: Equipment
) -> float | None:
    durations = []
    with trio.move_on_after(_PATIENCE):
        for name in arguments.inputs(argv):
            if "://" not in name and os.path.exists(os.path.join(attempt.cwd, name)):
                durations.append(await _ask_ffprobe(attempt, name, sink, equipment))
    return max((seconds for seconds in durations if seconds), default=None)


async def _ask_ffprobe(attempt: Attempt, name: str, sink: Sink, equipment: Equipment) -> float | None:
    answer = bytearray()
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    read, write = os.pipe()
    stream = equipment.outputs.add(read, answer.extend)
    process = None
    try:
        process = await equipment.link.spawn(
            arguments.ffprobe_argv(name),
            env=sink.environment(),
            cwd=attempt.cwd,
            stdin=None,
            stdout=write,
            stderr=null,
        )
        os.close(write)
        write = -1
        await process.wait()
        process = None
        await equipment.outputs.drain([stream], 0.2)
        return float(answer)
    except (SpawnError, HostLost, ValueError):
        return None  # no ffprobe, no answer, or "N/A"
    finally:
        if write >= 0:
            os.close(write)
        os.close(null)
        stream.close()
        if process is not None:
            equipment.link.kill(process)
