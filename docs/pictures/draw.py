"""Draws the README's picture from a real run: the example in a real terminal, caught while two transcodes go on.

    python docs/pictures/draw.py

It needs tmux and ffmpeg, and taskrun with rich in the interpreter that runs it. It writes ``run.svg`` beside itself.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
COLUMNS, ROWS = 92, 20
SESSION = "taskrun-picture"


def tmux(*arguments: str) -> str:
    """One tmux command on a server of our own; returns what it prints."""
    result = subprocess.run(["tmux", "-L", SESSION, *arguments], check=True, capture_output=True, text=True)
    return result.stdout


def screen() -> str:
    """The terminal's present screen, with its colours, without the empty lines at its end."""
    return tmux("capture-pane", "-e", "-p", "-t", SESSION).rstrip("\n")


def catch() -> str:
    """Runs the example and returns the screen when two transcodes are well under way."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tasks.example.toml", "docs/examples/media.py"):
            os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
            shutil.copy(os.path.join(ROOT, name), os.path.join(folder, name))
        run = f"{shlex.quote(sys.executable)} -m taskrun run -f tasks.example.toml"
        # The prompt and the command are what a reader would type; the interpreter's path is not.
        line = (
            f"cd {shlex.quote(folder)}; clear; printf '\\033[32m$\\033[0m taskrun run -f tasks.example.toml\\n'; {run}"
        )
        environment = {**os.environ, "PYTHONPATH": ROOT, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        for name in ("CI", "NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        command = ["tmux", "-L", SESSION, "new-session", "-d", "-s", SESSION, *size, "sh", "-c", line]
        subprocess.run(command, check=True, env=environment)
        try:
            deadline = time.monotonic() + 90
            while time.monotonic() < deadline:
                caught = screen()
                plain = re.sub(r"\x1b\[[0-9;]*m", "", caught)
                under_way = re.findall(r"transcode\S*.* (\d+)%", plain)
                if len(under_way) > 1 and min(map(int, under_way)) > 20:
                    return caught
                time.sleep(0.1)
            raise SystemExit(f"no two transcodes were seen at once:\n{screen()}")
        finally:
            tmux("send-keys", "-t", SESSION, "C-c")
            time.sleep(2)
            subprocess.run(["tmux", "-L", SESSION, "kill-server"], check=False, capture_output=True)


def main() -> None:
    """Writes the picture."""
    text = Text.from_ansi(catch())
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(text, no_wrap=True, crop=False)
    path = os.path.join(HERE, "run.svg")
    console.save_svg(path, title="taskrun", theme=DIMMED_MONOKAI)
    sys.stdout.write(f"{os.path.relpath(path)}\n")


if __name__ == "__main__":
    main()
