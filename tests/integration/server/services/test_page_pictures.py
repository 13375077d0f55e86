"""A citation's page as a picture: from an upload over the worker's pipeline to the marks on the page."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from support import pdfs
from support.stack import PATIENCE, Stack, open_stack, until

from ingestion.readers.ocr import engine as ocr
from server.services.page_pictures import MAX_WAITING

FACTS = {
    1: "The harbour of Kelmouth has nine cranes.",
    2: "The pilot of Brandt sleeps aboard the tender Wilhelmine.",
    3: "Fog signals are given every forty seconds.",
}


def pdf() -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4)
    for page, fact in FACTS.items():
        canvas.drawString(72, 700, f"Chapter {page} of the port's book.")
        canvas.drawString(72, 660, fact)
        if page == 3:
            for number in range(60):
                canvas.drawString(72, 640 - 10 * number, f"Berth {number} takes ships of {number + 40} metres.")
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


@pytest.fixture(scope="module")
def stack(databases, shared_dir, embedder) -> Iterator[Stack]:
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as made:
        yield made


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "two workers"])
def http(stack: Stack, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    settings = {"SERVER__WORKERS": request.param, "JOBS__WORKER": "always", "LLM__PROVIDER": "extractive"}
    each_connection_anew = httpx.Limits(max_keepalive_connections=0)  # so that any worker may take a request
    with (
        stack.process(program=("-m", "server"), **settings) as process,
        httpx.Client(base_url=process.url, timeout=PATIENCE, limits=each_connection_anew) as client,
    ):
        yield client


def uploaded(http: httpx.Client, name: str, data: bytes, *, collection: str = "default") -> str:
    form = {"collection": collection}
    made = http.post("/documents", files={"file": (name, data)}, data=form).raise_for_status().json()
    done = until(lambda: (job := http.get(f"/jobs/{made['job_id']}").json())["finished_at"] and job)
    assert done["status"] == "succeeded", done
    return str(made["document_id"])


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> str:
    return uploaded(http, "port.pdf", pdf())


def yellow(png: bytes) -> tuple[float, float, int]:
    """Return the top and bottom of what is marked, as fractions of the height, and the number of pixels."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    marked = [
        divmod(place, picture.width)[0]
        for place, (red, green, blue) in enumerate(picture.get_flattened_data())
        if red > 200 and green > 180 and blue < 190 and red - blue > 50
    ]
    return (min(marked) / picture.height, max(marked) / picture.height, len(marked)) if marked else (0.0, 0.0, 0)


@pytest.mark.parametrize("page", FACTS)
def test_what_is_cited_is_marked_on_its_page(http, document, page):
    found = http.post("/retrieve", json={"question": FACTS[page], "k": 1}).json()["results"][0]
    assert (found["page"], found["page_end"]) == (page, page)
    whole = http.get(f"/documents/{document}/text").json()
    assert whole["text"][found["start"] : found["end"]] == found["text"]
    at = whole["text"].index(FACTS[page])
    drawn = http.get(f"/documents/{document}/pages/{page}.png", params={"start": at, "end": at + len(FACTS[page])})
    assert drawn.headers["content-type"] == "image/png"
    top, bottom, pixels = yellow(drawn.content)
    where = (A4[1] - 660) / A4[1]
    assert top - 0.02 < where < bottom + 0.02
    assert bottom - top < 0.04
    assert pixels > 100


def test_a_page_without_marks_is_the_page(http, document):
    drawn = http.get(f"/documents/{document}/pages/2.png")
    assert Image.open(io.BytesIO(drawn.content)).format == "PNG"
    assert yellow(drawn.content)[2] == 0


def test_pages_name_their_part_of_the_text(http, document):
    whole = http.get(f"/documents/{document}/text").json()
    assert [page["page"] for page in whole["pages"]] == [1, 2, 3]
    for page in whole["pages"]:
        assert FACTS[page["page"]] in whole["text"][page["start"] : page["end"]]


def test_there_is_no_page_beyond_the_last_and_none_of_a_text(http, document):
    missing = http.get(f"/documents/{document}/pages/4.png")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/page-not-found")
    assert "3 pages" in missing.json()["detail"]
    note = uploaded(http, "note.md", b"# Note\n\nNo pages here.")
    none = http.get(f"/documents/{note}/pages/1.png")
    assert (none.status_code, none.json()["type"]) == (404, "/problems/page-not-found")
    text = http.get(f"/documents/{note}/text")  # to which the problem points
    assert (text.status_code, text.json()["pages"]) == (200, [])
    assert "No pages here." in text.json()["text"]
    assert http.get(f"/documents/{document}/text", params={"revision": 999}).status_code == 404


needs_ocr = pytest.mark.skipif(not ocr.available(), reason="the extra `ocr` is not installed")


@needs_ocr
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_pictures_are_drawn_with_the_words_marked_that_were_read(http, kind):
    texts = (["The tender's log."], ["Read this, pilot:", f"The lantern of {kind} burns paraffin."])
    images = [pdfs.picture(lines, size=40) for lines in texts][0 if kind == "TIFF" else 1 :]
    more = {"save_all": True, "append_images": images[1:]} if kind == "TIFF" else {}
    log = uploaded(http, f"log.{kind.lower()}", pdfs.encoded(images[0], kind, **more))
    text = http.get(f"/documents/{log}/text").json()
    page = len(images)
    assert [span["page"] for span in text["pages"]] == list(range(1, page + 1))
    start = text["text"].index("burns")
    where = {"start": start, "end": start + len("burns paraffin")}
    drawn = http.get(f"/documents/{log}/pages/{page}.png", params=where)
    assert Image.open(io.BytesIO(drawn.content)).size == (1000, 1415)
    top, bottom, pixels = yellow(drawn.content)
    assert top < (200 + 25) / 1754 < bottom
    assert bottom - top < 0.05
    assert pixels > 1000
    other = http.get(f"/documents/{log}/pages/1.png", params=where if kind == "TIFF" else {})
    assert yellow(other.content)[2] == 0
    assert http.get(f"/documents/{log}/pages/{page + 1}.png").json()["type"] == "/problems/page-not-found"


def test_what_a_long_table_repeats_moves_no_mark(http):
    rows = [["Article", "Weight"], *([f"Buoy {number}", f"{number * 7} kg"] for number in range(1, 90))]
    prices = uploaded(http, "buoys.pdf", pdfs.flowing(pdfs.table(rows, pdfs.grid())))
    whole = http.get(f"/documents/{prices}/text").json()
    first = whole["text"][: whole["pages"][1]["start"]]
    start = first.index("| Buoy 33 | 231 kg |")
    assert first.rindex("| Article | Weight |", 0, start) > 0, "the header is repeated above it"
    where = {"start": start, "end": start + len("| Buoy 33 | 231 kg |")}
    top, bottom, _ = yellow(http.get(f"/documents/{prices}/pages/1.png", params=where).content)
    row = 18 / A4[1]  # what reportlab gives a row
    assert 33 * row < top - 78 / A4[1] < bottom - 78 / A4[1] < 34 * row


async def test_more_drawings_than_may_wait_are_refused_and_the_others_drawn(http, document):
    async with httpx.AsyncClient(base_url=http.base_url, timeout=PATIENCE) as client:
        asked = (client.get(f"/documents/{document}/pages/3.png", params={"start": n, "end": 900}) for n in range(150))
        answers = await asyncio.gather(*asked)
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.json()["type"] for answer in refused} == {"/problems/overloaded"}
    drawn = [answer for answer in answers if answer.status_code == 200]
    assert len(drawn) >= MAX_WAITING
    assert len(drawn) + len(refused) == len(answers)


def test_marks_are_where_the_reader_read_in_the_language_of_the_collection(http):
    """German compounds have no hyphen, others may, and each moves what follows on the page."""
    http.delete("/collections/hafen")  # another server's
    http.post("/collections", json={"name": "hafen", "language": "german"}).raise_for_status()
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4)
    lines = ("Der Sand-", "wall hält den Land-", "wind und den Winter-", "wind ab. Mole vier.")
    for number, line in enumerate(lines):
        canvas.drawString(72, 700 - 14 * number, line)
    canvas.save()
    hyphens = uploaded(http, "wall.pdf", buffer.getvalue(), collection="hafen")
    text = http.get(f"/documents/{hyphens}/text", params={"collection": "hafen"}).json()["text"]
    start = text.index("Mole")
    assert text[:start] == "Der Sandwall hält den Landwind und den Winterwind ab. "
    where = {"collection": "hafen", "start": start, "end": start + 4}
    drawn = http.get(f"/documents/{hyphens}/pages/1.png", params=where)
    picture = Image.open(io.BytesIO(drawn.content)).convert("RGB")
    marked = [
        place % picture.width
        for place, (red, _, blue) in enumerate(picture.get_flattened_data())
        if red > 200 and red - blue > 50
    ]
    left = 72 + stringWidth("wind ab. ", "Helvetica", 12)
    assert abs(min(marked) / picture.width - left / A4[0]) < 0.005
