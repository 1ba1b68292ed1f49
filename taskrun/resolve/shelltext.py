"""Finds out in which part of a shell's grammar each look-up of a command line stands. Never expands anything.

A value must reach a shell as one word and never as text. That holds where a word is read outside all quotes, and
there alone, so that every other place is named, and the place is refused. Where the scanner and a shell disagree the
worst is a word that is split: values travel in the environment, and what is put in is always ``"$NAME"``.
"""

from __future__ import annotations

import os.path
import re

MARK = "\0"
"""Stands for a look-up in the text that is scanned."""

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "ksh93", "mksh", "zsh", "yash"})
_OPENS_COMMAND = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "{", "time"})
_WORD = re.compile(r"[A-Za-z!{}]+(?=[\s;&|()<>]|\Z)")
_SEPARATORS = " \t\n;&|()<>"
_COMMANDS, _SUBSHELL, _BACKQUOTES = "$(", "(", "`"
_QUOTED, _BRACES, _ARITHMETIC, _BRACKETS = '"', "${", "((", "$["
_READ_AS_COMMANDS = frozenset({_COMMANDS, _SUBSHELL, _BACKQUOTES})


def is_known_shell(argv: tuple[str, ...]) -> bool:
    """Whether ``argv`` starts a shell whose words and quotes are those of POSIX."""
    names = [os.path.basename(word) for word in argv[:2]]
    if names[0] in ("env", "busybox"):
        names = names[1:]
    return bool(names) and names[0] in _SHELLS


def places(text: str) -> list[str]:
    """Return for each ``MARK`` in a command line where it stands: nothing for a plain word, else its name."""
    scanner = _Scanner(text)
    scanner.run()
    return scanner.found


def stands_alone(text: str, at: int) -> bool:
    """Whether the ``MARK`` at an index is a word by itself, so that several words can take its place."""
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    return (not before or before in _SEPARATORS) and (not after or after in _SEPARATORS)


class _Frame:
    """One level of nesting: what it is, and what of it is open."""

    __slots__ = ("cases", "kind", "open")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.open = 0  # parentheses within arithmetic
        self.cases = 0  # `case` without `esac`: their patterns end in unmatched parentheses


class _Scanner:
    """One pass over a command line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: list[str] = []
        self._frames = [_Frame(_COMMANDS)]
        self._documents: list[tuple[str, bool]] = []  # here-documents that begin at the next line
        self._in_word = False
        self._command_may_start = True

    def run(self) -> None:
        """Scan to the end."""
        steps = {
            _COMMANDS: self._in_commands,
            _SUBSHELL: self._in_commands,
            _BACKQUOTES: self._in_commands,
            _QUOTED: self._in_quotes,
            _BRACES: self._in_braces,
            _ARITHMETIC: self._in_arithmetic,
            _BRACKETS: self._in_arithmetic,
        }
        while self.at < len(self.text):
            frame = self._frames[-1]
            steps[frame.kind](frame, self.text[self.at])

    # --- what all levels share

    def _push(self, kind: str, length: int) -> None:
        self._frames.append(_Frame(kind))
        self.at += length
        self._in_word = False
        self._command_may_start = True

    def _pop(self) -> None:
        if len(self._frames) > 1:
            self._frames.pop()
        self.at += 1
        self._in_word = True
        self._command_may_start = False

    def _record(self, place: str) -> None:
        inside_backquotes = any(frame.kind == _BACKQUOTES for frame in self._frames)
        self.found.append("backquotes" if inside_backquotes else place)

    def _record_all(self, start: int, end: int, place: str) -> None:
        for _ in range(self.text.count(MARK, start, end)):
            self._record(place)

    def _skip_to(self, end: int, place: str) -> None:
        """Go to ``end``; look-ups on the way stand in ``place``."""
        self._record_all(self.at, end, place)
        self.at = end

    def _escape(self, place: str) -> None:
        if self.text.startswith("\n", self.at + 1):
            self.at += 2  # a line that goes on: as if it were not there
            return
        if self.text.startswith(MARK, self.at + 1):
            self._record(place)
        self.at += 2
        self._in_word = True
        self._command_may_start = False

    def _dollar(self, frame: _Frame) -> None:
        """Read ``$`` and what it opens."""
        rest = self.text[self.at + 1 : self.at + 3]
        if rest == "((":
            self._push(_ARITHMETIC, 3)
            self._frames[-1].open = 2
        elif rest.startswith("("):
            self._push(_COMMANDS, 2)
        elif rest.startswith("{"):
            self._push(_BRACES, 2)
        elif rest.startswith("["):
            self._push(_BRACKETS, 2)
            self._frames[-1].open = 1
        elif rest.startswith("'") and frame.kind in _READ_AS_COMMANDS:
            self._ansi_quotes()
        elif rest.startswith(MARK) and frame.kind in _READ_AS_COMMANDS:
            self._record("a word after `$`")
            self.at += 2
            self._in_word = True
        else:
            self.at += 1
            self._in_word = True

    def _ansi_quotes(self) -> None:
        end = self.at + 2
        while end < len(self.text) and self.text[end] != "'":
            end += 2 if self.text[end] == "\\" else 1
        self._skip_to(min(end + 1, len(self.text)), "single quotes")
        self._in_word = True

    def _single_quotes(self) -> None:
        end = self.text.find("'", self.at + 1)
        self._skip_to(len(self.text) if end < 0 else end + 1, "single quotes")
        self._in_word = True

    # --- commands

    def _in_commands(self, frame: _Frame, char: str) -> None:
        match char:
            case "\\":
                self._escape("a word after a backslash")
            case "'":
                self._single_quotes()
            case '"':
                self._push(_QUOTED, 1)
            case "`":
                if frame.kind == _BACKQUOTES:
                    self._pop()
                else:
                    self._push(_BACKQUOTES, 1)
            case "$":
                self._dollar(frame)
                return
            case "(":
                self._parenthesis()
                return
            case ")":
                self._closing_parenthesis(frame)
                return
            case "#" if not self._in_word:
                end = self.text.find("\n", self.at)
                self._skip_to(len(self.text) if end < 0 else end, "a comment")
                return
            case "\n":
                self._line_end()
                return
            case "<" if self.text.startswith("<<", self.at) and not self.text.startswith("<<<", self.at):
                self._here_document()
                return
            case _:
                self._plain(frame, char)
                return
        if char == "'":
            self._command_may_start = False

    def _plain(self, frame: _Frame, char: str) -> None:
        if char in " \t":
            self._in_word = False
        elif char in ";&|":
            self._in_word = False
            self._command_may_start = True
        elif char in "<>":
            self._in_word = False
            if self.text.startswith("<<<", self.at):
                self.at += 2
        elif not self._in_word and (word := _WORD.match(self.text, self.at)):
            self._keyword(frame, word[0])
            return
        else:
            if char == MARK:
                self._record("")
            self._in_word = True
            self._command_may_start = False
        self.at += 1

    def _keyword(self, frame: _Frame, word: str) -> None:
        self.at += len(word)
        self._in_word = True
        starts = self._command_may_start
        self._command_may_start = starts and word in _OPENS_COMMAND
        if word == "case" and starts:
            frame.cases += 1
        elif frame.cases and word == "in":
            self._command_may_start = True  # `esac` may follow at once
        elif frame.cases and word == "esac" and starts:
            frame.cases -= 1

    def _parenthesis(self) -> None:
        if self._command_may_start and not self._in_word and self.text.startswith("((", self.at):
            self._push(_ARITHMETIC, 2)
            self._frames[-1].open = 2
        else:
            self._push(_SUBSHELL, 1)

    def _closing_parenthesis(self, frame: _Frame) -> None:
        if frame.cases:
            self.at += 1
            self._in_word = False
            self._command_may_start = True
            return
        if frame.kind == _BACKQUOTES:
            self.at += 1
            return
        self._pop()
        self._command_may_start = frame.kind == _SUBSHELL  # the body of a function may follow

    def _line_end(self) -> None:
        self.at += 1
        self._in_word = False
        self._command_may_start = True
        for delimiter, strips_tabs in self._documents:
            self._body(delimiter, strips_tabs=strips_tabs)
        self._documents.clear()

    def _here_document(self) -> None:
        """Read ``<<`` and its delimiter; the body follows at the next line."""
        self.at += 2
        strips_tabs = self.text.startswith("-", self.at)
        if strips_tabs:
            self.at += 1
        while self.text.startswith((" ", "\t"), self.at):
            self.at += 1
        delimiter = ""
        while self.at < len(self.text) and self.text[self.at] not in _SEPARATORS:
            char = self.text[self.at]
            if char == MARK:
                self._record("a here-document")
            elif char in "'\"":
                end = self.text.find(char, self.at + 1)
                end = len(self.text) if end < 0 else end
                delimiter += self.text[self.at + 1 : end]
                self._record_all(self.at, end, "a here-document")
                self.at = end
            elif char == "\\":
                self.at += 1
                delimiter += self.text[self.at : self.at + 1]
            else:
                delimiter += char
            self.at += 1
        self._documents.append((delimiter, strips_tabs))
        self._in_word = True

    def _body(self, delimiter: str, *, strips_tabs: bool) -> None:
        while self.at < len(self.text):
            end = self.text.find("\n", self.at)
            end = len(self.text) if end < 0 else end
            line = self.text[self.at : end]
            self._skip_to(min(end + 1, len(self.text)), "a here-document")
            if (line.lstrip("\t") if strips_tabs else line) == delimiter:
                return

    # --- within double quotes, ${...} and arithmetic

    def _in_quotes(self, frame: _Frame, char: str) -> None:
        match char:
            case "\\":
                self._escape("double quotes")
            case '"':
                self._pop()
            case "`":
                self._push(_BACKQUOTES, 1)
            case "$":
                self._dollar(frame)
            case _:
                if char == MARK:
                    self._record("double quotes")
                self.at += 1

    def _in_braces(self, frame: _Frame, char: str) -> None:
        match char:
            case "\\":
                self._escape("`${...}`")
            case "}":
                self._pop()
            case "'" if not self._is_within_double_quotes():
                self._single_quotes()
            case '"':
                self._push(_QUOTED, 1)
            case "`":
                self._push(_BACKQUOTES, 1)
            case "$":
                self._dollar(frame)
            case _:
                if char == MARK:
                    self._record("`${...}`")
                self.at += 1

    def _is_within_double_quotes(self) -> bool:
        """Whether the innermost quotes around a ``${...}`` are double ones: a single quote is then a letter."""
        for frame in reversed(self._frames):
            if frame.kind == _QUOTED:
                return True
            if frame.kind in _READ_AS_COMMANDS:
                return False
        return False

    def _in_arithmetic(self, frame: _Frame, char: str) -> None:
        opening, closing = ("[", "]") if frame.kind == _BRACKETS else ("(", ")")
        if char == closing:
            frame.open -= 1
            if frame.open <= 0:
                self._pop()
                return
        elif char == opening:
            frame.open += 1
        elif char == "$":
            self._dollar(frame)
            return
        elif char == "`":
            self._push(_BACKQUOTES, 1)
            return
        elif char == "\\":
            self._escape("arithmetic")
            return
        elif char == MARK:
            self._record("arithmetic")
        self.at += 1
