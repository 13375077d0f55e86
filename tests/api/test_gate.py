"""Who is answered at all: requests that call the server by its own name, and web pages that are let in."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from support.scripted import Make, Serve

from server.api.middleware.gate import OwnHosts, parse_authority

EVIL = "https://evil.example"
MULTIPART = {"files": {"file": ("x.md", b"# Planted\n\nIt says so here.")}}


def raw(port: int, request: str, *, at: str = "127.0.0.1") -> str:
    """Send a request as it is; return the answer."""
    with socket.create_connection((at, port), timeout=10) as connection:
        connection.sendall(request.encode("latin-1"))
        connection.settimeout(10)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
            if b"\r\n\r\n" in answer and b"connection: close" not in answer.lower():
                break
    return answer.decode("latin-1")


def routes(app: Any) -> list[tuple[str, str]]:
    """Return a method and a path of every route."""
    found = {
        (method, route.path.replace("{stream_id}", "0" * 48))
        for route in iter_route_contexts(app.router.routes)
        for method in route.methods or {"POST", "GET", "DELETE"}
    }
    return sorted(found | {("GET", "/no/such/route"), ("OPTIONS", "/query")})


def test_no_route_answers_a_foreign_page_or_a_foreign_name(scripted: Make, serve: Serve) -> None:
    made = scripted()
    asked = routes(made.app)
    assert {("POST", "/documents"), ("POST", "/mcp"), ("POST", "/v1/chat/completions"), ("GET", "/metrics")} <= {*asked}
    with serve(made.app) as server, httpx.Client(base_url=server.url) as http:
        host = f"attacker.example:{server.port}"
        for method, path in asked:
            page = http.request(method, path, headers={"Origin": EVIL}, json={})
            rebound = http.request(method, path, headers={"Host": host, "Origin": f"http://{host}"}, json={})
            named = http.request(method, path, headers={"Host": host})
            assert [page.status_code, rebound.status_code, named.status_code] == [403, 421, 421], (method, path)
            assert page.headers["x-request-id"]
            assert "access-control-allow-origin" not in page.headers
    assert not made.answers.questions


def test_a_page_plants_no_document(scripted: Make, serve: Serve) -> None:
    made = scripted()
    with serve(made.app) as server:
        page = httpx.post(f"{server.url}/documents", headers={"Origin": EVIL}, **MULTIPART)
        rebound = httpx.post(f"{server.url}/documents", headers={"Host": "attacker.example:9100"}, **MULTIPART)
    assert (page.status_code, page.json()["type"]) == (403, "/problems/origin-refused")
    assert "FOOTNOTE_SERVER__CORS_ORIGINS" in page.json()["detail"]
    assert (rebound.status_code, rebound.json()["type"]) == (421, "/problems/host-refused")
    assert "FOOTNOTE_SERVER__ALLOWED_HOSTS" in rebound.json()["detail"]
    assert not made.runtime.documents.brought


def test_openai_s_clients_are_told_in_their_own_words(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        page = httpx.get(f"{server.url}/v1/models", headers={"Origin": EVIL})
        named = httpx.get(f"{server.url}/v1/models", headers={"Host": "attacker.example"})
    assert (page.status_code, page.json()["error"]["type"]) == (403, "permission_error")
    assert (named.status_code, named.json()["error"]["code"]) == (421, "host-refused")
    assert named.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        # pages of the server itself, and of what stands in front of it
        ("localhost:8000", "http://localhost:8000", 200),
        ("LOCALHOST.:8000", "http://localhost:8000", 200),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", 200),
        ("[::1]:8000", "http://[::1]:8000", 200),
        ("[0:0:0:0:0:0:0:1]:8000", "http://[::1]:8000", 200),
        ("localhost", "http://localhost", 200),
        ("localhost", "https://localhost", 200),
        ("localhost:443", "https://localhost", 200),
        ("localhost:80", "http://localhost", 200),
        ("footnote.example", "https://footnote.example", 200),
        ("footnote.example.", "https://footnote.example", 200),
        ("Footnote.Example:8443", "https://footnote.example:8443", 200),
        ("localhost:8000", "https://app.example", 200),
        ("localhost:8000", "chrome-extension://abcdefgh", 200),
        # others'
        ("localhost:8000", "http://localhost:3000", 403),
        ("localhost:8000", "http://127.0.0.1:8000", 403),
        ("localhost", "http://localhost:8000", 403),
        ("footnote.example", "http://app.example", 403),
        ("localhost:8000", "https://app.example.evil", 403),
        ("localhost:8000", "http://localhost:8000.evil.example", 403),
        ("localhost:8000", "http://localhost:8000@evil.example", 403),
        ("localhost:8000", "http://user@localhost:8000", 403),
        ("localhost:8000", "http://localhost:8000/", 403),
        ("localhost:8000", "http://[::1", 403),
        ("localhost:8000", "ftp://localhost:8000", 403),
        ("localhost:8000", "localhost:8000", 403),
        ("localhost:8000", "null", 403),
        ("localhost:8000", "file://", 403),
        ("localhost:8000", "", 403),
        # names that are not the server's
        ("evil.example:8000", None, 421),
        ("localhost.evil.example", None, 421),
        ("127.0.0.1.evil.example", None, 421),
        ("evil.example", "http://evil.example", 421),
        ("localhost@evil.example", None, 421),
        ("localhost/evil.example", None, 421),
        ("10.0.0.5:8000", None, 421),
        ("0.0.0.0:8000", None, 421),
        ("[::]:8000", None, 421),
        ("", None, 421),
        ("localhost:x", None, 421),
    ],
)
def test_on_loopback_own_names_and_own_pages_pass(
    scripted: Make, serve: Serve, host: str, origin: str | None, status: int
) -> None:
    allowed = {"cors_origins": "https://app.example,chrome-extension://abcdefgh", "allowed_hosts": "Footnote.example."}
    page = {} if origin is None else {"Origin": origin}
    with serve(scripted(**allowed).app) as server:
        for path, request in (("/health", "GET"), ("/query", "POST")):
            response = httpx.request(
                request, server.url + path, headers={"Host": host, **page}, json={"question": "q"}, timeout=30
            )
            assert response.status_code == status, response.text


def test_programs_without_a_name_for_the_server_are_answered(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        old = raw(server.port, "GET /health HTTP/1.0\r\n\r\n")
        nameless_page = raw(server.port, f"GET /health HTTP/1.0\r\nOrigin: http://127.0.0.1:{server.port}\r\n\r\n")
        two_names = raw(server.port, "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        two_pages = raw(
            server.port,
            f"GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: {EVIL}\r\n\r\n",
        )
    assert old.startswith("HTTP/1.1 200")
    assert nameless_page.startswith("HTTP/1.1 403")
    assert two_names.startswith("HTTP/1.1 400")
    assert two_pages.startswith("HTTP/1.1 403")


def test_a_refused_upload_is_answered_although_its_body_is_not_wanted(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        files = {"file": ("x.md", b"x" * 20_000_000)}
        response = httpx.post(f"{server.url}/documents", headers={"Origin": EVIL}, files=files, timeout=60)
    assert response.status_code == 403
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("mark", ["https://app.example", "*"])
def test_pages_that_are_let_in_pass_their_browser_s_preflight_and_others_do_not(
    scripted: Make, serve: Serve, mark: str
) -> None:
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,mcp-method,mcp-name,mcp-protocol-version",
    }
    with serve(scripted(cors_origins=mark).app) as server, httpx.Client(base_url=server.url) as http:
        for path in ("/mcp", "/query", "/v1/chat/completions", "/documents"):
            allowed = http.options(path, headers={"Origin": "https://app.example", **preflight})
            other = http.options(path, headers={"Origin": EVIL, **preflight})
            assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, mark)
            assert other.status_code == (200 if mark == "*" else 403)


@pytest.mark.parametrize(
    ("listening", "loopback"),
    [
        (["127.0.0.1"], True),
        (["127.0.1.1"], True),
        (["127.0.0.1", "::1"], True),
        (["0.0.0.0"], False),
        (["0.0.0.0", "::"], False),
        (["127.0.0.1", "10.0.0.5"], False),
        (["10.0.0.5"], False),
    ],
)
def test_the_addresses_that_are_bound_decide_not_the_name_in_the_settings(listening: list[str], loopback: bool) -> None:
    hosts = OwnHosts(listening="some-machine", allowed=())
    hosts.listens_on(listening)
    called = parse_authority("attacker.example")
    assert hosts.admit(called, reached="127.0.0.1") is not loopback
    assert hosts.admit(parse_authority("some-machine:8000"), reached="127.0.0.1")  # the operator gave it that name


def test_on_every_interface_any_name_is_answered_until_some_are_listed(scripted: Make, serve: Serve) -> None:
    own = socket.gethostbyname(socket.gethostname())
    with serve(scripted().app, host="0.0.0.0") as server:
        asked = httpx.get(f"{server.url}/health", headers={"Host": "footnote.example"})
        page = httpx.get(f"{server.url}/health", headers={"Host": "footnote.example", "Origin": EVIL})
        same = httpx.get(
            f"{server.url}/health", headers={"Host": "footnote.example", "Origin": "https://footnote.example"}
        )
    assert [asked.status_code, page.status_code, same.status_code] == [200, 403, 200]
    with serve(scripted(allowed_hosts="footnote.example").app, host="0.0.0.0") as server:
        hosts = {"footnote.example": 200, "localhost": 200, "attacker.example": 421, "10.99.99.99": 421}
        for host, status in hosts.items():
            response = httpx.get(f"{server.url}/health", headers={"Host": f"{host}:{server.port}"})
            assert response.status_code == status, host
        # as Kubernetes' probes and Prometheus' scrapes of a replica do
        assert httpx.get(f"http://{own}:{server.port}/metrics").status_code == 200
