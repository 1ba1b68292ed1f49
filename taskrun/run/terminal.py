"""The terminal and the standard descriptors as they were before the run, and putting them back (P3)."""

from __future__ import annotations

import contextlib
import os
from typing import Any


class Terminal:
    """Remembers termios settings and blocking flags at its making; ``restore`` puts back what was changed."""

    def __init__(self) -> None:
        self._settings: list[tuple[int, list[Any]]] = []
        self._blocking: list[tuple[int, bool]] = []
        for fd in (0, 1, 2):
            with contextlib.suppress(OSError):
                self._blocking.append((fd, os.get_blocking(fd)))
            if os.isatty(fd):
                import termios

                with contextlib.suppress(termios.error):
                    self._settings.append((fd, termios.tcgetattr(fd)))
        self.tty = self._settings[0][0] if self._settings else None

    def restore(self) -> None:
        """Puts settings and blocking flags back; a terminal that is gone is nobody's business any more."""
        for fd, blocking in self._blocking:
            with contextlib.suppress(OSError):
                os.set_blocking(fd, blocking)
        if not self._settings or not self.in_foreground():
            return
        import termios

        for fd, settings in self._settings:
            with contextlib.suppress(termios.error):
                if termios.tcgetattr(fd) != settings:
                    # TCSANOW: draining would wait for ever on a terminal stopped by Ctrl+S.
                    termios.tcsetattr(fd, termios.TCSANOW, settings)

    def in_foreground(self) -> bool:
        """Whether the terminal is ours to write control sequences to; true where there is none."""
        if self.tty is None:
            return True
        try:
            return os.tcgetpgrp(self.tty) == os.getpgrp()
        except OSError:
            return False
