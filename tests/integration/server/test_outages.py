"""What a server's clients are told while its database is silent, or cannot be written to."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg2
import pytest
from support.sql import execute
from support.stack import until
from support.tcp_proxy import tcp_proxy
from support.traffic import MESSAGE, QUESTION

LIMITS = {"DATABASE__ACQUIRE_TIMEOUT": "2", "DATABASE__STATEMENT_TIMEOUT": "3"}
READY_WITHIN = 2.5
SLOW = 20.0
"""Seconds that a busy machine may add to a limit; what has none waits until the proxy goes, which is never."""


@pytest.fixture(scope="module")
def proxied(stack):
    with tcp_proxy(stack.dsn) as proxy, stack.process(DATABASE__URL=proxy.dsn, **LIMITS) as server:
        yield proxy, server


@pytest.fixture
def http(proxied):
    proxy, server = proxied
    with httpx.Client(base_url=server.url, timeout=120) as client:
        client.post("/retrieve", json=QUESTION).raise_for_status()
        yield client
    proxy.forward()
    with httpx.Client(base_url=server.url, timeout=120) as client:
        until(lambda: client.get("/ready").is_success)


def timed(ask):
    began = time.monotonic()
    return ask(), time.monotonic() - began


def test_while_the_network_swallows_packets_requests_end_with_503_and_ready_says_so_soon(http, proxied):
    proxy, _ = proxied
    proxy.swallow()
    with ThreadPoolExecutor(24) as pool:
        asked = [
            pool.submit(timed, lambda path=path, body=body: http.post(path, json=body))
            for path, body in [("/retrieve", QUESTION), ("/query", QUESTION), ("/chat", MESSAGE)] * 4
        ]
        until(lambda: http.get("/ready").status_code == 503)
        looks = [timed(lambda: http.get("/ready")) for _ in range(3)]
        found = [each.result() for each in asked]
    for response, seconds in found:
        assert response.status_code == 503, response.text
        assert response.json()["type"] == "/problems/store-unavailable"
        assert seconds < 2 + 2 + SLOW
    for response, seconds in looks:
        assert response.status_code == 503
        assert not response.json()["dependencies"]["database"]["ok"]
        assert seconds < READY_WITHIN + SLOW
    proxy.forward()
    until(lambda: http.post("/retrieve", json=QUESTION).is_success)


def test_a_database_that_is_read_only_answers_questions_and_ready_names_it(stack):
    set_to = f"ALTER DATABASE {stack.database} SET default_transaction_read_only = "
    execute(stack.dsn, set_to + "on")
    try:
        with stack.process(**LIMITS) as server, httpx.Client(base_url=server.url, timeout=120) as http:
            for path in ("/retrieve", "/query"):
                http.post(path, json=QUESTION).raise_for_status()
            refused = http.post("/chat", json=MESSAGE)
            assert refused.status_code == 503
            assert "read-only" in refused.json()["detail"]
            ready = http.get("/ready")
            assert ready.status_code == 503
            dependencies = ready.json()["dependencies"]
            assert "read-only" in dependencies["database"]["detail"]
            assert dependencies["schema"]["detail"] == "not checked, because of the database"
            _make_writable(stack, set_to)
            until(lambda: http.get("/ready").is_success)
            http.post("/chat", json=MESSAGE).raise_for_status()
    finally:
        _make_writable(stack, set_to)


def _make_writable(stack, set_to):
    with psycopg2.connect(stack.dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ WRITE")
        cursor.execute(set_to + "off")
    connection.close()


def test_a_reader_takes_its_lease_after_the_first_answer(stack):
    with stack.process(**LIMITS) as server, httpx.Client(base_url=server.url, timeout=120) as http:
        stack.rows("DELETE FROM footnote.leases RETURNING name")
        http.post("/retrieve", json=QUESTION).raise_for_status()
        until(lambda: stack.rows("SELECT name FROM footnote.leases WHERE name LIKE 'generation %%'"))
