"""ffmpeg's own progress, brought to the attempt's FIFO, and the lengths of its inputs, which its percent needs.

ffmpeg prints the lengths when it starts, so that nothing has to be asked beforehand, unless the user made it silent:
then ffprobe is asked first, for a bounded time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun.link import HostLost, SpawnError
from taskrun.output import ffmpeg as arguments
from taskrun.output.ffmpeg_progress import FfmpegParser

if TYPE_CHECKING:
    from taskrun.execute.equipment import Equipment
    from taskrun.execute.running import Running
    from taskrun.execute.sink import Sink
    from taskrun.model import Attempt

_PATIENCE = 5.0  # seconds for ffprobe: without an answer there is no percent, which is no reason to fail


async def arrange(running: Running, argv: tuple[str, ...], sink: Sink, equipment: Equipment) -> tuple[str, ...]:
    """The command line to start: ffmpeg's with `-progress`, any other as it is. A stop ends the asking."""
    parser = sink.parser
    if not isinstance(parser, FfmpegParser) or not arguments.is_ffmpeg(argv):
        return argv
    lengths = None
    if arguments.is_silent(argv):
        lengths = await _ask_lengths(running, argv, sink, equipment)
    parser.expect(argv, lengths)
    return arguments.instrument(argv, sink.fifo_path)


async def _ask_lengths(running: Running, argv: tuple[str, ...], sink: Sink, equipment: Equipment) -> list[float | None]:
    lengths: list[float | None] = []
    with running.until_stopped(_PATIENCE):
        for source in arguments.inputs(argv):
            command = arguments.ffprobe_argv(argv[0], source)
            lengths.append(None if command is None else await _ask(command, running.attempt, sink, equipment))
    return lengths


async def _ask(command: tuple[str, ...], attempt: Attempt, sink: Sink, equipment: Equipment) -> float | None:
    answer = bytearray()
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    read, write = os.pipe()
    stream = equipment.controls.add(read, answer.extend)
    process = None
    try:
        process = await equipment.link.spawn(
            command, env=sink.environment(), cwd=attempt.cwd, stdin=None, stdout=write, stderr=null
        )
        os.close(write)
        write = -1
        await process.wait()
        process = None
        await equipment.controls.drain([stream], 0.2)
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
