"""The programs under docs/examples do what they say."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.project import ProjectDir

EXAMPLES = Path(__file__).resolve().parent.parent / "docs/examples"

pytestmark = pytest.mark.slow


def run(name: str, *arguments: object, folder: Path, stderr: str = "") -> list[str]:
    """The lines that an example writes; ``stderr`` is a pattern."""
    argv = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(stderr, done.stderr, re.DOTALL), done.stderr
    return done.stdout.splitlines()


def test_thumbnails_are_made_by_workers_one_by_one_in_a_batch_and_in_a_pool(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    assert run("make_thumbnails.py", tmp_path, folder=tmp_path) == [
        "000.png: 32 x 24",
        "broken.png: UnidentifiedImageError",
        "  100 of 251, 099.png",
        "  200 of 251, 199.png",
        "  251 of 251, broken.png",
        "250 made, 1 failed",
        "  broken.png: UnidentifiedImageError",
        "the worker has made 251, and failed at 2",
        "broken.png failed",
        "250 done, all of {(8, 6)}",
        "`BatchProcess` timed out after 0.001 s",
        "the worker in its place has made 0",
    ]
    assert len(list(tmp_path.glob("batch/*.png"))) == 250
    with image.open(tmp_path / "each/007.png") as picture:
        assert picture.size == (8, 6)


def test_pdf_files_are_merged_and_their_text_is_read(tmp_path: Path):
    pypdf = pytest.importorskip("pypdf")
    assert run("pdfs.py", tmp_path, folder=tmp_path, stderr=".*") == [
        "both.pdf has 4 pages:",
        "  one, page 1",
        "  one, page 2",
        "  two, page 1",
        "  two, page 2",
        "not merged: PdfStreamError",
    ]
    assert len(pypdf.PdfReader(tmp_path / "both.pdf").pages) == 4
    assert not (tmp_path / "all.pdf").exists()


def test_a_pool_computes_what_one_process_does(tmp_path: Path):
    alone, together, ratio = run("fib.py", 12, 20, folder=tmp_path)
    assert re.fullmatch(r"one process: \d+\.\d\d s", alone)
    assert re.fullmatch(r"the pool: \d+\.\d\d s", together)
    assert re.fullmatch(r"\d+\.\d\d times as fast, the same numbers", ratio)


def test_a_handler_says_every_100_items_how_far_it_is(tmp_path: Path):
    assert run("progress.py", 450, folder=tmp_path) == [
        "[####                ] 100 of 450, 4950 so far",
        "[#########           ] 200 of 450, 19900 so far",
        "[#############       ] 300 of 450, 44850 so far",
        "[##################  ] 400 of 450, 79800 so far",
        "[####################] 450 of 450, 101025 so far",
        "in all 101025",
    ]


@pytest.mark.skipif(not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="no ffmpeg here")
def test_ffmpeg_says_how_far_it_is_and_ends_with_its_request(tmp_path: Path):
    lines = run("transcode.py", tmp_path, 1, folder=tmp_path)
    told = [line for line in lines if not line.startswith("  clip.mkv: ")]
    assert sorted(told[:2]) == ["32.mkv has 60.0 s", "64.mkv has 60.0 s"]
    assert told[2:] == [
        "`Transcode` timed out after 1 s",
        "  ffmpeg is gone, 0 files are left of it",
        "cancelled",
        "  ffmpeg is gone, 0 files are left of it",
    ]
    done = [float(each) for each in re.findall(r"clip\.mkv: ([\d.]+) of 60\.0 s", "\n".join(lines))]
    assert any(0 < each < 60 for each in done)
    assert max(done) > 59
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mkv", "32.mkv", "64.mkv"}


def test_a_worker_is_stopped_by_a_message_by_being_asked_and_by_force(tmp_path: Path):
    lines = run("stopping.py", folder=tmp_path, stderr=r".*stopping\.py\", line \d+ in work\n.*")
    first = lines.index("by being asked, after 0.1 s")
    assert lines[0] == "by a message: what is in work is finished"
    assert sorted(lines[1:first]) == ["  result: done", "  the worker leaves its state"]  # both write at that moment
    assert lines[first + 1 :] == [
        "  the handler is asked to stop",
        "  the worker leaves its state",
        "  no result: the pool was closed before it was carried out",
        "by force, since it does not obey within 0.3 s",
        "  the handler is asked to stop",
        "  no result: the pool was closed before it was carried out",
        "all are gone",
    ]


def test_two_workers_make_the_thumbnails_of_a_web_application(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    with ProjectDir(tmp_path) as project:
        _serve_pictures(project, image)


def _serve_pictures(project: ProjectDir, image) -> None:
    for path in (EXAMPLES / "image_service").iterdir():
        if path.is_file():
            project.write(path.name, path.read_bytes())
    project.taskrun("check").succeeds()
    service = project.launch(sys.executable, "service.py", "0")
    address = service.wait_for("\n").stdout.strip()
    workers = [project.start("worker", "-j", "2", "--output", "none") for _ in range(2)]
    for number in range(1, 9):
        data = io.BytesIO()
        image.new("RGB", (80, 60), (number, 100, 200)).save(data, "PNG")
        assert fetch(f"{address}/pictures?name={number}.png", data.getvalue()) == {"picture": number, "job": number}
    assert fetch(f"{address}/pictures?name=broken.png", b"not a picture") == {"picture": 9, "job": 9}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        fetch(f"{address}/pictures", b"no name")

    deadline = time.monotonic() + 60
    while any(fetch(f"{address}/pictures/{number}")["thumbnail"] is None for number in range(1, 10)):
        assert time.monotonic() < deadline, project.taskrun("jobs", "list").stdout
        time.sleep(0.02)
    assert fetch(f"{address}/pictures/3") == {"name": "3.png", "thumbnail": "64 x 48"}
    assert fetch(f"{address}/pictures/9") == {"name": "broken.png", "thumbnail": "no picture"}
    with urllib.request.urlopen(f"{address}/pictures/8/thumbnail", timeout=20) as answer, image.open(answer) as picture:
        assert (picture.size, picture.getpixel((0, 0))) == ((64, 48), (8, 100, 200))

    for worker in workers:
        worker.signal(signal.SIGTERM)
    for worker in workers:
        worker.finish().succeeds()
    service.kill()
    jobs = project.taskrun("jobs", "list", "--json").succeeds().json()
    assert [(job["id"], job["state"], job["args"]) for job in jobs] == [
        (number, "done", {"picture": number}) for number in range(9, 0, -1)
    ]
    project.expect_nothing_left()


def fetch(url: str, data: bytes | None = None):
    with urllib.request.urlopen(url, data, timeout=20) as answer:
        return json.load(answer)


def test_the_readme_of_the_examples_names_them_all():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+\.py)\)", page)) == {path.name for path in EXAMPLES.glob("*.py")}


def test_pyright_finds_nothing_in_the_examples(tmp_path: Path):
    """mypy reads them with the rest; see ``files`` in pyproject.toml."""
    for module in ("pyright", "PIL", "pypdf"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"no {module} here")
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True, ignore=lambda folder, _names: {"__pycache__"})
    settings = {
        "extraPaths": [str(EXAMPLES.parent.parent)],
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    argv = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        pytest.skip(f"pyright does not run here: {done.stderr[-200:]}")  # it fetches a Node of its own
    assert found["summary"]["filesAnalyzed"] == len(list(EXAMPLES.rglob("*.py")))
    assert found["generalDiagnostics"] == []
