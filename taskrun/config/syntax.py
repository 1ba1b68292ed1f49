"""tomli's syntax errors in words that say what to do, with both places where something stands twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from taskrun.config.locate import locate
from taskrun.config.mistakes import describe

if TYPE_CHECKING:
    import tomli

    from taskrun.config.locate import Places
    from taskrun.config.source import Path, SourceFile
    from taskrun.model import Diagnostic

_WORD = re.compile(r"[^\s,\]}#\"'=]+")
_TWICE = re.compile(r"Cannot declare \(.*\) twice|Cannot overwrite a value|Duplicate inline table key .*")
_CLOSED = re.compile(r"Cannot (?:mutate immutable|redefine) namespace \((.*)\)")
_CURLY = {"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u00ab": '"', "\u201e": '"', "`": '"'}
_WORDS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "yes": "true", "no": "false"}
_WORDS |= {"on": "true", "off": "false"}
_NOTHING = frozenset({"null", "None", "nil", "undefined", "~"})


class _Finding:
    """What is wrong, where (offsets), and what to do about it."""

    __slots__ = ("end", "label", "message", "notes", "start")

    def __init__(self, message: str, start: int, end: int, label: str = "", notes: tuple[str, ...] = ()) -> None:
        self.message = message
        self.start = start
        self.end = end
        self.label = label
        self.notes = notes


def syntax_mistake(source: SourceFile, error: tomli.TOMLDecodeError) -> Diagnostic:
    """The diagnostic for what tomli refused; ``source`` has the text that it was given."""
    position = min(error.pos, len(source.text))
    finding = _reworded(error.msg, source.text, position, source)
    span = source.span_at(finding.start, finding.end)
    return source.diagnostic_at("syntax", finding.message, span, label=finding.label, notes=finding.notes)


def number_mistake(source: SourceFile, error: ValueError) -> Diagnostic:
    """The diagnostic for a number that Python refuses to read: it has thousands of digits."""
    match = re.search(r"[0-9_]{4000,}", source.text)
    start = match.start() if match else 0
    message = "a number has too many digits" if match else str(error)
    return source.diagnostic_at("syntax", message, source.span_at(start, start + 1))


def _reworded(said: str, text: str, at: int, source: SourceFile) -> _Finding:
    if _TWICE.fullmatch(said):
        return _twice(text, at, source)
    if (closed := _CLOSED.fullmatch(said)) is not None:
        return _closed(closed[1], text, at, source)
    match said:
        case "Invalid value":
            return _value(text, at)
        case "Expected newline or end of document after a statement":
            return _after_statement(text, at)
        case "Expected '=' after a key in a key/value pair":
            return _no_equals(text, at)
        case "Unclosed array":
            return _unclosed(text, at, "array", "[", "]")
        case "Unclosed inline table":
            return _unclosed(text, at, "inline table", "{", "}")
        case "Unterminated string" | 'Expected "\'"' | "Expected \"'''\"" | "Illegal character '\\n'":
            return _open_string(text, at)
        case "Invalid statement" | "Invalid initial character for a key part":
            return _no_key(text, at)
        case "Unescaped '\\\\' in a string" | "Invalid hex value":
            label = "write two backslashes, or use a 'literal string' in single quotes"
            if said == "Invalid hex value" and _hex_follows(text, at):
                label = r"after \x come 2 hexadecimal digits, after \u 4, after \U 8"
            return _Finding("a backslash in a string begins no known escape", max(at - 2, 0), at, label)
        case "Escaped character is not a Unicode scalar value":
            return _Finding("this escape is half of a surrogate pair, not a character", _escape(text, at), at)
        case "Expected ']' at the end of a table declaration" | "Expected ']]' at the end of an array declaration":
            return _header(text, at)
        case "Invalid date or datetime":
            return _Finding("there is no such date or time", *_word(text, at))
    if said.startswith(("Found invalid character", "Illegal character")):
        return _character(text, at)
    return _Finding(said[:1].lower() + said[1:], at, at + 1)


def _hex_follows(text: str, at: int) -> bool:
    return text[at : at + 1].isascii() and text[at : at + 1].isalnum() and text[at] in "0123456789abcdefABCDEF"


def _value(text: str, at: int) -> _Finding:
    """After `=`, `[` or a comma there is something that is no value."""
    if _begins_statement(text, at):
        return _unclosed(text, at, "array", "[", "]")
    start, end = _word(text, at)
    word = text[start:end]
    if not word:
        return _Finding("a value is missing", at, at + 1, "after `=` comes a value")
    if word[0] in _CURLY:
        return _Finding(f"the quote {word[0]} is not one of TOML's", at, at + 1, "use the straight quotes \" or '")
    if word in _NOTHING:
        return _Finding(f"`{word}` is no value", start, end, "leave the key out")
    if word in _WORDS:
        return _Finding(f"`{word}` is no value", start, end, f"did you mean `{_WORDS[word]}`?")
    if word[0].isdigit() or word[0] in "+-.":
        return _Finding(f"`{word}` is no number", start, end, f'a string needs quotes: "{word}"')
    if text[:start].rstrip()[-1:] in {"[", ","}:  # an element: up to the next comma
        line = text[start : _line_end(text, start)].partition(",")[0].partition("]")[0].rstrip()
    else:
        line = text[start : _line_end(text, start)].partition("#")[0].rstrip(" \t,]}")
    return _Finding("a string needs quotes", start, start + len(line), f'write "{line}"' if '"' not in line else "")


def _after_statement(text: str, at: int) -> _Finding:
    """A value is complete, and more follows on its line."""
    line_start = text.rfind("\n", 0, at) + 1
    before = text[line_start:at]
    end = _word(text, at)[1]
    match = re.search(r"=[ \t]*([^\s\"'=\[\]{}]+)$", before)
    if match is not None:
        whole = match[1] + text[at:end]
        begin = line_start + match.start(1)
        if not before.endswith((" ", "\t")):
            return _Finding(f"`{whole}` is no value", begin, end, f'a string needs quotes: "{whole}"')
    if text[at] == ",":
        return _Finding("a comma after a value", at, at + 1, "remove it: each key has a line of its own")
    if before.lstrip().startswith("["):
        return _Finding("a table's header is followed by something", at, end, "it needs a line of its own")
    return _Finding("a value is followed by something", at, max(end, at + 1), "each key needs a line of its own")


def _no_equals(text: str, at: int) -> _Finding:
    start, _ = _word(text, text.rfind("\n", 0, max(at, 1)) + 1)
    if text[at : at + 1] == ":":
        return _Finding("a key is followed by `:`", at, at + 1, "use `=`")
    line = text[start : _line_end(text, start)].strip()
    key = line.split("=")[0].strip()
    if "=" in line and " " in key:
        return _Finding(f"`{key}` is no key", start, start + len(key), f'a key with spaces needs quotes: "{key}"')
    return _Finding("a key without a value", at, at + 1, "after a key comes `=` and a value")


def _unclosed(text: str, at: int, what: str, opening: str, closing: str) -> _Finding:
    """Between two elements there is no comma, or the end never comes."""
    starts_anew = _begins_statement(text, at)
    start = _innermost(text, text.rfind("\n", 0, at) + 1 if starts_anew else at, opening)
    line = text.count("\n", 0, start) + 1
    at = min(at, len(text))
    char = text[at : at + 1]
    if not char or starts_anew:
        return _Finding(f"this {what} is never closed", start, start + 1, f"add `{closing}`")
    last = text[:at].rstrip()
    note = (f"note: the {what} begins on line {line}",)
    if char in "]})":
        return _Finding(f"`{char}` does not close this {what}", at, at + 1, f"use `{closing}`", note)
    if char == ":" and what == "inline table":
        return _Finding("a key is followed by `:`", at, at + 1, "use `=`", note)
    if last and last[-1].isalnum() and at == len(last) and not char.isspace():
        start, end = _word(text, at)
        return _Finding("a string needs quotes", start, max(end, at + 1), "", note)
    return _Finding(f"two elements of an {what} without a comma between", at, at + 1, "add a comma before this", note)


def _begins_statement(text: str, at: int) -> bool:
    """Whether a line that looks like `key = ...` or `[table]` begins here: the end of what is open was forgotten."""
    line_start = text.rfind("\n", 0, at) + 1
    line = text[line_start : _line_end(text, at)]
    first = not text[line_start:at].strip(" \t[")
    return first and re.match(r"\s*(?:[\w.-]+\s*=|\[\[?[\w.\"' -]+\]\]?\s*(?:#.*)?$)", line) is not None


def _innermost(text: str, at: int, opening: str) -> int:
    """Where the bracket stands that is open at ``at``; quotes and comments are skipped as well as may be."""
    stack = []
    for match in re.finditer(
        r"\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|#.*|[\[{}\]]", text
    ):
        if match.start() >= at:
            break
        if match[0] in {"[", "{"}:
            stack.append(match.start())
        elif match[0] in {"]", "}"} and stack:
            stack.pop()
    for start in reversed(stack):
        if text[start] == opening:
            return start
    return max(text.rfind(opening, 0, at), 0)


def _open_string(text: str, at: int) -> _Finding:
    """A string has no end. One of a single line ends at its line's end; one of many at the file's."""
    many = max(text.rfind('"""', 0, at), text.rfind("'''", 0, at))
    line_start = text.rfind("\n", 0, at) + 1
    if text[at : at + 1] != "\n" and many >= 0 and text.count(text[many : many + 3], 0, at) % 2:
        return _Finding("this string is never closed", many, many + 3, f"add {text[many : many + 3]}")
    if at == len(text) and "\n" in text[line_start - 1 : at] and not text[line_start:at]:
        line_start = text.rfind("\n", 0, line_start - 1) + 1
    start, quote = _open_quote(text, at)
    end = _line_end(text, start)
    label = f"add {quote} at its end, or use {quote * 3} for several lines"
    return _Finding("this string has no end on its line", start, end, label)


def _open_quote(text: str, at: int) -> tuple[int, str]:
    """Where the quote stands that is still open at ``at``."""
    start, quote = at, '"'
    pattern = r"\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|#.*|[\"']"
    for match in re.finditer(pattern, text):
        if match.start() >= at:
            break
        if match[0] in {'"', "'"}:
            return match.start(), match[0]
    return start, quote


def _no_key(text: str, at: int) -> _Finding:
    start, end = _word(text, at)
    char = text[at : at + 1]
    if char in _CURLY:
        return _Finding(f"the quote {char} is not one of TOML's", at, at + 1, "use the straight quotes \" or '")
    if char == "=":
        return _Finding("a key is missing before `=`", at, at + 1)
    if text.startswith(("//", "--", ";", "/*"), at):
        return _Finding("this is neither a key nor a table", at, max(end, at + 1), "a comment begins with `#`")
    if char in {"", "\n", "]", "."}:
        return _Finding("a key is missing", at, at + 1)
    if ord(char) > 127:
        label = 'bare keys are letters a to z, digits, `-` and `_`; others need quotes: "..."'
        return _Finding(f"the key has the character `{char}`", at, at + 1, label)
    return _Finding("this is neither a key nor a table", start, max(end, at + 1))


def _header(text: str, at: int) -> _Finding:
    start = text.rfind("\n", 0, at) + 1
    end = _line_end(text, at)
    name = text[start:end].strip().strip("[]").strip()
    two = text[start:].lstrip().startswith("[[")
    closing = "]]" if two else "]"
    if " " in name or ":" in name or "/" in name:
        return _Finding("a table's name has characters that need quotes", start, end, 'such as [tasks."a name"]')
    return _Finding("a table's header is not closed", start, end, f"add `{closing}`")


def _character(text: str, at: int) -> _Finding:
    code = ord(text[at]) if at < len(text) else 0
    if code == 13:
        return _Finding("a carriage return without a line feed", at, at + 1, "save the file with line ends of Unix")
    return _Finding(f"the control character U+{code:04X} is not allowed here", at, at + 1, rf"write \u{code:04x}")


def _escape(text: str, at: int) -> int:
    start = text.rfind("\\", 0, at)
    return max(start, 0)


def _twice(text: str, at: int, source: SourceFile) -> _Finding:
    """The second of two definitions. tomli's place is its end, so both are looked for."""
    places = locate(text[: _line_end(text, at)])
    if not places.again:
        return _Finding("something is defined here a second time", at, at + 1)
    path, (start, end) = places.again[0]
    message = f"{_named(path, source)} is defined twice"
    return _Finding(message, start, end, "remove one of them", _first(path, places, source))


def _named(path: Path, source: SourceFile) -> str:
    """A path of the whole file in the words of the project's table."""
    inside = path[: len(source.table)] == source.table
    return describe(path[len(source.table) :] if inside else path)


def _first(path: Path, places: Places, source: SourceFile) -> tuple[str, ...]:
    first = places.keys.get(path)
    if first is None:
        return ()
    span = source.span_at(*first)
    return (f"note: the first is at {source.path}:{span.line}:{span.column}",)


def _closed(key: str, text: str, at: int, source: SourceFile) -> _Finding:
    """Something is added to a table that an earlier statement has finished."""
    path = tuple(part.strip(" '\"") for part in key.split(",") if part.strip())
    start = text.rfind("\n", 0, at) + 1
    end = len(text[: _line_end(text, at)].rstrip())
    message = f"{_named(path, source)} is complete already, and nothing can be added to it here"
    return _Finding(message, start, end, "put it where the rest of it is", _first(path, locate(text[:start]), source))


def _word(text: str, at: int) -> tuple[int, int]:
    match = _WORD.match(text, at)
    return (at, at) if match is None else match.span()


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
