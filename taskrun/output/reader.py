"""Everything that an attempt says about itself, out of its streams and its FIFO: scanner, splitter and parser as one.

It decides where to look, never what follows; a stream in which nothing can be found is not even split.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from taskrun.output.protocol import Channel, Scanner, parse
from taskrun.output.splitter import Splitter, text_of
from taskrun.output.text import strip_control

if TYPE_CHECKING:
    from taskrun.model import ProgressSource
    from taskrun.output.parsers import Parser
    from taskrun.output.samples import Line

LONGEST_LINE = 4096
"""Characters of a line that a parser sees; a user's regex over more could take for ever."""


class ProgressReader:
    """Finds what one attempt says. Times are seconds of a monotonic clock.

    Attributes:
        parser: The parser that the task asked for, if any; ffmpeg's is told the total through it.
    """

    def __init__(self, source: ProgressSource | None = None) -> None:
        self.parser: Parser | None = None
        if source is not None:
            from taskrun.output.parsers import make_parser  # most tasks have none

            self.parser = make_parser(source)
        self._hints = () if self.parser is None else self.parser.hints
        self._is_candidate = re.compile(b"|".join(map(re.escape, self._hints))).search if self._hints else None
        self._streams = "both" if source is None else source.stream
        self._scanners: dict[str, Scanner] = {}
        self._splitters: dict[str, Splitter] = {}
        self._channel = Channel()

    def feed_output(self, stream: str, data: bytes, now: float) -> list[Line]:
        """Takes bytes as read from ``"stdout"`` or ``"stderr"``."""
        scanner = self._scanners.get(stream)
        if scanner is None:
            scanner = self._scanners[stream] = Scanner()
            if self.parser is not None and self._streams in {"both", stream}:
                self._splitters[stream] = Splitter()
        found = [said for line in scanner.feed(data) for said in parse(line)]
        splitter = self._splitters.get(stream)
        if splitter is not None and not (self._hints and splitter.skip(data, self._hints)):
            found += self._parse(splitter.feed(data), now)
        return found

    def feed_channel(self, data: bytes, now: float) -> list[Line]:
        """Takes bytes as read from the FIFO."""
        return self._read_channel(self._channel.feed(data), now)

    def flush(self, now: float) -> list[Line]:
        """What last lines without an end say, when the attempt is over."""
        found = [said for scanner in self._scanners.values() for line in scanner.flush() for said in parse(line)]
        for splitter in self._splitters.values():
            found += self._parse(splitter.flush(), now)
        return found + self._read_channel(self._channel.flush(), now)

    def _parse(self, segments: list[bytes], now: float) -> list[Line]:
        assert self.parser is not None
        found: list[Line] = []
        for segment in filter(self._is_candidate, segments):
            text = text_of(segment[: 4 * LONGEST_LINE]).decode("utf-8", "replace")
            line = strip_control(text, colour=False)[:LONGEST_LINE]
            sample = self.parser.feed(line, now) if line else None
            if sample is not None:
                found.append(sample)
        return found

    def _read_channel(self, lines: list[str], now: float) -> list[Line]:
        found: list[Line] = []
        for line in lines:
            if self.parser is not None and self.parser.reads_channel and re.match(r"[a-z_0-9]+=", line):
                sample = self.parser.feed(line, now)
                if sample is not None:
                    found.append(sample)
            else:
                found += parse(line)
        return found
