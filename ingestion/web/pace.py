"""Rate limits for each host."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from ingestion.errors import FetchFailed

MAX_WAIT_SECONDS = 120.0
MAX_HOSTS = 10_000


class Pace:
    """Spaces requests to one host by an interval.

    At most `MAX_HOSTS` hosts are remembered; the least recently used are forgotten first.

    Args:
        interval: seconds between requests to a host.
        longest_wait: seconds that a request waits for its turn; if it would take longer, it fails for now.
        clock: returns seconds.

    """

    def __init__(
        self,
        *,
        interval: float,
        longest_wait: float = MAX_WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = interval
        self._longest = longest_wait
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()

    async def turn(self, host: str, *, interval: float = 0) -> None:
        """Wait for the host's next turn; a longer interval that the host asks for takes precedence.

        Raises:
            FetchFailed: the wait would exceed the limit; `retry_after` says how long it is.

        """
        await asyncio.sleep(self.reserve(host, interval=interval))

    def reserve(self, host: str, *, interval: float = 0) -> float:
        """Take the host's next turn and return the seconds until then.

        Raises:
            FetchFailed: as `turn`; no turn is taken.

        """
        now = self._clock()
        at = max(now, self._free_at.get(host, now))
        if at - now > self._longest:
            msg = f"{host} wants to be asked less often; its next turn is in {at - now:.0f} seconds"
            raise FetchFailed(msg, retry_after=at - now)
        self._remember(host, at + max(self._interval, interval))
        return at - now

    def hold(self, host: str, *, seconds: float) -> None:
        """Send no requests to the host for some time, as it asked."""
        self._remember(host, max(self._clock() + seconds, self._free_at.get(host, 0)))

    def _remember(self, host: str, at: float) -> None:
        self._free_at[host] = at
        self._free_at.move_to_end(host)
        while len(self._free_at) > MAX_HOSTS:
            self._free_at.popitem(last=False)
