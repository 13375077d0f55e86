"""Uploads that mean harm, or come from broken clients: each gets a problem, leaves nothing, and memory stays flat."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from support.scripted import Logged, Make, Serve, Served, scripted_app
from support.stack import Stack, open_stack, until

from server.uploads.multipart import Uploads

BOUNDARY = b"frontier"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
MIB = 1 << 20


def part(data: bytes, *, name: str = "file", filename: str | None = "a.txt", headers: bytes = b"") -> bytes:
    """Return a part with its boundary before it."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    head = b"Content-Disposition: " + disposition.encode() + b"\r\n" + headers
    return b"--" + BOUNDARY + b"\r\n" + head + b"\r\n" + data + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def post(server: Served, content: Any, **options: Any) -> httpx.Response:
    return httpx.post(server.url + "/documents", content=content, headers=FORM, timeout=30, **options)


def sent(server: Served, data: bytes, name: str, content_type: str = "text/plain", **fields: str) -> httpx.Response:
    """Send a file as a well-behaved client does."""
    files = {"file": (name, data, content_type)}
    return httpx.post(server.url + "/documents", files=files, data=fields, timeout=30)


def refused(response: httpx.Response, status: int, slug: str, field: str | None = None) -> str:
    assert response.status_code == status, response.text
    problem = response.json()
    assert (problem["type"], problem["status"]) == (f"/problems/{slug}", status)
    if field is not None:
        assert [error["field"] for error in problem["errors"]] == [field]
    return str(problem["detail"])


@pytest.fixture(scope="module")
def stack(databases, shared_dir, embedder) -> Iterator[Stack]:
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as made:
        yield made


def endless(size: int, *, taken: list[int]) -> Iterator[bytes]:
    """Give a form with a file of `size` bytes, made as it goes; count what was taken of it."""
    piece = os.urandom(MIB)
    yield part(b"", filename="big.txt").removesuffix(b"\r\n")
    for _ in range(size // MIB):
        taken[0] += MIB
        yield piece
    yield b"\r\n" + body()


def test_a_body_of_five_gigabytes_is_refused_unread_and_memory_stays_flat(stack: Stack) -> None:
    with stack.process(INGESTION__MAX_FILE_BYTES=str(20 * MIB)) as server:
        process = psutil.Process(server.popen.pid)
        small = {"file": ("a.txt", b"text")}
        assert httpx.post(server.url + "/documents", files=small, timeout=30).status_code == 202
        before = process.memory_info().rss
        most = [before]
        stop = threading.Event()

        def measure() -> None:
            while not stop.wait(0.01):
                most[0] = max(most[0], process.memory_info().rss)

        measuring = threading.Thread(target=measure)
        measuring.start()
        try:
            for length in (None, 5 << 30):
                taken = [0]
                headers = FORM | ({"Content-Length": str(length)} if length else {})
                response = httpx.post(
                    server.url + "/documents", content=endless(5 << 30, taken=taken), headers=headers, timeout=60
                )
                refused(response, 413, "too-large")
                assert taken[0] < 100 * MIB
            data = os.urandom(15 * MIB)
            with ThreadPoolExecutor(6) as pool:  # files that are allowed, at once
                answers = pool.map(
                    lambda n: httpx.post(
                        server.url + "/documents", files={"file": (f"{n}.txt", bytes([n]) + data)}, timeout=60
                    ),
                    range(6),
                )
                assert [answer.status_code for answer in answers] == [202] * 6
        finally:
            stop.set()
            measuring.join()
        assert most[0] - before < 80 * MIB
        assert list((stack.data_dir / "uploads").iterdir()) == []


def test_a_file_may_have_exactly_as_many_bytes_as_the_setting_says(scripted: Make, serve: Serve) -> None:
    made = scripted(max_file_bytes=100_000)
    with serve(made.app) as server:
        for size, status in ((100_000, 202), (100_001, 413)):
            whole = body(part(b"x" * size))
            pieces = iter([whole[:50_000], whole[50_000:]])
            for content in (whole, pieces):
                assert post(server, content).status_code == status
    assert [new.content.size for new in made.runtime.documents.brought] == [100_000, 100_000]  # type: ignore[union-attr]


def test_the_connection_is_closed_behind_an_early_answer(scripted: Make, serve: Serve) -> None:
    with serve(scripted(max_file_bytes=1000).app) as server:
        response = post(server, endless(50 * MIB, taken=[0]))
    refused(response, 413, "too-large")
    assert response.headers["connection"] == "close"


def test_an_announced_length_that_is_too_much_is_refused_unread(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(
            b"POST /documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Expect: 100-continue\r\nContent-Length: 5368709120\r\n\r\n"
        )
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer


def test_a_length_shorter_than_the_body_is_a_400(scripted: Make, serve: Serve) -> None:
    made = scripted()
    whole = body(part(b"text"))
    with serve(made.app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        head = f"POST /documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['Content-Type']}\r\n"
        sock.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % (len(whole) - 20) + whole)
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400")
    assert made.runtime.documents.brought == []


def test_a_json_body_keeps_the_bound_of_json_bodies(scripted: Make, serve: Serve) -> None:
    with serve(scripted(max_body_bytes=2000).app) as server:
        response = httpx.post(server.url + "/documents", json={"url": "https://example.org/" + "x" * 3000})
        refused(response, 413, "too-large")


@pytest.mark.parametrize("held", ["nothing", "half", "file"])
def test_a_client_that_leaves_in_the_middle_leaves_nothing(stack: Stack, logged: Logged, held: str) -> None:
    data = uuid4().bytes.hex().encode() * 100_000
    whole = body(part(data, filename="left.txt"))
    cut = {"nothing": 0, "half": len(whole) // 2, "file": len(whole) - 3}[held]
    jobs = "SELECT count(*) FROM footnote.jobs"
    ((before,),) = stack.rows(jobs)
    with stack.serve(server={"max_uploads": 1}) as http:
        port = http.served.port
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            head = f"POST /documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['Content-Type']}\r\n"
            sock.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(whole) + whole[:cut])
            time.sleep(0.3)
        until(
            lambda: http.post("/documents", files={"file": ("a.txt", b"text")}).status_code == 202
        )  # its place is free
    ((after,),) = stack.rows(jobs)
    assert after == before + 1
    digest = hashlib.sha256(data).hexdigest()
    assert stack.rows("SELECT 1 FROM footnote.originals WHERE content_hash = %s", digest) == []
    assert list((stack.data_dir / "uploads").iterdir()) == []
    assert 499 in [line["status"] for line in logged() if line["event"] == "request"]
    assert [line for line in logged() if line["level"] in {"warning", "error"}] == []


def test_the_bytes_and_the_job_are_kept_both_or_neither(stack: Stack) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    data = uuid4().bytes.hex().encode()
    with stack.serve() as http:
        assert http.post("/documents", files={"file": ("a.txt", b"first")}, headers=key).status_code == 202
        # the job is refused behind the bytes
        refused(http.post("/documents", files={"file": ("a.txt", data)}, headers=key), 422, "invalid-request")
    digest = hashlib.sha256(data).hexdigest()
    assert stack.rows("SELECT 1 FROM footnote.originals WHERE content_hash = %s", digest) == []


def test_a_client_that_falls_silent_is_given_up(scripted: Make, serve: Serve) -> None:
    made = scripted(upload_idle_timeout=0.3)
    with serve(made.app) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        head = f"POST /documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['Content-Type']}\r\n"
        sock.sendall(head.encode() + b"Content-Length: 1000\r\n\r\n--fron")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))  # head and body may come apart
    assert answer.startswith(b"HTTP/1.1 504")
    assert b"nothing of the upload came" in answer


def test_an_upload_may_take_longer_than_other_requests_but_not_for_ever(scripted: Make, serve: Serve) -> None:
    whole = body(part(b"x" * 100))

    def slowly(seconds: float) -> Iterator[bytes]:
        for start in range(0, len(whole), 10):
            time.sleep(seconds / (len(whole) / 10))
            yield whole[start : start + 10]

    with serve(scripted(request_timeout=0.3, upload_timeout=3).app) as server:
        assert post(server, slowly(1)).status_code == 202
        refused(post(server, slowly(8)), 504, "deadline-exceeded")


def test_more_uploads_at_once_than_there_is_room_for_get_a_503(scripted: Make, serve: Serve) -> None:
    made = scripted(max_uploads=1)
    release = threading.Event()
    begun = threading.Event()

    def held() -> Iterator[bytes]:
        yield part(b"x").removesuffix(b"\r\n")
        begun.set()
        release.wait(20)
        yield b"\r\n" + body()

    with serve(made.app) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, server, held())
        assert begun.wait(10)
        time.sleep(0.2)
        second = sent(server, b"text", "b.txt")
        assert httpx.post(server.url + "/documents", json={"url": "https://example.org/"}).status_code == 202
        release.set()
        assert first.result().status_code == 202
        assert sent(server, b"text", "b.txt").status_code == 202
    refused(second, 503, "overloaded")
    assert second.headers["retry-after"] == "5"


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def crowded(names: int) -> bytes:
    """Return an archive whose list of contents is long and whose contents are nothing."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, names * len(entry), 4, 0)
    return b"PK\x03\x04" + entry * names + end


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("notes.md", b"\x7fELF" + b"\0" * 100, "a program"),
        ("notes.txt", b"\x1f\x8b\x08" + b"\0" * 100, "an archive"),
        ("report.pdf", b"I am text", "not a PDF file"),
        ("report.docx", zipped("readme.txt"), "an archive"),
        ("report.docx", b"PK\x03\x04" + b"x" * 5000, "damaged"),
        ("report.txt", crowded(1_000_000), "damaged"),
        ("report.txt", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "Office"),
        ("movie.mp4", b"hello", "audio or video"),
        ("x.unheardof", b"hello", "no reader"),
    ],
)
def test_what_no_reader_takes_is_a_415_whatever_it_calls_itself(
    serve: Serve, name: str, data: bytes, reason: str
) -> None:
    made = scripted_app()
    with serve(made.app) as server:
        for content_type in ("text/plain", "application/pdf"):
            detail = refused(sent(server, data, name, content_type), 415, "unsupported-media-type")
            assert reason in detail
    assert made.runtime.documents.brought == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("really-a-pdf.txt", b"%PDF-1.7\n..."),
        ("really-word.bin", zipped("[Content_Types].xml", "word/document.xml")),
        ("large.docx", zipped("[Content_Types].xml", "word/document.xml", *(f"word/{n}" for n in range(9000)))),
        ("plain", b"no suffix at all"),
    ],
)
def test_content_counts_more_than_names_and_types(scripted: Make, serve: Serve, name: str, data: bytes) -> None:
    with serve(scripted().app) as server:
        assert sent(server, data, name, "image/png").status_code == 202


def test_an_empty_file_is_a_422(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        answered = sent(server, b"", "a.txt")
        refused(answered, 422, "invalid-request", "file")
        assert answered.json()["detail"] == "the file is empty"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"../../etc/passwd", "passwd"),
        (b"..\\..\\windows\\win.ini", "win.ini"),
        (b"/etc/cron.d/x.txt", "x.txt"),
        (b"C:\\x\\notes.txt", "notes.txt"),
        (b"a\0b.txt", "a_b.txt"),
        (b"a%0D%0AX-Evil%3A 1.txt", "a__X-Evil%3A 1.txt"),
        ("invoice\u202etxt.exe.md".encode(), "invoice_txt.exe.md"),
        (b"..", "file"),
        (b"", "file"),
        (b"x" * 10_000 + b".txt", "x" * 196 + ".txt"),
        (("日本" * 200 + ".md").encode(), ("日本" * 200)[:65] + ".md"),
        (b"caf\xe9.txt", "café.txt"),
        ("naïve 文.md".encode(), "naïve 文.md"),
    ],
)
def test_names_are_made_safe(scripted: Make, serve: Serve, given: bytes, kept: str) -> None:
    made = scripted()
    raw = part(b"text").replace(b'filename="a.txt"', b'filename="' + given + b'"')
    with serve(made.app) as server:
        assert post(server, body(raw)).status_code == 202
    assert made.runtime.documents.brought[0].content.name == kept  # type: ignore[union-attr]


def test_an_extended_name_is_read(scripted: Make, serve: Serve) -> None:
    made = scripted()
    extended = b"filename*=UTF-8''..%2F..%2F%E6%96%87%00.md"
    with serve(made.app) as server:
        for given in (extended, b'filename="fallback.md"; ' + extended):
            raw = part(b"text").replace(b'filename="a.txt"', given)
            assert post(server, body(raw)).status_code == 202
    assert [new.content.name for new in made.runtime.documents.brought] == ["文_.md"] * 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("[" * 800 + "]" * 800, "no JSON"),
        ('{"a":' * 800 + "1" + "}" * 800, "no JSON"),
        ('{"a":' * 40 + "1" + "}" * 40, "deeper than 16"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"a\\u0000": 1}', "NUL"),
        ('{"a": "' + "x" * 20_000 + '"}', "at most 16384 bytes"),
        ('{"a": 1e400}', "too large"),
        ('{"a": NaN}', "no JSON"),
        ('{"a": ' + "9" * 6000 + "}", "no JSON"),
        ('{"a": "\\ud800"}', "no JSON"),
        ("[1, 2]", "valid dictionary"),
        ("{", "no JSON"),
        ("", "no JSON"),
        ('{"title": "x"}', "Footnote's own"),
        ('{"_node_content": "x"}', "Footnote's own"),
        ('{"": 1}', "keys"),
        ("{" + ",".join(f'"{n}": {n}' for n in range(3000)) + "}", "at most 16384 bytes"),
    ],
)
def test_metadata_that_cannot_be_kept_is_a_422(scripted: Make, serve: Serve, metadata: str, reason: str) -> None:
    with serve(scripted().app) as server:
        response = sent(server, b"text", "a.txt", metadata=metadata)
    assert reason in refused(response, 422, "invalid-request", "metadata")


def test_metadata_of_a_page_is_held_to_the_same(scripted: Make, serve: Serve) -> None:
    deep: Any = 1
    for _ in range(40):
        deep = {"a": deep}
    with serve(scripted().app) as server, httpx.Client(base_url=server.url) as http:
        for metadata in (deep, {"a": "\0"}, {"source": 1}, '{"a": 1}', [1]):
            response = http.post("/documents", json={"url": "https://example.org/", "metadata": metadata})
            refused(response, 422, "invalid-request", "metadata")
        bomb = b'{"url": "https://example.org/", "metadata": ' + b"[" * 800 + b"]" * 800 + b"}"
        response = http.post("/documents", content=bomb, headers={"Content-Type": "application/json"})
        refused(response, 400, "invalid-request")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("document_id", "a/b"), ("document_id", ".."), ("document_id", "a\0b"), ("document_id", "x" * 600),
        ("document_id", "é" * 300), ("document_id", "a\u202eb"), ("document_id", "a\nb"), ("document_id", ""),
        ("source", "a\0b"), ("source", "\u202e"), ("source", "é" * 1500), ("source", ""), ("source", " "),
        ("source", "\u3000"), ("title", "x" * 600), ("title", "a\0b"),
        ("collection", "../x"), ("collection", "X"), ("collection", "a" * 64), ("unheard", "x"),
    ],
)  # fmt: skip
def test_fields_that_cannot_be_used_are_a_422(scripted: Make, serve: Serve, field: str, value: str) -> None:
    with serve(scripted().app) as server:
        refused(sent(server, b"text", "a.txt", **{field: value}), 422, "invalid-request", field)


def fields(count: int) -> bytes:
    return b"".join(part(b"x", name=f"f{n}", filename=None) for n in range(count))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends before"),
        (b"no form at all", "no multipart"),
        (body(part(b"text"))[:-6], "ends before"),
        (b"--other\r\n" + body(part(b"text")), "no multipart"),
        (body(fields(3000), part(b"text")), "more than 20 parts"),
        (body(part(b"text", headers=b"X-Long: " + b"x" * 40_000 + b"\r\n")), "no multipart"),
        (body(part(b"text", headers=b"".join(b"X-%d: x\r\n" % n for n in range(500)))), "no multipart"),
        (body(part(b"x" * 100_000, name="title", filename=None), part(b"text")), "at most 65536 bytes"),
        (body(part(b"text").replace(b"Content-Disposition", b"Content Disposition")), "no multipart"),
    ],
)
def test_a_body_that_is_no_form_is_a_400(scripted: Make, serve: Serve, content: bytes, reason: str) -> None:
    with serve(scripted().app) as server:
        for sent_as in (content, iter([content[:7], content[7:]])):
            assert reason in refused(post(server, sent_as), 400, "invalid-request")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (body(), "file"),
        (body(part(b"x", name="title", filename=None)), "file"),
        (body(part(b"text", filename=None)), "file"),
        (body(part(b"text", name="other")), "other"),
        (body(part(b"one"), part(b"two")), "file"),
        (body(part(b"a", name="title", filename=None), part(b"b", name="title", filename=None), part(b"x")), "title"),
        (body(part(b"\xff\xfe", name="title", filename=None), part(b"x")), "title"),
        (body(part(b"text").replace(b' name="file";', b"")), "file"),
    ],
)
def test_a_form_with_other_parts_than_it_may_have_is_a_422(
    scripted: Make, serve: Serve, content: bytes, field: str
) -> None:
    with serve(scripted().app) as server:
        refused(post(server, content), 422, "invalid-request", field)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=" + "x" * 300, 400),
        ("multipart/mixed; boundary=frontier", 415),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("", 415),
    ],
)
def test_other_content_types_are_refused(scripted: Make, serve: Serve, content_type: str, status: int) -> None:
    with serve(scripted().app) as server:
        response = httpx.post(
            server.url + "/documents", content=body(part(b"text")), headers={"Content-Type": content_type}
        )
        assert response.status_code == status, response.text
        compressed = httpx.post(
            server.url + "/documents", content=body(part(b"text")), headers=FORM | {"Content-Encoding": "gzip"}
        )
        refused(compressed, 415, "unsupported-media-type")


def test_a_disk_that_takes_no_more_is_a_503(scripted: Make, serve: Serve, tmp_path: Path) -> None:
    made = scripted()
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    made.runtime.uploads = Uploads(blocked / "uploads", max_bytes=MIB)
    with serve(made.app) as server:
        response = sent(server, b"text", "a.txt")
    refused(response, 503, "overloaded")
    assert response.headers["retry-after"] == "60"


def test_a_put_is_held_to_the_same(scripted: Make, serve: Serve) -> None:
    with serve(scripted(max_file_bytes=1000).app) as server, httpx.Client(base_url=server.url) as http:
        path = "/documents/doc-1"
        assert http.put(path, files={"file": ("a.txt", b"text")}).status_code == 202
        refused(http.put(path, files={"file": ("a.txt", b"x" * 1001)}), 413, "too-large")
        refused(http.put(path, files={"file": ("a.png", b"text")}), 415, "unsupported-media-type")
        refused(http.put(path, content=endless(50 * MIB, taken=[0]), headers=FORM), 413, "too-large")
        assert json.loads(http.put(path, json={"url": "https://example.org/"}).text)["document_id"] == "doc-1"
