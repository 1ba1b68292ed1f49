"""The programs under docs/examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "docs/examples"


@pytest.mark.slow
def test_thumbnails_are_made_by_workers_one_by_one_in_a_batch_and_in_a_pool(tmp_path: Path):
    argv = [sys.executable, str(EXAMPLES / "make_thumbnails.py"), str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "000.ppm: 32 x 24",
        "ValueError: broken.ppm is no PPM picture",
        "  100 of 251, 099.ppm",
        "  200 of 251, 199.ppm",
        "  251 of 251, broken.ppm",
        "250 made, 1 failed",
        "  broken.ppm is no PPM picture",
        "the worker has made 251, and failed at 2",
        "broken.ppm failed",
        "250 done, all of {(8, 6)}",
    ]
    assert len(list(tmp_path.glob("batch/*.ppm"))) == 250
    assert (tmp_path / "each/007.ppm").read_bytes().startswith(b"P6 8 6 255\n")
    assert len((tmp_path / "each/007.ppm").read_bytes()) == len(b"P6 8 6 255\n") + 8 * 6 * 3
