"""Documents over the real services and a real database; what a worker does with them is tested elsewhere."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg2
import pytest
from support.stack import PATIENCE, Stack, StackClient, open_stack

from ingestion.identity import document_id as id_of_source
from storage.generation import Chunking, EmbeddingIdentity, Generation

GUIDE = b"# Guide\n\nThe lamp is lit at dusk.\n"
DEFAULT = Generation(
    id=1,
    tenant_id="public",
    collection="default",
    collection_id=1,
    number=1,
    state="active",
    embedding=EmbeddingIdentity("m", "1", "f", 384, normalized=True),
    chunking=Chunking(256, 32, "english"),
)


@pytest.fixture(scope="module")
def stack(databases, shared_dir, embedder) -> Iterator[Stack]:
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as made:
        yield made


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[StackClient]:
    with stack.serve(ingestion={"max_file_bytes": 3_000_000}) as client:
        yield client


def upload(
    http: httpx.Client,
    data: bytes = GUIDE,
    *,
    name: str = "guide.md",
    method: str = "POST",
    path: str = "/documents",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> httpx.Response:
    """Send a file in a form; fields that are no strings as JSON."""
    form = {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
    return http.request(method, path, files={"file": (name, data)}, data=form, headers=headers)


def job_of(http: httpx.Client, response: httpx.Response) -> dict[str, Any]:
    return dict(http.get(response.headers["location"]).raise_for_status().json())


def arguments(stack: Stack, job_id: str) -> dict[str, Any]:
    ((found,),) = stack.rows("SELECT arguments FROM footnote.jobs WHERE id = %s", job_id)
    return dict(found)


def until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def stored_id(http: httpx.Client, source: str) -> str:
    items = http.get("/documents").json()["items"]
    return next(item["id"] for item in items if item["source"] == source)


def refused(response: httpx.Response, status: int, slug: str, field: str | None = None) -> str:
    """Check a problem; return its detail."""
    assert response.status_code == status, response.text
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"/problems/{slug}"
    if field is not None:
        assert [error["field"] for error in body["errors"]] == [field]
    return str(body["detail"])


def test_an_upload_is_a_job_with_its_bytes_kept_and_nothing_answers_yet(stack: Stack, http: StackClient) -> None:
    metadata = {"year": 2026, "tags": ["a", "b"], "big": 2**53 + 1}
    response = upload(http, metadata=metadata, title="The guide", headers={"X-Request-ID": "up-1"})
    assert response.status_code == 202
    body = response.json()
    assert set(body) == {"document_id", "job_id"}
    assert body["document_id"] == id_of_source("guide.md", generation=DEFAULT)
    assert response.headers["location"] == f"/jobs/{body['job_id']}"

    job = job_of(http, response)
    assert (job["kind"], job["status"], job["document_id"]) == ("index-document", "queued", body["document_id"])
    assert (job["error"], job["progress"]["done"], job["request_id"]) == (None, 0, "up-1")
    given = arguments(stack, body["job_id"])
    revision = given.pop("revision")
    digest = hashlib.sha256(GUIDE).hexdigest()
    assert given == {
        "content_hash": digest, "name": "guide.md", "source": "guide.md", "title": "The guide", "metadata": metadata,
        "readers": None,
    }  # fmt: skip
    assert revision > 0
    ((kept,),) = stack.rows("SELECT data FROM footnote.original_blocks WHERE content_hash = %s", digest)
    assert bytes(kept) == GUIDE
    assert http.get(f"/documents/{body['document_id']}").status_code == 404


def test_a_file_of_several_megabytes_arrives_whole(stack: Stack, http: StackClient) -> None:
    data = b"".join(b"line %d\n" % n for n in range(240_000))
    assert 2_500_000 < len(data) < 3_000_000
    response = upload(http, data, name="long.txt")
    assert arguments(stack, response.json()["job_id"])["content_hash"] == hashlib.sha256(data).hexdigest()
    rows = stack.rows(
        "SELECT data FROM footnote.original_blocks WHERE content_hash = %s ORDER BY number",
        hashlib.sha256(data).hexdigest(),
    )
    assert b"".join(bytes(row[0]) for row in rows) == data


def test_an_id_and_a_source_of_the_client_s_own_are_kept(stack: Stack, http: StackClient) -> None:
    named = upload(http, document_id="Handbuch für Müller")
    assert named.json()["document_id"] == "Handbuch für Müller"
    assert arguments(stack, named.json()["job_id"])["source"] == "Handbuch für Müller/guide.md"
    sourced = upload(http, document_id="other", source="hr/guide.md")
    assert arguments(stack, sourced.json()["job_id"])["source"] == "hr/guide.md"


def test_a_stored_document_with_the_same_source_is_the_one_that_is_replaced(http: StackClient) -> None:
    assert upload(http, name="bread.md").json()["document_id"] == stored_id(http, "bread.md")


def test_a_source_that_another_document_has_is_a_409(http: StackClient) -> None:
    detail = refused(upload(http, document_id="mine", source="bread.md"), 409, "already-exists")
    assert stored_id(http, "bread.md") in detail


def test_blanks_around_a_source_are_no_part_of_it_and_blanks_alone_are_none(stack: Stack, http: StackClient) -> None:
    first = upload(http, source="ps 1")
    second = upload(http, source="  ps 1 ")
    assert first.json()["document_id"] == second.json()["document_id"]
    assert arguments(stack, second.json()["job_id"])["source"] == "ps 1"
    refused(upload(http, document_id="mine", source=" ps 1"), 409, "already-exists")
    body = {"url": "https://example.org/blank", "source": "   "}
    for response in (upload(http, source="   "), http.post("/documents", json=body)):
        assert "must hold more than blanks" in refused(response, 422, "invalid-request", "source")


def test_a_source_is_taken_from_the_202_on_until_its_job_has_failed_or_its_document_is_deleted(
    stack: Stack, http: StackClient
) -> None:
    first = upload(http, document_id="first", source="taken.md")
    assert "'first'" in refused(upload(http, document_id="second", source="taken.md"), 409, "already-exists")
    assert upload(http, source="taken.md").json()["document_id"] == "first"  # who names none brings that one
    assert upload(http, document_id="first", source="moved.md").status_code == 202
    assert upload(http, document_id="second", source="taken.md").status_code == 202
    refused(upload(http, document_id="third", source="moved.md"), 409, "already-exists")
    running = stack.rows(
        "UPDATE footnote.jobs SET status = 'running', run = gen_random_uuid() WHERE document_id = 'first' "
        "AND status = 'queued' RETURNING id"
    )
    refused(upload(http, document_id="third", source="moved.md"), 409, "already-exists")
    stack.rows(
        "UPDATE footnote.jobs SET status = 'failed', run = NULL, finished_at = now() WHERE id = %s RETURNING id",
        running[0][0],
    )
    assert upload(http, document_id="third", source="moved.md").status_code == 202
    refused(http.post(f"/jobs/{running[0][0]}/retry"), 409, "job-not-retryable")
    assert http.delete("/documents/third").status_code == 204
    assert upload(http, document_id="fourth", source="moved.md").status_code == 202
    assert job_of(http, first)["status"] == "cancelled"


def test_of_uploads_that_come_at_one_moment_one_gets_the_source(stack: Stack, http: StackClient) -> None:
    held = psycopg2.connect(stack.dsn)
    lock = "jobs public/default/source/contested.md"
    held.cursor().execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (lock,))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(upload, http, b"%d" % n, document_id=f"r{n}", source="contested.md") for n in range(4)]
        until(lambda: stack.rows(waiting) == [(4,)])
        held.close()
        answers = [each.result() for each in sent]
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]
    assert len(stack.rows("SELECT 1 FROM footnote.jobs WHERE arguments ->> 'source' = 'contested.md'")) == 1


def test_a_replay_is_answered_though_the_source_is_another_document_s_by_now(http: StackClient) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    first = upload(http, document_id="early", source="replayed.md", headers=key)
    assert http.delete("/documents/early").status_code == 204
    assert upload(http, document_id="late", source="replayed.md").status_code == 202
    again = upload(http, document_id="early", source="replayed.md", headers=key)
    assert (again.status_code, again.json()) == (202, first.json())


def test_an_accent_makes_no_second_document_however_it_is_written(stack: Stack, http: StackClient) -> None:
    apart, whole = "re\u0301sume\u0301.md", "r\u00e9sum\u00e9.md"
    first, second = upload(http, name=apart), upload(http, name=whole)
    assert first.json()["document_id"] == second.json()["document_id"] == id_of_source(whole, generation=DEFAULT)
    assert arguments(stack, first.json()["job_id"])["source"] == whole
    refused(upload(http, document_id="mine", source=apart), 409, "already-exists")


def test_a_document_that_two_collections_have_is_the_default_one_s_unless_another_is_named(stack: Stack) -> None:
    with stack.serve() as http:
        http.post("/collections", json={"name": "other"}).raise_for_status()
        for number, name in enumerate(("default", "other")):
            stack.rows(
                """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
                       pipeline_fingerprint, bytes, chunks, revision)
                   SELECT 'public', g.id, 'both', 'both.md', c.name, '{}', 'h', 'p', %s, 0, 1
                   FROM footnote.collections c JOIN footnote.generations g ON g.collection_id = c.id
                   WHERE c.name = %s RETURNING id""",
                number,
                name,
            )
        assert http.get("/documents/both").json()["collection"] == "default"
        assert http.get("/documents/both?collection=other").json()["collection"] == "other"
        put = upload(http, method="PUT", path="/documents/both")
        assert job_of(http, put)["collection"] == "default"
        put = upload(http, method="PUT", path="/documents/both?collection=other")
        assert job_of(http, put)["collection"] == "other"
        assert http.delete("/documents/both").status_code == 204
        refused(http.get("/documents/both"), 404, "document-not-found")
        refused(http.delete("/documents/both"), 404, "document-not-found")
        refused(upload(http, method="PUT", path="/documents/both"), 404, "document-not-found")
        refused(http.get("/documents/both/content"), 404, "document-not-found")
        assert http.get("/documents/both?collection=other").status_code == 200
        assert job_of(http, put)["status"] == "queued"
        assert http.delete("/documents/both?collection=other").status_code == 204
        http.delete("/collections/other").raise_for_status()


def test_two_uploads_of_one_document_leave_the_newer_one(http: StackClient) -> None:
    first, second = upload(http, name="twice.md"), upload(http, b"newer", name="twice.md")
    assert first.json()["document_id"] == second.json()["document_id"]
    old, new = job_of(http, first), job_of(http, second)
    assert (old["status"], old["superseded_by"], new["status"]) == ("cancelled", new["id"], "queued")


def test_a_key_sent_twice_is_one_job(http: StackClient) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    first = upload(http, name="keyed.md", metadata={"a": 1, "b": 2}, headers=key)
    again = upload(http, name="keyed.md", metadata={"b": 2, "a": 1}, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    jobs = http.get("/jobs", params={"document_id": first.json()["document_id"]}).json()["items"]
    assert len(jobs) == 1
    others = ({"data": b"other"}, {"name": "other.md"}, {"metadata": {"a": 2}}, {"document_id": "k"}, {"title": "t"})
    for other in others:
        given: dict[str, Any] = {"name": "keyed.md", "metadata": {"a": 1, "b": 2}, "headers": key, **other}
        refused(upload(http, **given), 422, "invalid-request", "Idempotency-Key")


@pytest.mark.parametrize("key", ["", "two words", "é", "x" * 256])
def test_a_key_that_cannot_be_one_is_a_422(http: StackClient, key: str) -> None:
    response = upload(http, headers={"Idempotency-Key": key.encode("latin-1")})  # type: ignore[dict-item]
    assert response.status_code == 422


def test_a_page_is_submitted_by_its_url(stack: Stack, http: StackClient) -> None:
    asked = {"url": "HTTPS://Example.org/a page".replace(" ", "%20") + "#part", "metadata": {"team": "x"}}
    response = http.post("/documents", json=asked)
    assert response.status_code == 202, response.text
    job = job_of(http, response)
    assert (job["kind"], job["status"]) == ("index-url", "queued")
    given = arguments(stack, job["id"])
    assert given["url"] == given["source"] == "https://example.org/a%20page"
    assert given["metadata"] == {"team": "x"}
    assert given["revision"] > 0
    url = "https://example.org/a%20page"
    assert response.json()["document_id"] == id_of_source(url, generation=DEFAULT)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.org/", "https://user:secret@example.org/", "http://", "example.org", "",
     "https://exa mple.org/", "http://0x7f000001/", "https://example.org/" + "x" * 3000],
)  # fmt: skip
def test_a_url_that_is_none_is_a_422(http: StackClient, url: str) -> None:
    detail = refused(http.post("/documents", json={"url": url}), 422, "invalid-request", "url")
    assert "secret" not in detail


def test_a_collection_that_is_not_there_is_a_404_and_nothing_is_kept(stack: Stack, http: StackClient) -> None:
    data = uuid4().bytes.hex().encode()
    refused(upload(http, data, collection="nope"), 404, "collection-not-found")
    digest = hashlib.sha256(data).hexdigest()
    assert stack.rows("SELECT 1 FROM footnote.originals WHERE content_hash = %s", digest) == []


def test_a_put_replaces_a_stored_document_which_keeps_id_and_source(stack: Stack, http: StackClient) -> None:
    known = stored_id(http, "vacuum.md")
    response = upload(http, name="other-name.md", method="PUT", path=f"/documents/{known}")
    assert response.status_code == 202
    assert response.json()["document_id"] == known
    given = arguments(stack, response.json()["job_id"])
    assert (given["source"], given["name"]) == ("vacuum.md", "other-name.md")
    assert http.get(f"/documents/{known}").json()["title"] == "vacuum.md"  # the old version answers


def test_a_put_replaces_what_is_only_on_its_way(stack: Stack, http: StackClient) -> None:
    first = upload(http, document_id="coming", source="c.md")
    second = upload(http, b"new", method="PUT", path="/documents/coming")
    assert second.status_code == 202
    assert arguments(stack, second.json()["job_id"])["source"] == "c.md"
    assert job_of(http, first)["status"] == "cancelled"


def test_a_put_of_what_is_not_there_is_a_404(http: StackClient) -> None:
    refused(upload(http, method="PUT", path="/documents/never"), 404, "document-not-found")
    known = stored_id(http, "bread.md")
    path = f"/documents/{known}?collection=other"
    refused(upload(http, method="PUT", path=path), 404, "document-not-found")
    path = f"/documents/{known}"
    refused(upload(http, method="PUT", path=path, document_id="x"), 422, "invalid-request", "document_id")


def test_a_put_by_url_keeps_the_id(http: StackClient) -> None:
    upload(http, document_id="page")
    response = http.put("/documents/page", json={"url": "https://example.org/"})
    assert response.json()["document_id"] == "page"
    assert job_of(http, response)["kind"] == "index-url"


def test_a_deleted_document_answers_no_more_from_the_204_on(stack: Stack) -> None:
    with stack.serve() as http:
        known = stored_id(http, "lighthouse.md")
        question = {"question": "Who built the lighthouse?"}
        found = http.post("/retrieve", json=question).json()["results"]
        assert known in {result["document_id"] for result in found}
        coming = upload(http, name="lighthouse.md")  # a new version is on its way
        gone = http.delete(f"/documents/{known}")
        assert (gone.status_code, gone.content) == (204, b"")
        found = http.post("/retrieve", json=question).json()["results"]
        assert known not in {result["document_id"] for result in found}
        assert job_of(http, coming)["status"] == "cancelled"
        refused(http.get(f"/documents/{known}"), 404, "document-not-found")
        refused(http.delete(f"/documents/{known}"), 404, "document-not-found")
        assert stack.rows("SELECT 1 FROM footnote.tombstones WHERE document_id = %s", known) == [(1,)]


def test_a_document_that_is_only_on_its_way_can_be_deleted(stack: Stack, http: StackClient) -> None:
    coming = upload(http, document_id="doomed")
    refused(http.delete("/documents/doomed?collection=other"), 404, "document-not-found")
    assert http.delete("/documents/doomed").status_code == 204
    assert job_of(http, coming)["status"] == "cancelled"
    ((revision,),) = stack.rows("SELECT revision FROM footnote.tombstones WHERE document_id = 'doomed'")
    assert revision > arguments(stack, coming.json()["job_id"])["revision"]
    refused(http.delete("/documents/doomed"), 404, "document-not-found")
    back = upload(http, document_id="doomed")  # who brings it anew gets it anew
    assert arguments(stack, back.json()["job_id"])["revision"] > revision


def test_a_failed_job_of_a_deleted_document_cannot_be_repeated(stack: Stack, http: StackClient) -> None:
    job_id = upload(http, document_id="dead").json()["job_id"]
    stack.rows("UPDATE footnote.jobs SET status = 'failed', finished_at = now() WHERE id = %s RETURNING id", job_id)
    assert http.delete("/documents/dead").status_code == 204
    refused(http.post(f"/jobs/{job_id}/retry"), 409, "job-not-retryable")


def test_the_first_upload_makes_the_default_collection(dsn: str, shared_dir: Any, embedder: Any) -> None:
    from support.environment import make_settings
    from support.indexed import real_app
    from support.scripted import running

    settings = make_settings(dsn, shared_dir)
    app = real_app(settings, embedder=embedder)
    with running(app, settings=settings.server) as server, httpx.Client(base_url=server.url) as http:
        assert http.get("/collections").json()["items"] == []
        refused(upload(http, collection="other"), 404, "collection-not-found")
        assert upload(http).status_code == 202
        (made,) = http.get("/collections").json()["items"]
    assert (made["name"], made["embedding_model"], made["language"]) == ("default", "all-MiniLM-L6-v2", "english")
    assert made["chunk_tokens"] == 256


def test_the_original_bytes_can_be_downloaded_and_are_no_page_of_ours(stack: Stack, http: StackClient) -> None:
    known = stored_id(http, "bread.md")
    data = b"<script>alert(1)</script>" * 60_000  # more than a block
    digest = hashlib.sha256(data).hexdigest()
    assert upload(http, data, name="x.txt").status_code == 202  # keeps the bytes
    stack.rows(
        "UPDATE footnote.documents SET content_hash = %s, original = %s, metadata = metadata || %s WHERE id = %s "
        "RETURNING id",
        digest,
        digest,
        json.dumps({"file_name": 'naïve"\r\nX-Evil: 1 .html'}),
        known,
    )
    got = http.get(f"/documents/{known}/content")
    assert got.status_code == 200
    assert got.content == data
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["etag"] == f'"{digest}"'
    assert "x-evil" not in got.headers
    disposition = got.headers["content-disposition"]
    assert disposition.startswith("attachment; filename=\"na_ve___X-Evil: 1 .html\"; filename*=UTF-8''na%C3%AFve")


def test_a_document_whose_bytes_are_not_kept_has_no_content(http: StackClient) -> None:
    known = stored_id(http, "hostile.md")
    refused(http.get(f"/documents/{known}/content"), 404, "document-not-found")
    refused(http.get("/documents/never/content"), 404, "document-not-found")


def test_a_slow_download_holds_no_connection_to_the_database(stack: Stack) -> None:
    with stack.serve(database={"pool_min": 1, "pool_max": 1, "acquire_timeout": 2}) as http:
        data = b"0123456789abcdef" * 1_500_000
        known = kept_large(stack, http, "bread.md", data)
        with http.stream("GET", f"/documents/{known}/content") as response:
            assert response.status_code == 200  # and nothing more of it is read
            assert http.get("/collections").status_code == 200
            assert response.read() == data


def test_downloads_that_are_broken_off_take_no_connection_along(stack: Stack) -> None:
    with stack.serve(database={"pool_min": 1, "pool_max": 2, "acquire_timeout": 2}) as http:
        known = kept_large(stack, http, "bread.md", b"fedcba9876543210" * 1_500_000)
        connections = http.served.listener.server_state.connections
        for _ in range(12):
            with socket.create_connection(("127.0.0.1", http.served.port)) as sock:
                sock.sendall(f"GET /documents/{known}/content HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert sock.recv(2000).startswith(b"HTTP/1.1 200")
                # it waits for us; as the socket closes it goes on, takes a connection, and is cancelled
                until(lambda: any(each.flow.write_paused for each in list(connections)))
        until(lambda: http.app.state.drain.running == 0)
        assert http.get("/collections").status_code == 200


def kept_large(stack: Stack, http: StackClient, source: str, data: bytes) -> str:
    """Let a document have bytes that are more than sockets take without a reader; return its id."""
    known = stored_id(http, source)
    digest = hashlib.sha256(data).hexdigest()
    assert upload(http, data, name=f"{source}.txt").status_code == 202
    stack.rows(
        "UPDATE footnote.documents SET content_hash = %s, original = %s WHERE id = %s RETURNING id",
        digest,
        digest,
        known,
    )
    return known


def test_ids_of_jobs_are_uuids(http: StackClient) -> None:
    assert UUID(upload(http).json()["job_id"])


def test_an_attachment_is_listed_and_neither_deleted_nor_replaced_without_its_mail(
    stack: Stack, http: StackClient
) -> None:
    mail = stored_id(http, "bread.md")
    stack.rows(
        """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
               pipeline_fingerprint, bytes, chunks, parent)
           SELECT tenant_id, generation_id, 'attached', 'bread.md#oven.pdf', 'Oven', '{}', 'h', 'f', 1, 0, id
           FROM footnote.documents WHERE id = %s RETURNING id""",
        mail,
    )
    listed = http.get("/documents", params={"parent": mail}).json()["items"]
    assert [(item["id"], item["parent"]) for item in listed] == [("attached", mail)]
    assert http.get(f"/documents/{mail}").json()["parent"] is None
    assert repr(mail) in refused(http.delete("/documents/attached"), 409, "document-attached")
    refused(upload(http, document_id="attached"), 409, "document-attached")
    refused(upload(http, method="PUT", path="/documents/attached"), 409, "document-attached")
    assert http.get("/jobs", params={"document_id": "attached"}).json()["items"] == []
    assert http.get("/documents/attached").json()["title"] == "Oven"
    assert upload(http, document_id="another", source="bread.md#oven.pdf").status_code == 202  # the name is free
    assert http.delete(f"/documents/{mail}").status_code == 204
    refused(http.get("/documents/attached"), 404, "document-not-found")
