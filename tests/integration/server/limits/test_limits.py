"""Limits over real HTTP and PostgreSQL: rates, streams, uploads, and who gets which."""

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import http_sf
import pytest
from support.callers import AsNamed
from support.events import ending, parse
from support.model_server import Reply
from support.stack import until

from server.limits import streams

ASKED = {"question": "Who built the lighthouse of Ostrava Bay?"}


@pytest.fixture(autouse=True)
def _fresh(stack):
    stack.fresh()
    for table in ("rates", "open_streams", "uploads", "spending", "reservations", "usage", "jobs"):
        stack.rows(f"DELETE FROM footnote.{table}")
    stack.rows("UPDATE footnote.tenants SET limits = '{}'")
    stack.rows("INSERT INTO footnote.tenants (id) VALUES ('other') ON CONFLICT DO NOTHING")


def fields(response):
    """Return (policies, states) as an independent parser of structured fields reads them."""
    parsed = [
        http_sf.parse(response.headers[name].encode(), tltype="list") for name in ("ratelimit-policy", "ratelimit")
    ]
    return [{name: dict(parameters) for name, parameters in items} for items in parsed]


def test_without_limits_nothing_is_counted_or_told(stack):
    with stack.serve() as http:
        response = http.get("/collections")
    assert response.status_code == 200
    assert "ratelimit" not in response.headers
    assert "ratelimit-policy" not in response.headers
    assert stack.rows("SELECT count(*) FROM footnote.rates") == [(0,)]


def test_a_request_above_the_rate_is_a_429_whose_fields_say_how_it_stands(stack):
    with stack.serve(limits={"tenant_requests": 3, "subject_requests": 100}) as http:
        answers = [http.get("/collections") for _ in range(4)]
        health = [http.get("/health").status_code for _ in range(5)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    for left, each in zip((2, 1, 0, 0), answers, strict=True):
        policies, states = fields(each)
        assert policies["tenant"] == {"q": 3, "w": 60}
        assert states["tenant"]["r"] == left
        assert 0 < states["tenant"]["t"] <= 20
    assert fields(answers[0])[0]["subject"] == {"q": 100, "w": 60}
    refused = answers[-1]
    assert refused.json()["type"] == "/problems/rate-limited"
    assert "at most 3 requests a minute" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) >= fields(refused)[1]["tenant"]["t"]
    assert health == [200] * 5


def test_two_servers_and_two_workers_share_a_limit(stack):
    limits = {"tenant_requests": 20}
    with stack.serve(limits=limits) as http, stack.serve(limits=limits) as other, ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda n: (http, other)[n % 2].get("/collections").status_code, range(40)))
    assert got.count(200) == 20
    stack.rows("DELETE FROM footnote.rates")
    with stack.serve_with_workers(limits={"tenant_requests": 8}) as http, ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: http.get("/collections").status_code, range(24)))
    assert got.count(200) == 8


def test_subjects_keys_and_tenants_have_buckets_of_their_own(stack):
    limits = {"subject_requests": 2, "key_requests": 2}
    with stack.serve(limits=limits, around=AsNamed) as http:

        def got(times=1, **who):
            headers = {f"x-{name.replace('_', '-')}": value for name, value in who.items()}
            return [http.get("/collections", headers=headers).status_code for _ in range(times)]

        assert got(3, subject="ada") == [200, 200, 429]
        assert got(3, subject="ada'; DROP TABLE x --") == [200, 200, 429]
        assert got(3, subject="ada", tenant="other") == [200, 200, 429]
        assert got(3, subject="bob", key="k1") == [200, 200, 429]
        # a key's own limits: none, more, and what is nonsense
        assert got(1, subject="carl", key="k1") == [429]
        assert got(2, subject="dora", key="k1", key_limits='{"key_requests": null}') == [200, 200]
        assert got(3, subject="emil", key="k2", key_limits='{"key_requests": -5}') == [200, 200, 429]
        assert got(3, subject="fritz", key="k3", key_limits='{"subject_requests": null}') == [200, 200, 429]


@pytest.mark.parametrize(
    ("own", "admitted"),
    [
        ({"tenant_requests": 5}, 5),
        ({"tenant_requests": None}, 9),
        ({"tenant_requests": -1}, 2),
        ({"tenant_requests": 10**30}, 2),
        ({"tenant_requests": "5"}, 2),
        ({"tenant_requests": 5.5}, 2),
        ({"no_such_limit": 1, "tenant_requests": 4}, 4),
        ({"tenant_usd_day": float("1e308"), "tenant_requests": 3}, 3),
    ],
)
def test_a_tenant_s_own_limits_replace_the_settings_and_nonsense_does_not(stack, own, admitted):
    stack.rows("UPDATE footnote.tenants SET limits = %s WHERE id = 'public'", json.dumps(own))
    with stack.serve(limits={"tenant_requests": 2}) as http:
        got = [http.get("/collections").status_code for _ in range(9)]
    assert got.count(200) == admitted


def test_a_subject_has_so_many_streams_and_one_that_is_cut_counts_no_more(stack):
    gate = threading.Event()
    stack.fresh(default=Reply(gate=gate))
    streams, reading = {"grace": 0}, []
    with stack.serve(limits={"subject_streams": 2}, streams=streams, around=AsNamed) as http:

        def opened(stack_of, subject="ada"):
            stream = http.stream("POST", "/query/stream", json=ASKED, headers={"x-subject": subject})
            response = stack_of.enter_context(stream)
            if response.status_code == 200:
                reading.append(response.iter_raw())  # the connection is closed with it
                next(reading[-1])
            return response

        with contextlib.ExitStack() as held:
            assert opened(held).status_code == 200
            with contextlib.ExitStack() as cut:
                assert opened(cut).status_code == 200
                refused = opened(held)
                refused.read()
                assert refused.status_code == 429
                assert refused.json()["type"] == "/problems/rate-limited"
                assert refused.headers["retry-after"]
                assert opened(held, "bob").status_code == 200
                assert stack.rows("SELECT count(*) FROM footnote.open_streams") == [(3,)]
            until(lambda: stack.rows("SELECT count(*) FROM footnote.open_streams") == [(2,)])
            assert opened(held).status_code == 200
            gate.set()
        until(lambda: stack.rows("SELECT count(*) FROM footnote.open_streams") == [(0,)])


def test_a_stream_of_a_server_that_was_killed_counts_until_it_expires(stack, monkeypatch):
    monkeypatch.setattr(streams, "ENDING_SECONDS", 30.0)  # a busy machine's database takes its time
    stack.rows(
        """INSERT INTO footnote.open_streams
            VALUES (gen_random_uuid(), 'public', 'local', clock_timestamp() + interval '1 hour')"""
    )
    with stack.serve(limits={"subject_streams": 1}) as http:
        assert http.post("/query/stream", json=ASKED).status_code == 429
        key = {"Idempotency-Key": "of-a-refused-stream"}
        for path, body in (("/query/stream", ASKED), ("/chat/stream", {"message": ASKED["question"]})):
            assert http.post(path, json=body, headers={"Idempotency-Key": path}).status_code == 429
        assert http.post("/query", json=ASKED, headers=key).status_code == 200  # which is no stream
        openai = {"model": "footnote/default", "messages": [{"role": "user", "content": "Who?"}], "stream": True}
        assert http.post("/v1/chat/completions", json=openai).json()["error"]["code"] == "rate_limit_exceeded"
        stack.rows("UPDATE footnote.open_streams SET expires_at = clock_timestamp() - interval '1 second'")
        # the refusal has not used up the key
        assert http.post("/query/stream", json=ASKED, headers={"Idempotency-Key": "/query/stream"}).status_code == 200
        assert ending(parse(http.post("/query/stream", json=ASKED).text)).name == "done"


def upload(http, name, text, **who):
    return http.post("/documents", files={"file": (name, text.encode())}, headers=who)


def test_uploads_and_bytes_a_day(stack):
    with stack.serve(limits={"tenant_uploads": 2, "tenant_upload_bytes": 50}) as http:
        assert upload(http, "a.md", "x" * 51).status_code == 429
        assert upload(http, "a.md", "x" * 40).status_code == 202
        assert upload(http, "b.md", "y" * 11).status_code == 429
        assert upload(http, "b.md", "y" * 10).status_code == 202
        refused = upload(http, "c.md", "z")
    assert refused.status_code == 429
    assert refused.json()["type"] == "/problems/rate-limited"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert stack.rows("SELECT uploads, bytes FROM footnote.uploads") == [(2, 50)]
    assert stack.rows("SELECT count(*) FROM footnote.jobs") == [(2,)]


def test_parallel_uploads_never_exceed_the_documents_of_a_tenant(stack):
    stored = stack.rows("SELECT count(*) FROM footnote.documents")[0][0]
    with stack.serve(limits={"tenant_documents": stored + 3}) as http, ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: upload(http, f"{n}.md", f"text {n}").status_code, range(8)))
        replaced = http.put("/documents/some", files={"file": ("s.md", b"x")}).status_code
    assert sorted(got) == [202] * 3 + [429] * 5
    assert replaced == 404


def test_a_tenant_that_stores_all_its_chunks_adds_no_document(stack):
    chunks = stack.rows("SELECT sum(chunks) FROM footnote.documents")[0][0]
    with stack.serve(limits={"tenant_chunks": int(chunks)}) as http:
        refused = upload(http, "more.md", "more")
    assert refused.status_code == 429
    assert "retry-after" not in refused.headers
    assert "delete documents first" in refused.json()["detail"]


def test_a_tenant_s_burst_leaves_room_for_another_s_single_request(stack):
    gate = threading.Event()
    stack.fresh(default=Reply(gate=gate))
    with (
        stack.serve(server={"max_concurrency": 4}, around=AsNamed) as http,
        ThreadPoolExecutor(12) as pool,
    ):
        burst = [pool.submit(http.post, "/query", json=ASKED, headers={"x-subject": "ada"}) for _ in range(10)]
        until(lambda: len(stack.model.requests) == 4 and sum(each.done() for each in burst) == 6)
        single = pool.submit(http.get, "/collections", headers={"x-tenant": "other"})
        assert http.get("/collections", headers={"x-subject": "bob"}).status_code == 503  # of the same tenant
        assert not single.done()
        gate.set()
        assert single.result().status_code == 200
        got = [each.result().status_code for each in burst]
    assert (got.count(200), got.count(503)) == (4, 6)
