"""Who may be answered at all: requests that call the server by a name of its own, and web pages that are let in.

Browsers let any page send requests to any server, and a page whose host name is made to point at this machine (DNS
rebinding) counts as same-origin and may read the answers. Two headers that no page can forge tell: ``Origin``, the page
that a request comes from, and ``Host``, the name that its browser connected to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.context import request_id_of
from server.api.middleware.body_limit import CLOSE, lingering
from server.api.problems import KINDS, MALFORMED, Problem, problem_response

ANY = "*"
SHOWN = 200
"""Characters of a refused header in the answer."""

_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/?#@\[\]]+))(?::([0-9]{0,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Authority:
    """Host and port of an address, as `Origin` and `Host` name them; the host in the one form that is compared."""

    host: str
    port: int | None

    @property
    def is_loopback(self) -> bool:
        """Whether it names this machine to itself, whatever a name server says."""
        return self.host == "localhost" or self.host.endswith(".localhost") or _is_loopback(self.host)


def parse_authority(text: str) -> Authority | None:
    """Parse ``host``, ``host:port``, ``[::1]:port``; None for anything else."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    address, name, port = found.groups()
    return Authority(normal_host(address or name), int(port) if port else None)


def normal_host(host: str) -> str:
    """Return a host as it is compared: lower case, without the root's dot, an IP address in its shortest form."""
    host = host.lower().removesuffix(".")
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return str(getattr(address, "ipv4_mapped", None) or address)


class OwnHosts:
    """The host names by which requests may call the server.

    Until `listens_on` says otherwise, the server is taken to be reachable from other machines.
    """

    def __init__(self, *, listening: str, allowed: Sequence[str]) -> None:
        self._any = ANY in allowed
        self._named = frozenset(map(normal_host, (listening, *allowed)))
        self._restricted = bool(allowed)

    def listens_on(self, addresses: Iterable[str]) -> None:
        """Take note of the addresses that the sockets are bound to: on loopback alone, other names are refused."""
        self._restricted = self._restricted or all(map(_is_loopback, addresses))

    def admit(self, called: Authority | None, *, reached: str | None) -> bool:
        """Tell whether a request may call the server so; `reached` is the address that the connection came in at."""
        if self._any or not self._restricted:
            return True
        if called is None:
            return False
        # probes and scrapes call a replica by its own address, which no name server can give to somebody else's page
        at_own_address = reached is not None and called.host == normal_host(reached)
        return called.is_loopback or called.host in self._named or at_own_address


class Gate:
    """Refuses requests that call the server by a foreign name (421), and those of foreign web pages (403).

    Requests without the headers pass: browsers send them, and it is browsers that others' pages steer.
    """

    def __init__(self, app: ASGIApp, *, hosts: OwnHosts, origins: Sequence[str]) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        response = problem_response(refusal, request_id=request_id_of(scope), headers=CLOSE)
        await response(scope, receive, lingering(receive, send))

    def _refusal(self, scope: Scope) -> Problem | None:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) > 1:
            return Problem(MALFORMED, "a request names one Host")
        called = parse_authority(hosts[0]) if hosts else None
        reached = (scope.get("server") or (None,))[0]
        if hosts and not self._hosts.admit(called, reached=reached):
            msg = (
                f"this server is not {hosts[0][:SHOWN]!r}; FOOTNOTE_SERVER__ALLOWED_HOSTS lists the names it answers to"
            )
            return Problem(KINDS["host-refused"], msg)
        if foreign := [origin for origin in origins if not self._may_call(origin, called)]:
            msg = f"pages of {foreign[0][:SHOWN]!r} may not call this server; see FOOTNOTE_SERVER__CORS_ORIGINS"
            return Problem(KINDS["origin-refused"], msg)
        return None

    def _may_call(self, origin: str, called: Authority | None) -> bool:
        if ANY in self._origins or origin in self._origins:
            return True
        scheme, _, rest = origin.partition("://")
        page, default = parse_authority(rest), _DEFAULT_PORTS.get(scheme)
        # a proxy may have ended TLS, so the scheme is the page's alone, and with it the port that goes without saying
        return (
            page is not None
            and called is not None
            and default is not None
            and (page.host, page.port or default) == (called.host, called.port or default)
        )


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
