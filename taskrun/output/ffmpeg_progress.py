"""ffmpeg's progress: the blocks that `-progress` writes, and the status line and durations that it prints."""

from __future__ import annotations

import re

from taskrun.output.samples import Sample


class FfmpegParser:
    """Reads ffmpeg's blocks of ``key=value`` lines, each closed by ``progress=continue`` or ``progress=end``.

    As long as there are none, it reads the ``time=`` of the status line on stderr.

    Attributes:
        total: Length of the result in seconds, where it is known: set it from the arguments or from ffprobe. Where it
            is ``None``, the longest ``Duration:`` of an input on stderr is taken.
    """

    reads_channel = True

    def __init__(self, total: float | None = None) -> None:
        self.total = total
        self._block: dict[str, str] = {}
        self._has_blocks = False
        self._headers_over = False
        self._key_value = re.compile(r"^([a-z_0-9]{1,40})=\s*(\S*)\s*$", re.ASCII)
        self._duration = re.compile(r"^\s*Duration:\s(\d+:\d\d:\d\d(?:\.\d+)?)\b", re.ASCII)
        self._status = re.compile(
            r"(?:^|\s)time=(-?\d+:\d\d:\d\d(?:\.\d+)?|N/A)\s+bitrate=\s*\S+(?:\s+(?:dup|drop)=\s*\d+)*"
            r"\s+speed=\s*([\d.e+]+x|N/A)",
            re.ASCII,
        )
        self._seen: float | None = None  # Duration: of the inputs

    def feed(self, line: str, now: float) -> Sample | None:  # noqa: ARG002 - the protocol's
        """See ``Parser``."""
        if "=" in line:
            match = self._key_value.match(line)
            if match is not None:
                return self._add(match[1], match[2])
            return None if self._has_blocks else self._read_status(line)
        self._read_header(line)
        return None

    def _read_header(self, line: str) -> None:
        """Inputs are listed with their durations before the outputs, which have none yet."""
        if line.startswith("Output #"):
            self._headers_over = True
        elif not self._headers_over:
            match = self._duration.match(line)
            if match is not None:
                self._seen = max(self._seen or 0.0, clock_seconds(match[1]))

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
        seconds = -1.0 if match[1].startswith("-") else clock_seconds(match[1])
        return self._sample(seconds if seconds >= 0 else None, "", match[2])

    def _sample(self, seconds: float | None, frame: str, speed: str) -> Sample | None:
        said = []
        if frame.isdigit() and frame != "0":
            said.append(f"frame {frame}")
        if speed.endswith("x") and speed != "0x":
            said.append(speed)
        if seconds is None and not said:
            return None
        total = self.total if self.total is not None else self._seen
        return Sample(current=seconds if seconds is not None else 0.0, total=total, message=", ".join(said))


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


def clock_seconds(text: str) -> float:
    """Seconds of ``HH:MM:SS.ms``, whose hours may have any number of digits."""
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
