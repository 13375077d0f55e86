"""The addresses that the server listens on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

BACKLOG = 2048


class ListenError(OSError):
    """The address cannot be listened on; the message says which and why."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind every address of `host`, without listening yet; port 0 takes a free one, the same for all.

    Raises:
        ListenError: the address is taken or not ours; the message is one line.

    """
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            sock = socket.socket(family, kind, protocol)
            bound.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken = bound[0].getsockname()[1] if len(bound) > 1 else port
            sock.bind((address[0], taken, *address[2:]))
            sock.setblocking(False)
    except OSError as exc:
        for sock in bound:
            sock.close()
        raise ListenError(_refused(host, port, exc)) from exc
    return bound


def listen(sockets: Sequence[socket.socket]) -> None:
    """Listen on bound sockets.

    Raises:
        ListenError: another program bound the same address at the same time, and was faster; the message is one line.

    """
    try:
        for sock in sockets:
            sock.listen(BACKLOG)
    except OSError as exc:
        host, port = sockets[0].getsockname()[:2]
        raise ListenError(_refused(host, port, exc)) from exc


def listening(descriptors: Sequence[int]) -> list[socket.socket]:
    """Return the sockets that another process has bound.

    Raises:
        ListenError: a descriptor is none of a socket's.

    """
    try:
        return [socket.socket(fileno=descriptor) for descriptor in descriptors]
    except OSError as exc:
        msg = f"cannot listen on what was inherited ({exc.strerror or exc})"
        raise ListenError(msg) from exc


def url_of(sock: socket.socket) -> str:
    """Return an address that a program on this machine can call."""
    host, port = sock.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (read, not bound)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _refused(host: str, port: int, exc: OSError) -> str:
    change = "change FOOTNOTE_SERVER__HOST or FOOTNOTE_SERVER__PORT"
    if exc.errno == errno.EADDRINUSE:
        return (
            f"cannot listen on {host}:{port}: a program listens there, maybe a Footnote that runs; stop it, or {change}"
        )
    return f"cannot listen on {host}:{port} ({exc.strerror or exc}); {change}"
