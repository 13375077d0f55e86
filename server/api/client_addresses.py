"""The address that a request came from, where proxies stand in between.

``X-Forwarded-For`` is believed as far as trusted proxies wrote it: from its end, each of them names the one before it.
What anybody else has put in front of that, or sends himself, is not looked at; neither is any other header.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.types import Scope

HEADER = b"x-forwarded-for"
MOST_HOPS = 32
"""Proxies in a row; a header may name thousands."""

Address = IPv4Address | IPv6Address


class ClientAddresses:
    """Tells who a request is from; `trusted`: addresses and networks of proxies."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusted = [ip_network(each) for each in trusted]

    def of(self, scope: Scope) -> str:
        """Return the address that a request came from; empty where it has none."""
        client = scope.get("client")
        peer = str(client[0]) if client else ""
        address = _address(peer)
        if address is None or not self._trusts(address):
            return peer
        for named in _named(scope):
            before = _address(named)
            if before is None:  # the proxy does not tell: what stands further ahead is anybody's
                break
            address = before
            if not self._trusts(address):
                break
        return str(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _named(scope: Scope) -> Iterator[str]:
    """Yield what the header names, the last first."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == HEADER]
    hops = ",".join(values).rsplit(",", MOST_HOPS) if values else []
    yield from reversed(hops[-MOST_HOPS:])


def _address(text: str) -> Address | None:
    """Return an address, which may have a port; None where it is none."""
    text = text.strip(' \t"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
