"""A small web application: who uploads a picture is answered at once, and a worker makes its thumbnail.

python service.py 8000

POST /pictures?name=a.png    the picture as the body -> 202 {"picture": 1, "job": 1}
GET  /pictures/1             {"name": "a.png", "thumbnail": "64 x 48"}; null as long as there is none
GET  /pictures/1/thumbnail   the thumbnail
"""

import json
import sqlite3
import sys
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from images import PICTURES, THUMBNAILS, open_database

from taskrun.jobqueue import enqueue, wake

MOST = 20_000_000  # bytes of a picture


def store(database: sqlite3.Connection, name: str, data: bytes) -> tuple[int, int]:
    """The upload and its job: both are there, or neither."""
    with database:
        picture = database.execute("INSERT INTO picture (name) VALUES (?)", (name,)).lastrowid
        assert picture is not None
        (PICTURES / str(picture)).write_bytes(data)  # before the commit: a worker finds it
        job = enqueue("thumbnail", {"picture": picture}, unique=f"thumbnail {picture}", connection=database)
    wake()
    return picture, job.id


class Pages(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        name = parse_qs(url.query).get("name", [""])[0]
        if url.path != "/pictures" or not name or not 0 < length <= MOST:
            self.answer(400, {"error": "POST /pictures?name=NAME with a picture as the body"})
            return
        with closing(open_database()) as database:
            picture, job = store(database, name, self.rfile.read(length))
        self.answer(202, {"picture": picture, "job": job})

    def do_GET(self) -> None:
        _, first, number, *rest = [*self.path.split("/"), "", ""]
        with closing(open_database()) as database:
            query = "SELECT name, thumbnail FROM picture WHERE id = ?"
            row = database.execute(query, (number,)).fetchone() if first == "pictures" else None
        if row is None:
            self.answer(404, {"error": "there is no such picture"})
        elif rest[0] == "thumbnail" and (THUMBNAILS / f"{number}.png").exists():
            self.send(200, "image/png", (THUMBNAILS / f"{number}.png").read_bytes())
        else:
            self.answer(200, {"name": row[0], "thumbnail": row[1]})

    def answer(self, status: int, value: object) -> None:
        self.send(status, "application/json", json.dumps(value).encode() + b"\n")

    def send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main(port: int) -> None:
    PICTURES.mkdir(exist_ok=True)
    with closing(open_database()) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS picture (id INTEGER PRIMARY KEY, name TEXT, thumbnail TEXT)")
    server = ThreadingHTTPServer(("127.0.0.1", port), Pages)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
