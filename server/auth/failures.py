"""Failed logins by address: so many a minute, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from cachetools import LRUCache

MINUTE = 60.0
MOST_ADDRESSES = 10_000
V6_HOST_BITS = 64
"""Of an IPv6 address: whoever has one has all of its network."""


@dataclass(slots=True)
class _Bucket:
    """What an address has left; it fills up again at an even pace."""

    left: float
    since: float


class FailedLogins:
    """Counts failed logins; use it from one event loop."""

    def __init__(self, *, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(a_minute)
        self._clock = clock
        self._buckets: LRUCache[str, _Bucket] = LRUCache(MOST_ADDRESSES)

    def wait(self, address: str) -> float:
        """Return the seconds until an address may try again; 0: now."""
        bucket = self._buckets.get(network_of(address))
        if bucket is None:
            return 0.0
        self._refill(bucket)
        return max(0.0, (1 - bucket.left) * MINUTE / self._most)

    def add(self, address: str) -> None:
        """Count a failure."""
        network = network_of(address)
        bucket = self._buckets.get(network) or _Bucket(self._most, self._clock())
        self._refill(bucket)
        bucket.left = max(0.0, bucket.left - 1)
        self._buckets[network] = bucket

    def _refill(self, bucket: _Bucket) -> None:
        now = self._clock()
        bucket.left = min(self._most, bucket.left + (now - bucket.since) * self._most / MINUTE)
        bucket.since = now


def network_of(address: str) -> str:
    """Return what is counted for an address: itself, or an IPv6 address's network; what is none is one address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> V6_HOST_BITS << V6_HOST_BITS)}/{V6_HOST_BITS}"
