"""The issuer's keys, kept: fetched again when they are old or a token names an unknown one, kept where that fails.

Nothing that a token says is fetched or opened: its ``kid`` is looked up among what is there, ``jku`` and ``x5u`` are
not read at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING

import structlog

from config.errors import FootnoteError
from server.auth.key_sets import InvalidKeySet, KeySet

if TYPE_CHECKING:
    from jwt import PyJWK

FIRST_SECONDS = 2.0
"""Between two attempts while there are no keys at all."""

_log = structlog.get_logger(__name__)


class KeysUnavailable(FootnoteError):
    """The issuer's keys could not be fetched yet, so that no token can be checked."""

    slug = "identity-unavailable"
    retry_after = 5
    retryable = True

    def __init__(self) -> None:
        super().__init__("the identity provider's keys cannot be fetched at the moment; try again shortly")


class IssuerKeys:
    """Keeps a `KeySet`; use it from one event loop.

    Args:
        load: returns the newest document; raises `FootnoteError`, `OSError` or `InvalidKeySet`.
        refresh: seconds after which it is loaded again.
        cooldown: seconds after a load during which an unknown key id causes none.
        clock: seconds.

    """

    def __init__(
        self,
        load: Callable[[], Awaitable[bytes]],
        *,
        refresh: float,
        cooldown: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._refresh = refresh
        self._cooldown = cooldown
        self._clock = clock
        self._keys: KeySet | None = None
        self._loaded_at = self._tried_at = float("-inf")
        self._loading: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """Return the key that a token says it was signed with; None where there is none.

        Raises:
            KeysUnavailable: no keys could be loaded so far.

        """
        if self._keys is None and self._clock() - self._tried_at >= FIRST_SECONDS:
            await self.load()
        if self._keys is None:
            await self._loaded()
        if self._keys is None:
            raise KeysUnavailable
        if self._clock() - self._loaded_at >= self._refresh and self._has_cooled:
            self._begin()  # nobody waits: the old ones are good meanwhile
        found = self._keys.find(key_id, algorithm)
        if found is None and self._has_cooled:
            await self.load()
            found = self._keys.find(key_id, algorithm)
        return found

    async def load(self) -> None:
        """Load the keys, once for all who wait; a failure is logged, and leaves what was there."""
        self._begin()
        await self._loaded()

    async def close(self) -> None:
        """End what is being loaded."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait({self._loading})

    @property
    def _has_cooled(self) -> bool:
        return self._clock() - self._tried_at >= self._cooldown

    async def _loaded(self) -> None:
        if self._loading is not None:
            await asyncio.wait({self._loading})

    def _begin(self) -> None:
        if self._loading is None or self._loading.done():
            self._tried_at = self._clock()
            self._loading = asyncio.create_task(self._try(), context=Context())  # of no request

    async def _try(self) -> None:
        try:
            self._keys = KeySet.parse(await self._load())
            self._loaded_at = self._clock()
        except (FootnoteError, InvalidKeySet, OSError) as exc:
            _log.warning("the issuer's keys were not loaded", error=type(exc).__name__, reason=str(exc))
        except Exception as exc:  # noqa: BLE001 (whoever waits goes on with the old ones)
            _log.exception("the issuer's keys were not loaded", error=type(exc).__name__)
