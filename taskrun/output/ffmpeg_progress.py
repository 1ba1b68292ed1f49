"""ffmpeg's progress: the blocks that `-progress` writes, and the status line and durations that it prints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from taskrun.output import ffmpeg
from taskrun.output.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence


class FfmpegParser:
    """Reads ffmpeg's blocks of ``key=value`` lines, each closed by ``progress=continue`` or ``progress=end``.

    As long as there are none, it reads the ``time=`` of the status line on stderr.

    Attributes:
        lengths: Seconds of each input, as far as known; read from stderr unless they were told.
    """

    hints: tuple[bytes, ...] = (b"=", b"Duration: ", b"Input #", b"Output #")
    reads_channel = True

    def __init__(self, total: float | None = None) -> None:
        self.lengths: list[float | None] = []
        self._total = total
        self._argv: Sequence[str] | None = None
        self._lengths_told = False
        self._block: dict[str, str] = {}
        self._has_blocks = False
        self._key_value = re.compile(r"^([a-z_0-9]{1,40})=\s*(\S*)\s*$", re.ASCII)
        self._duration = re.compile(r"^\s*Duration:\s(\d+:\d\d:\d\d(?:\.\d+)?)\b", re.ASCII)
        self._status = re.compile(
            r"(?:^|\s)time=(-?\d+:\d\d:\d\d(?:\.\d+)?|N/A)\s+bitrate=\s*\S+(?:\s+(?:dup|drop)=\s*\d+)*"
            r"\s+speed=\s*([\d.e+]+x|N/A)",
            re.ASCII,
        )

    def expect(self, argv: Sequence[str], lengths: Sequence[float | None] | None = None) -> None:
        """Says what is run, so that options such as ``-t`` and ``-ss`` count.

        Args:
            argv: The command.
            lengths: Seconds of its inputs, in order, where ffprobe was asked; ``None``: they are read from stderr.
        """
        self._argv = argv
        if lengths is not None:
            self.lengths, self._lengths_told = list(lengths), True

    @property
    def total(self) -> float | None:
        """Seconds that the result will have; ``None``: unknown, so far."""
        if self._total is None and self._argv is not None:
            return ffmpeg.total(self._argv, self.lengths)
        if self._total is None:
            return max((length for length in self.lengths if length is not None), default=None)
        return self._total

    @total.setter
    def total(self, seconds: float | None) -> None:
        self._total = seconds

    def feed(self, line: str, now: float) -> Sample | None:  # noqa: ARG002 - the protocol's
        """See ``Parser``."""
        if not self._lengths_told:
            self._read_header(line)
        match = self._key_value.match(line)
        if match is not None:
            return self._add(match[1], match[2])
        return None if self._has_blocks else self._read_status(line)

    def _read_header(self, line: str) -> None:
        """Inputs are listed with their durations before the outputs, which have none yet."""
        if line.startswith("Output #"):
            self._lengths_told = True
        elif line.startswith("Input #"):
            self.lengths.append(None)
        elif self.lengths and (match := self._duration.match(line)) is not None:
            self.lengths[-1] = ffmpeg.seconds(match[1])

    def _add(self, key: str, value: str) -> Sample | None:
        if key != "progress":
            if len(self._block) < 256:  # a block has a dozen, and a few per stream
                self._block[key] = value
            return None
        block, self._block = self._block, {}
        if "out_time_us" not in block and "out_time_ms" not in block and "frame" not in block:
            return None
        self._has_blocks = True
        return self._sample(_out_time(block), block.get("frame", ""), block.get("speed", ""))

    def _read_status(self, line: str) -> Sample | None:
        match = self._status.search(line)
        if match is None or match[1] == "N/A":
            return None
        seconds = ffmpeg.seconds(match[1])
        return self._sample(seconds if seconds is not None and seconds >= 0 else None, "", match[2])

    def _sample(self, seconds: float | None, frame: str, speed: str) -> Sample | None:
        said = []
        if frame.isdigit() and frame != "0":
            said.append(f"frame {frame}")
        if speed.endswith("x") and speed != "0x":
            said.append(speed)
        if seconds is None and not said:
            return None
        return Sample(current=seconds if seconds is not None else 0.0, total=self.total, message=", ".join(said))


def _out_time(block: dict[str, str]) -> float | None:
    """Seconds of output so far.

    ``out_time_ms`` is in microseconds too, whatever its name says; unknown times are ``N/A`` or the least 64-bit
    integer.
    """
    for key in ("out_time_us", "out_time_ms"):
        text = block.get(key, "")
        if text.isdigit():
            return int(text) / 1e6
    return None
