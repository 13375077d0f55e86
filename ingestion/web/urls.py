"""Strict parsing of URLs.

The request is made from the parsed parts, so that no second parser can see another host in the same URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

import idna

from ingestion.errors import FetchRefused

MAX_URL = 4096
DEFAULT_PORTS = {"http": 80, "https": 443}
_SHOWN = 200

_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^#]*)(?:#.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A strictly parsed URL.

    Attributes:
        scheme: ``http`` or ``https``.
        host: ASCII, lower case; an IPv6 address without brackets.
        port: explicit or default.
        path: with the query, percent-encoded, beginning with ``/``.

    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: ``https://example.org``."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The normalised URL, without its fragment."""
        return f"{self.origin}{self.path}"

    @property
    def shown(self) -> str:
        """The URL for messages: shortened, and without the query, which may contain secrets."""
        shown = f"{self.origin}{self.path.partition('?')[0]}"
        return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"


def read_url(url: str) -> Target:
    """Parse a URL strictly.

    Raises:
        FetchRefused: it is not an http or https URL, contains a user name or password, or is ambiguous.

    """
    _check_characters(url)
    match = _URL.fullmatch(url)
    if match is None:
        msg = "only URLs that begin with http:// or https:// are fetched"
        raise FetchRefused(msg)
    scheme = match["scheme"].lower()
    host, port = _read_authority(match["authority"])
    path = quote(match["path"], safe="/%:?[]@!$&'()*+,;=~")
    return Target(scheme, host, DEFAULT_PORTS[scheme] if port is None else port, f"/{path.removeprefix('/')}")


def read_reference(reference: str, *, base: Target) -> Target:
    """Parse a URL from a page or redirect, which may be relative to `base`.

    Raises:
        FetchRefused: as `read_url`.

    """
    _check_characters(reference)
    try:
        return read_url(urljoin(base.url, reference))
    except ValueError as exc:  # raised by urljoin for brackets without an address
        raise FetchRefused(_NO_HOST) from exc


_NO_HOST = "the URL names no host that can be reached; write it as https://example.org/page"


def _check_characters(url: str) -> None:
    if len(url) > MAX_URL:
        msg = f"the URL is longer than {MAX_URL} characters"
        raise FetchRefused(msg)
    if "\\" in url or " " in url or not url.isprintable():
        msg = "the URL holds a space, a backslash or a character that is not printed; write those as %XX"
        raise FetchRefused(msg)


def _read_authority(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        msg = "the URL holds a user name or a password, and these are not sent; leave them out"
        raise FetchRefused(msg)
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise FetchRefused(_NO_HOST)
    return read_host(match["host"]), int(match["port"]) if match["port"] else None


def read_host(host: str) -> str:
    """Return a normalised host name or address, without brackets.

    Raises:
        FetchRefused: it is invalid.

    """
    try:
        if host.startswith("["):
            return str(IPv6Address(host[1:-1]))
        name = host.removesuffix(".").lower()
        name = name if name.isascii() else idna.encode(name, strict=True).decode()
    except ValueError as exc:
        raise FetchRefused(_NO_HOST) from exc
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):  # noqa: PLR2004 (RFC 1035)
        raise FetchRefused(_NO_HOST)
    if _NUMBER.fullmatch(labels[-1]) and not _is_plain_v4(name):
        msg = "the URL's host is a number in an unusual form; write an address in decimal numbers, like 192.0.2.1"
        raise FetchRefused(msg)
    return name


def _is_plain_v4(text: str) -> bool:
    try:
        return str(IPv4Address(text)) == text
    except ValueError:
        return False
