"""Clients that do not read what they asked for: they lose their connection, and hold nobody up."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
from support.scripted import Logged, Make, Serve
from support.stack import until

MIB = 1024 * 1024
DOWNLOAD = "GET /documents/doc-1/content HTTP/1.1\r\nHost: localhost\r\n\r\n"


def reader(port: int, request: str, *, buffer: int = 4096) -> socket.socket:
    """Send a request from a socket that takes little."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(20)
    sock.connect(("127.0.0.1", port))
    sock.sendall(request.encode())
    return sock


def large(made: Any, *, mebibytes: int) -> list[str]:
    """Let every document have so much content; return a list that gets a word when a download ends."""
    ended: list[str] = []
    real = made.runtime.documents.content

    async def content(*args: Any, **options: Any) -> Any:
        async def blocks() -> AsyncIterator[bytes]:
            try:
                for _ in range(mebibytes):
                    yield b"x" * MIB
            finally:
                ended.append("ended")

        return replace(await real(*args, **options), blocks=blocks())

    made.runtime.documents.content = content
    return ended


def test_downloads_that_nobody_reads_end_and_leave_room_for_others(
    scripted: Make, serve: Serve, logged: Logged
) -> None:
    made = scripted(streams={"write_timeout": 0.5}, max_concurrency=3)
    ended = large(made, mebibytes=64)
    with serve(made.app) as server, ExitStack() as sockets:
        for _ in range(3):
            sockets.enter_context(reader(server.port, DOWNLOAD))
        until(lambda: httpx.get(f"{server.url}/collections").status_code == 503)
        until(lambda: len(ended) == 3)
        until(lambda: httpx.get(f"{server.url}/collections").status_code == 200)
        until(lambda: made.app.state.drain.running == 0)
    assert [line["status"] for line in logged() if line.get("route") == "/documents/{document_id}/content"] == [499] * 3
    assert not [line for line in logged() if line["level"] == "error"]


def test_a_body_of_one_piece_that_nobody_reads_does_not_keep_its_connection(scripted: Make, serve: Serve) -> None:
    made = scripted(streams={"write_timeout": 0.5})

    async def health() -> dict[str, Any]:
        return {"database": replace(made.runtime.states["database"], detail="x" * 64 * MIB)}

    made.runtime.health = health
    with serve(made.app) as server, reader(server.port, "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n") as sock:
        connections = server.listener.server_state.connections
        until(lambda: len(connections) == 1)
        until(lambda: not connections)
        with suppress(ConnectionError):
            assert drain(sock, pause=0) < 64 * MIB


def test_who_reads_slowly_gets_everything(scripted: Make, serve: Serve) -> None:
    made = scripted(streams={"write_timeout": 1.0})
    large(made, mebibytes=8)
    with serve(made.app) as server, reader(server.port, DOWNLOAD, buffer=131_072) as sock:
        began = time.monotonic()
        received = drain(sock, pause=0.02, enough=8 * MIB)
    assert received >= 8 * MIB
    assert time.monotonic() - began > 2.0  # longer than the limit: it is for standing still


def test_a_client_that_reads_a_little_now_and_then_does_not_keep_its_place(
    scripted: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.api.listener.MIN_READ_RATE", 64 * MIB)
    made = scripted(streams={"write_timeout": 1.0})
    ended = large(made, mebibytes=64)
    with serve(made.app) as server, reader(server.port, DOWNLOAD, buffer=131_072) as sock:
        with suppress(ConnectionError):
            # some 3 MiB a second, the buffer of the server emptied again and again: 20 seconds for all of it
            assert drain(sock, pause=0.02) < 32 * MIB
        until(lambda: bool(ended))


def test_a_client_that_hesitates_within_its_patience_gets_everything(scripted: Make, serve: Serve) -> None:
    made = scripted(streams={"write_timeout": 2.5})
    large(made, mebibytes=25)
    with serve(made.app) as server, reader(server.port, DOWNLOAD, buffer=131_072) as sock:
        received = 0
        for _ in range(3):  # together longer than the patience, which reading earns back
            time.sleep(1)
            received += drain(sock, pause=0, enough=8 * MIB)
    assert received >= 24 * MIB


def drain(sock: socket.socket, *, pause: float, enough: int = 64 * MIB) -> int:
    """Read to the end, or until there is enough; return how much."""
    received = 0
    while received < enough and (piece := sock.recv(65_536)):
        received += len(piece)
        time.sleep(pause)
    return received
