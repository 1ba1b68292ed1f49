"""ffmpeg's command line: what is added to it to hear of its progress, and how long its result will be.

It reads and changes arguments; it starts nothing and opens nothing.
"""

from __future__ import annotations

import os
import re
from math import inf, isfinite
from typing import TYPE_CHECKING

from taskrun.model import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

# Options without a value; each may have `no` in front. All others take one.
_FLAGS = frozenset(
    """y n L version buildconf formats muxers demuxers devices codecs decoders encoders bsfs protocols filters pix_fmts
    layouts sample_fmts dispositions colors hwaccels report hide_banner ignore_unknown copy_unknown recast_media stats
    benchmark benchmark_all stdin dump hex copyts start_at_zero auto_conversion_filters debug_ts psnr vstats qphist
    accurate_seek re shortest bitexact copyinkf find_stream_info autorotate autoscale vn an sn dn force_fps
    fix_sub_duration xerror intra deinterlace""".split()  # noqa: SIM905 - eighty literals would be worse to read
)
_QUIET = frozenset({"quiet", "panic", "fatal", "error", "warning", "-8", "0", "8", "16", "24"})
_DEVICES = frozenset(
    {
        *("alsa", "android_camera", "avfoundation", "decklink", "dshow", "fbdev", "gdigrab", "jack", "kmsgrab"),
        *("openal", "oss", "pulse", "sndio", "v4l2", "video4linux2", "x11grab"),
    }
)
_PROBED_WITH = frozenset({"f", "safe", "framerate", "video_size", "pixel_format", "protocol_whitelist"})


class Input(Value, frozen=True, kw_only=True):
    """One input, with the options that decide how much of it is read.

    Attributes:
        url: As given to ``-i``.
        options: Options before it, without the dash, as they stand: values, or ``""`` for a flag.
    """

    url: str
    options: dict[str, str]


class Result(Value, frozen=True, kw_only=True):
    """One output, likewise."""

    url: str
    options: dict[str, str]


def is_ffmpeg(argv: Sequence[str]) -> bool:
    """Whether the program is ffmpeg, by its name: ``ffmpeg``, ``/opt/bin/ffmpeg``, ``ffmpeg-7.1``, ``ffmpeg5``."""
    return bool(argv) and re.fullmatch(r"ffmpeg[-\d.]*", os.path.basename(argv[0])) is not None


def instrument(argv: Sequence[str], progress_path: str) -> tuple[str, ...]:
    """The arguments with which ffmpeg reports its progress to a file, for which the status line goes.

    Whatever the user says about one of these options stands. ``-stats_period`` is not needed: it is half a second
    anyway, and ffmpeg before 4.4 does not know it.
    """
    given = {_name(arg) for arg in argv[1:] if arg.startswith("-")}
    added: list[str] = []
    if "progress" not in given:
        added += ["-progress", f"file:{progress_path}"]
        if not given & {"stats", "nostats"}:
            added.append("-nostats")
    if not given & {"stdin", "nostdin"}:
        added.append("-nostdin")
    return (argv[0], *added, *argv[1:])


def inputs(argv: Sequence[str]) -> tuple[Input, ...]:
    """The inputs, in order."""
    return _parse(argv)[0]


def is_silent(argv: Sequence[str]) -> bool:
    """Whether ffmpeg was told not to say on stderr how long its inputs are, so that ffprobe has to be asked."""
    level = next((argv[at + 1] for at in range(len(argv) - 2, 0, -1) if argv[at] in {"-loglevel", "-v"}), "info")
    return level.rpartition("+")[2] in _QUIET


def ffprobe_argv(program: str, source: Input) -> tuple[str, ...] | None:
    """The command that prints the length of an input in seconds, or ``N/A``.

    Args:
        program: ffmpeg as the task calls it; ffprobe is taken from the same folder.
        source: The input.

    Returns:
        ``None`` where asking would do harm or is of no use: a pipe, a device, a stream over the network.
    """
    scheme = re.match(r"([a-z][a-z0-9+.]*):", source.url)
    if source.url == "-" or (scheme is not None and scheme[1] not in {"file", "concat"}):
        return None
    if source.options.get("f", "") in _DEVICES | {"lavfi"}:
        return None
    name = os.path.basename(program).replace("ffmpeg", "ffprobe", 1)
    options = [part for key, value in source.options.items() if key in _PROBED_WITH for part in (f"-{key}", value)]
    wanted = ("-v", "error", "-show_entries", "format=duration", "-of", "default=noprint_wrappers=1:nokey=1")
    return (os.path.join(os.path.dirname(program), name), *wanted, *options, "-i", source.url)


def total(argv: Sequence[str], lengths: Sequence[float | None]) -> float | None:
    """Seconds that the longest output will have, as far as options tell; filters may still change it.

    Args:
        argv: The command.
        lengths: Of its inputs, in order, in seconds; ``None``: unknown. Missing ones are unknown too.
    """
    sources, results = _parse(argv)
    padded = [*lengths, *[None] * len(sources)]
    read = [_read_length(source, length) for source, length in zip(sources, padded, strict=False)]
    known = [length for length in read if length is not None]
    base = inf
    if known and any("concat=" in arg for arg in argv):
        base = sum(known)
    elif known:
        base = (min if any("shortest" in result.options for result in results) else max)(known)
    longest = max((_result_length(result.options, base) for result in results), default=inf)
    return longest if isfinite(longest) and longest > 0 else None


# --- lengths ----------------------------------------------------------------------------------------------------------


def seconds(text: str) -> float | None:
    """A duration as ffmpeg reads it: ``90``, ``1.5``, ``01:30``, ``00:01:30.5``, ``200ms``; ``None``: it is none."""
    match = re.fullmatch(r"(-?)(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)(us|ms|s)?", text.strip(), re.ASCII)
    if match is None:
        return None
    sign, hours, minutes, rest, unit = match.groups()
    value = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest)
    return (-value if sign else value) * {"us": 1e-6, "ms": 1e-3}.get(unit, 1.0)


def _option(options: dict[str, str], name: str) -> float | None:
    return seconds(options[name]) if name in options else None


def _limit(options: dict[str, str]) -> float | None:
    """Seconds that ``-t``, or ``-to`` less ``-ss``, allow; ``-t`` wins."""
    limit = _option(options, "t")
    if limit is None and (end := _option(options, "to")) is not None:
        limit = end - (_option(options, "ss") or 0.0)
    return limit


def _read_length(source: Input, length: float | None) -> float | None:
    """Seconds that are read of an input; infinite where it has no end, ``None`` where that is unknown."""
    options = source.options
    fmt = options.get("f", "")
    if fmt == "lavfi":
        length = _generated(source.url)
    elif fmt in _DEVICES or options.get("loop", "0") != "0" or options.get("stream_loop", "").startswith("-"):
        length = inf
    if length is not None:
        if (from_end := _option(options, "sseof")) is not None:
            length = min(length, -from_end)
        else:
            length -= max(0.0, _option(options, "ss") or 0.0)
        if options.get("stream_loop", "").isdigit():
            length *= 1 + int(options["stream_loop"])
    limit = _limit(options)
    if limit is not None:
        length = limit if length is None else min(length, limit)
    return None if length is None else length + (_option(options, "itsoffset") or 0.0)


def _generated(graph: str) -> float | None:
    """Seconds of a test source such as ``testsrc=duration=5:size=320x240``.

    Infinite without a duration; ``None`` for graphs of more than one filter.
    """
    if re.search(r"[,;\[]", graph):
        return None
    match = re.search(r"[=:](?:duration|d)=([^:]+)", graph)
    return inf if match is None else seconds(match[1].strip("'"))


def _result_length(options: dict[str, str], base: float) -> float:
    limit = _limit(options)
    length = base - max(0.0, _option(options, "ss") or 0.0)
    return length if limit is None else min(length, limit)


# --- arguments --------------------------------------------------------------------------------------------------------


def _name(arg: str) -> str:
    """An option's name without dash and stream specifier."""
    return arg[1:].partition(":")[0]


def _is_flag(name: str) -> bool:
    return name in _FLAGS or (name.startswith("no") and name[2:] in _FLAGS)


def _parse(argv: Sequence[str]) -> tuple[tuple[Input, ...], tuple[Result, ...]]:
    """Options belong to the input or output that comes after them."""
    sources: list[Input] = []
    results: list[Result] = []
    options: dict[str, str] = {}
    at = 1
    while at < len(argv):
        arg, at = argv[at], at + 1
        if not arg.startswith("-") or arg == "-":
            results.append(Result(url=arg, options=options))
            options = {}
        elif _is_flag(name := _name(arg)):
            options[name] = ""
        elif at < len(argv):
            value, at = argv[at], at + 1
            if name == "i":
                sources.append(Input(url=value, options=options))
                options = {}
            else:
                options[name] = value
    return tuple(sources), tuple(results)
