"""The Python side of `tasks.example.toml`: plain functions. taskrun calls each of them in a process of its own.

They run as well without taskrun, from a test or a shell: `taskrun.track` is then an ordinary loop.
"""

from __future__ import annotations

import base64
import html
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - taskrun reads the type hints at run time
from typing import Annotated

import msgspec

import taskrun

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>{title}</title>
<style>
  body {{ font: 16px system-ui, sans-serif; margin: 2rem; background: #14161a; color: #e8e8e8 }}
  h2 {{ font-weight: normal }} img {{ width: {width}%; display: inline-block }} small {{ color: #9a9a9a }}
</style>
<h1>{title}</h1>
{sections}
"""


@dataclass
class Clip:
    """What `probe` finds out and `report` is given. On the way between the two it is JSON."""

    name: str
    path: Path
    seconds: float
    width: int
    height: int
    frames: int


def probe(path: Path) -> Clip:
    """Returns what ffprobe knows about a clip: the result of the task, which other tasks look up.

    Raises:
        taskrun.Fail: There is no picture in it. `Fail` shows its message alone, without a traceback.
    """
    command = ["ffprobe", "-v", "error", "-of", "json", "-count_packets", "-select_streams", "v"]
    command += ["-show_entries", "stream=width,height,nb_read_packets:format=duration", str(path)]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    if not answer["streams"]:
        raise taskrun.Fail(f"{path} has no picture")
    stream = answer["streams"][0]
    return Clip(
        name=path.stem,
        path=path,
        seconds=float(answer["format"]["duration"]),
        width=stream["width"],
        height=stream["height"],
        frames=int(stream["nb_read_packets"]),
    )


def report(
    title: str, clips: list[Clip], folder: Path, columns: Annotated[int, msgspec.Meta(ge=1, le=12)] = 4
) -> dict[str, str | int]:
    """Writes `report.html`: a contact sheet with `columns` stills of every transcoded clip."""
    wanted = [(clip, column) for clip in clips for column in range(columns)]
    stills: dict[str, list[str]] = {clip.name: [] for clip in clips}
    for clip, column in taskrun.track(wanted):  # percent and ETA for whoever watches the run
        moment = clip.seconds * (column + 0.5) / columns
        picture = still(folder / "web" / f"{clip.name}.mp4", moment, folder / "stills" / f"{clip.name}-{column}.jpg")
        data = base64.b64encode(picture.read_bytes()).decode()
        stills[clip.name].append(f'<img src="data:image/jpeg;base64,{data}" alt="{clip.name} at {moment:.1f} s">')
    sections = "\n".join(section(clip, stills[clip.name]) for clip in clips)
    page = folder / "report.html"
    page.write_text(PAGE.format(title=html.escape(title), width=96 // columns, sections=sections), encoding="utf-8")
    print(f"wrote {page}")
    return {"page": str(page), "stills": len(wanted)}


def still(clip: Path, moment: float, picture: Path) -> Path:
    """Writes the picture at a moment, in seconds, of a clip."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-ss", f"{moment:.3f}", "-i", str(clip)]
    command += ["-frames:v", "1", "-vf", "scale=320:-2", "-q:v", "5", str(picture)]
    subprocess.run(command, check=True)
    return picture


def section(clip: Clip, images: list[str]) -> str:
    """One clip's part of the page."""
    facts = f"{clip.seconds:.1f} s, {clip.frames} frames of {clip.width}x{clip.height}"
    return f"<h2>{html.escape(clip.name)} <small>{facts}</small></h2>\n<p>{''.join(images)}</p>"
