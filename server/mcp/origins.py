"""Which web pages may call the MCP endpoint: the protection against DNS rebinding that the protocol requires.

A page whose host name resolves to this machine counts as same-origin for its browser, and could call any server here.
But browsers send ``Origin`` with every POST, the only method of the endpoint, so that header is checked. ``Host`` is
not: other programs can set it freely, and behind a proxy it is the proxy's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from config.settings import ServerSettings


def refused_origin(headers: Iterable[tuple[bytes, bytes]], *, settings: ServerSettings) -> str | None:
    """Return the ``Origin`` of a page that may not call the endpoint; None if it may, or if there is none.

    Pages of this machine, of the server's own address and of ``cors_origins`` may.
    """
    given = [value.decode("latin-1") for name, value in headers if name == b"origin"]
    return next((origin for origin in given if not _may_speak(origin, settings=settings)), None)


def _may_speak(origin: str, *, settings: ServerSettings) -> bool:
    if "*" in settings.cors_origins or origin in settings.cors_origins:
        return True
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and (_is_this_machine(host) or host == settings.host.lower())


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
