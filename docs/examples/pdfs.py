"""A worker for PDF files: writes, merges, and reads their text. `python docs/examples/pdfs.py FOLDER`. Needs pypdf.

Parsers of files that come from anywhere are a good reason for workers: what hangs is ended, what crashes costs one
file, and no memory is kept. The requests, the handlers and the program stand in one file here, which the program names
as the workers' module.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import trio
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ContentStream, DictionaryObject, NameObject

from taskrun.workers import HandlerFailed, Handlers, Request, Timeouts, open_pool

# --- the contract ---


@dataclass(frozen=True)
class Write(Request[Path]):
    """A file with one page for each text."""

    path: Path
    texts: list[str]


@dataclass(frozen=True)
class Merge(Request[int]):
    """All pages of the files in one; how many there are."""

    paths: list[Path]
    target: Path


@dataclass(frozen=True)
class ExtractText(Request[list[str]]):
    """The text of each page."""

    path: Path


# --- the handlers ---

handlers = Handlers()


@handlers.on(Write)
def write(request: Write) -> Path:
    writer = PdfWriter()
    for text in request.texts:
        _add_page(writer, text)
    writer.write(request.path)
    return request.path


@handlers.on(Merge)
def merge(request: Merge) -> int:
    writer = PdfWriter()
    for path in request.paths:
        writer.append(path)
    writer.write(request.target)
    return len(writer.pages)


@handlers.on(ExtractText)
def extract_text(request: ExtractText) -> list[str]:
    return [page.extract_text() for page in PdfReader(request.path).pages]


def _add_page(writer: PdfWriter, text: str) -> None:
    """A page with one line of ASCII; pypdf has no words for text of one's own, but PDF has."""
    page = writer.add_blank_page(width=300, height=100)
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    fonts = DictionaryObject({NameObject("/F1"): _names(font)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    content = ContentStream(None, None)
    content.set_data(f"BT /F1 18 Tf 20 40 Td ({escaped}) Tj ET".encode("ascii"))
    page.replace_contents(content)


def _names(pairs: dict[str, str]) -> DictionaryObject:
    return DictionaryObject({NameObject(key): NameObject(value) for key, value in pairs.items()})


# --- the program ---


async def main(folder: Path) -> None:
    async with open_pool("pdfs:handlers", size=2, timeouts=Timeouts(message=60)) as pool:
        wanted = [Write(folder / f"{name}.pdf", [f"{name}, page {page}" for page in (1, 2)]) for name in ("one", "two")]
        written = [done.result async for done in pool.map(wanted)]

        count = await pool.send(Merge(written, folder / "both.pdf"))
        print(f"both.pdf has {count} pages:")
        for text in await pool.send(ExtractText(folder / "both.pdf")):
            print(f"  {text}")

        try:
            await pool.send(Merge([*written, folder / "broken.pdf"], folder / "all.pdf"))
        except HandlerFailed as failure:  # the others go on
            print(f"not merged: {failure.type_name}")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    (place / "broken.pdf").write_text("not a PDF file")
    trio.run(main, place)
