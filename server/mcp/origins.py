"""Which web pages may speak to the MCP endpoint: the protection against DNS rebinding that the protocol demands.

A page whose host name is made to point at this machine counts as same-origin for its browser, and could use whatever
listens here. It cannot hide the name it came from: browsers put ``Origin`` into every POST, and the endpoint serves
nothing else. So it is that header which is checked. ``Host`` is not: programs that are no browsers can set it as they
like, and behind a proxy it is whatever name the operator gave the proxy.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from config.settings import ServerSettings


def refused_origin(headers: Iterable[tuple[bytes, bytes]], *, settings: ServerSettings) -> str | None:
    """Return the ``Origin`` of a page that may not speak to us; None where there is none, or where it may.

    Pages of this machine may, those of the server's own address, and those that ``cors_origins`` names.
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
