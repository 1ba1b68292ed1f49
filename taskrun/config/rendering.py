"""Diagnostics as text for people, as JSON for programs, as annotations for GitHub. Decides and prints nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.config.wording import width_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.model import Diagnostic, Span

MOST = 20
"""Shown as text."""
MOST_ANNOTATIONS = 10
"""GitHub shows ten errors of a step and drops the rest without a word."""
WIDEST = 160
"""Columns of a source line that are shown; of a longer one, the part around the mistake."""

_RED, _YELLOW, _BLUE, _BOLD, _END = "\033[1;31m", "\033[1;33m", "\033[1;34m", "\033[1m", "\033[0m"


def render(diagnostics: Sequence[Diagnostic], *, style: str = "text", color: bool = False) -> str:
    """Renders diagnostics, sorted by file and position.

    Args:
        diagnostics: In any order.
        style: ``"text"``, ``"json"`` (one array) or ``"github"`` (workflow commands).
        color: Whether text has colours.

    Returns:
        Text that ends with a newline; empty where there is nothing to say, but for JSON.
    """
    ordered = sorted(diagnostics, key=_order)
    match style:
        case "json":
            return _json(ordered)
        case "github":
            return _github(ordered)
        case "text":
            return _text(ordered, _Colors(on=color))
    raise ValueError(f"no such style: {style}")


def _order(diagnostic: Diagnostic) -> tuple[str, int, int]:
    span = diagnostic.span
    return (diagnostic.file or "", *((span.line, span.column) if span else (0, 0)))


# --- text -------------------------------------------------------------------------------------------------------------


class _Colors:
    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, code: str, text: str) -> str:
        return f"{code}{text}{_END}" if self._on and text else text


def _text(diagnostics: list[Diagnostic], colors: _Colors) -> str:
    if not diagnostics:
        return ""
    blocks = [_block(each, colors) for each in diagnostics[:MOST]]
    more = len(diagnostics) - MOST
    if more > 0:
        blocks.append(f"and {more} more\n")
    blocks.append(f"{_total(diagnostics)}\n")
    return "\n".join(blocks)


def _block(diagnostic: Diagnostic, colors: _Colors) -> str:
    """One diagnostic: what, where, the line with a caret, what to do."""
    tone = _RED if diagnostic.level == "error" else _YELLOW
    head = colors(tone, f"{diagnostic.level}[{diagnostic.code}]") + colors(_BOLD, f": {_clean(diagnostic.message)}")
    lines = [head]
    gutter = 1
    span = diagnostic.span
    if span is not None and diagnostic.source is not None:
        gutter = len(str(span.line))
        bar = colors(_BLUE, "|")
        source, start, width = _excerpt(diagnostic.source, span)
        carets = colors(tone, f"{'^' * width} {_clean(diagnostic.label)}".rstrip())
        lines += [
            f"{' ' * gutter}{colors(_BLUE, '-->')} {_place(diagnostic, span)}",
            f"{' ' * gutter} {bar}",
            f"{colors(_BLUE, str(span.line))} {bar} {source}".rstrip(),
            f"{' ' * gutter} {bar} {' ' * start}{carets}",
        ]
    elif diagnostic.label:
        lines.append(f"  {colors(_BLUE, '=')} help: {_clean(diagnostic.label)}")
    lines += [f"{' ' * gutter} {colors(_BLUE, '=')} {_clean(note)}" for note in diagnostic.notes if note]
    return "\n".join(lines) + "\n"


def _place(diagnostic: Diagnostic, span: Span) -> str:
    return f"{_clean(diagnostic.file or '')}:{span.line}:{span.column}"


def _excerpt(source: str, span: Span) -> tuple[str, int, int]:
    """The line as it is shown, and column and width of the carets in cells."""
    first = span.column - 1
    last = span.end_column - 1 if span.end_line == span.line else len(source)
    last = max(last, first + 1)
    lead = ""
    if len(source) > WIDEST:
        cut = max(0, min(first - WIDEST // 4, len(source) - WIDEST))
        lead = "..." if cut else ""
        tail = "..." if cut + WIDEST < len(source) else ""
        source = source[cut : cut + WIDEST] + tail
        first, last = first - cut, min(last - cut, WIDEST)
    before, marked, after = source[:first], source[first:last], source[last:]
    before_shown = lead + _cells(before, 0)
    start = width_of(before_shown)
    marked_shown = _cells(marked, start)
    width = max(width_of(marked_shown), 1)
    return before_shown + marked_shown + _cells(after, start + width), start, width


def _cells(text: str, column: int) -> str:
    """``text`` with tabs as spaces up to the next fourth column and without control characters."""
    shown = []
    for char in text:
        piece = " " * (4 - column % 4) if char == "\t" else char if char.isprintable() else "\ufffd"
        shown.append(piece)
        column += width_of(piece)
    return "".join(shown)


def _clean(text: str) -> str:
    """Names of the user's may hold anything: nothing that moves the cursor or ends the line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _total(diagnostics: list[Diagnostic]) -> str:
    """``found 3 errors in tasks.toml``."""
    counts = []
    for level in ("error", "warning"):
        count = sum(each.level == level for each in diagnostics)
        if count:
            counts.append(f"{count} {level}{'s' if count > 1 else ''}")
    files = sorted({each.file for each in diagnostics if each.file})
    where = f" in {_clean(files[0])}" if len(files) == 1 else f" in {len(files)} files" if files else ""
    return f"found {' and '.join(counts)}{where}"


# --- for programs -----------------------------------------------------------------------------------------------------


def _json(diagnostics: list[Diagnostic]) -> str:
    import msgspec

    rows = []
    for each in diagnostics:
        span = each.span
        rows.append(
            {
                "level": each.level,
                "code": each.code,
                "message": each.message,
                "label": each.label,
                "file": each.file,
                "line": span.line if span else None,
                "column": span.column if span else None,
                "end_line": span.end_line if span else None,
                "end_column": span.end_column if span else None,
                "source": each.source,
                "notes": each.notes,
            }
        )
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n"


def _github(diagnostics: list[Diagnostic]) -> str:
    if not diagnostics:
        return ""
    kept = diagnostics if len(diagnostics) <= MOST_ANNOTATIONS else diagnostics[: MOST_ANNOTATIONS - 1]
    lines = [_annotation(each) for each in kept]
    more = len(diagnostics) - len(kept)
    if more:
        lines.append(f"::error title=taskrun::and {more} more mistakes")
    return "\n".join(lines) + "\n"


def _annotation(diagnostic: Diagnostic) -> str:
    fields = {}
    if diagnostic.file:
        fields["file"] = diagnostic.file
    if diagnostic.span:
        span = diagnostic.span
        fields |= {"line": str(span.line), "endLine": str(span.end_line)}
        if span.line == span.end_line:
            fields |= {"col": str(span.column), "endColumn": str(span.end_column)}
    fields["title"] = diagnostic.code
    properties = ",".join(f"{name}={_escaped(value, in_property=True)}" for name, value in fields.items())
    text = f"{diagnostic.message}: {diagnostic.label}" if diagnostic.label else diagnostic.message
    text = "\n".join((text, *diagnostic.notes))
    return f"::{diagnostic.level} {properties}::{_escaped(text)}"


def _escaped(text: str, *, in_property: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if in_property else text
