"""What the workers do. Each function may run twice for one job, and the second time does no harm."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from PIL import Image, UnidentifiedImageError

PICTURES = Path("pictures")  # beside tasks.toml, where tasks start
THUMBNAILS = Path("thumbnails")


def open_database() -> sqlite3.Connection:
    """A connection of the application's to the database that is the queue as well."""
    database = sqlite3.connect("service.db", timeout=10)
    database.execute("PRAGMA journal_mode = wal")
    database.execute("PRAGMA wal_autocheckpoint = 0")  # workers copy the log back
    return database


def make_thumbnail(picture: int, width: int) -> str:
    made = THUMBNAILS / f"{picture}.png"
    THUMBNAILS.mkdir(exist_ok=True)
    try:
        with Image.open(PICTURES / str(picture)) as image:
            image.thumbnail((width, width))
            size = f"{image.width} x {image.height}"
            half_way = made.with_suffix(f".{os.getpid()}")
            image.save(half_way, format="PNG")
            half_way.replace(made)  # whoever looks sees the old one, or the whole of the new one
    except UnidentifiedImageError:
        size = "no picture"  # trying again would not help: that is a result, and no failure
    with closing(open_database()) as database, database:
        database.execute("UPDATE picture SET thumbnail = ? WHERE id = ?", (size, picture))
    return size


def tidy() -> int:
    with closing(open_database()) as database:
        known = {str(row[0]) for row in database.execute("SELECT id FROM picture")}
    strangers = [path for path in PICTURES.glob("*") if path.name not in known]
    for path in strangers:
        path.unlink(missing_ok=True)
    return len(strangers)
