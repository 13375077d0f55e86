"""Which generation answers for a collection: looked up once, held while it is used, followed when it is flipped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from config.background import running_beside
from config.errors import FootnoteError
from config.telemetry import spans
from config.telemetry.metrics import GENERATION_FLIPS, Few
from embedding.cache import Embedders
from server.engines.pinned import Pinned
from storage.caller import acting_as, current_tenant, service_of
from storage.collections.collections import FLIPS, Collections
from storage.collections.generations import reader_lease
from storage.errors import StoreUnavailable
from storage.generation import DEFAULT_TENANT, Generation
from storage.reach import require_reachable

if TYPE_CHECKING:
    from config.settings import Settings
    from embedding.embedder import Embedder
    from storage.database import Database, Session
    from storage.leases import Leases

FOLLOW_SECONDS = 1.0
"""Between two looks for flips; notifications usually bring them sooner."""

LEASE_RETRY_SECONDS = 10.0
"""Between two tries to take leases where the database cannot be written to."""

Place = tuple[str, str]
"""A tenant, and the name of one of its collections."""

_collection_label = Few()
_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Entry:
    """A generation that this server answers from, or did and somebody still reads."""

    pinned: Pinned
    lease_name: str
    lease: ExitStack = field(default_factory=ExitStack)
    is_leased: bool = False
    users: int = 0
    is_current: bool = True


class PinnedGenerations:
    """The generations that this server answers from.

    A flip elsewhere is told by ``NOTIFY``, and found by a poll where that was missed. The next request is then pinned
    to the new generation, once its model is open; requests under way keep the one they began with. While a server
    may read a generation it holds a lease on it, so that nobody drops it. Whoever follows takes it, a moment after the
    first request: none waits for it, and where the database cannot be written to (a full disk, a standby), requests are
    answered without. `FOOTNOTE_GENERATIONS__MIN_KEEP_SECONDS` keeps what was active until then.
    """

    def __init__(self, database: Database, *, leases: Leases, embedders: Embedders) -> None:
        self._database = database
        self._collections = Collections(database)
        self._leases = leases
        self.embedders = embedders
        self._entries: dict[Place, _Entry] = {}
        self._left: set[_Entry] = set()  # no longer current, but in use
        self._loading = asyncio.Lock()
        self._refreshing = asyncio.Lock()
        self._told = asyncio.Event()
        self._callers: dict[str, str] = {}  # W3C trace contexts of who flipped a collection, as told
        self._leases_fail_until = 0.0
        self.behind: dict[str, str] = {}  # collections whose new generation cannot be read here, and why

    @asynccontextmanager
    async def pinned(self, collection: str) -> AsyncIterator[Pinned]:
        """Hold the generation that answers for a collection until the block ends.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        require_reachable(collection)
        entry = self._entries.get((current_tenant(), collection)) or await self._load(collection)
        with self._used(entry):
            yield entry.pinned

    @property
    def old(self) -> int:
        """How many generations answer no more, but requests that are under way."""
        return len(self._left)

    async def refresh(self) -> None:
        """Look at once which generations answer."""
        async with self._database.dedicated(is_timed=True) as connection:
            await self._refresh(connection)

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Follow flips until the block ends."""
        try:
            async with running_beside(self._follow()):
                yield
        finally:
            for entry in [*self._entries.values(), *self._left]:
                entry.lease.close()

    @contextmanager
    def _used(self, entry: _Entry) -> Iterator[None]:
        entry.users += 1
        try:
            yield
        finally:
            entry.users -= 1
            if not entry.users and not entry.is_current:
                self._forget(entry)

    async def _load(self, collection: str) -> _Entry:
        async with self._loading:
            place = (current_tenant(), collection)
            if (known := self._entries.get(place)) is not None:
                return known
            generation = await self._collections.active(collection)
            entry = self._entries[place] = _entry(await self._opened(generation))
            self._told.set()  # whoever follows takes a lease
            _count_flips(collection, 0)  # so that the first one is an increase
            return entry

    async def _opened(self, generation: Generation) -> Pinned:
        try:
            return Pinned(generation, await self.embedders.of(generation.embedding))
        except FootnoteError as exc:
            _log.warning("a collection's model cannot be used", collection=generation.collection, error=str(exc))
            return Pinned(generation, failure=exc)

    async def _take_leases(self) -> None:
        wanted = [each for each in (*self._entries.values(), *self._left) if not each.is_leased]
        if not wanted or time.monotonic() < self._leases_fail_until:
            return
        try:
            for entry in wanted:
                await self._lease(entry)
            self._leases_fail_until = 0.0
        except FootnoteError as exc:
            if not self._leases_fail_until:
                _log.warning("generations are read without a lease for now", error=type(exc).__name__, reason=str(exc))
            self._leases_fail_until = time.monotonic() + LEASE_RETRY_SECONDS

    async def _lease(self, entry: _Entry) -> None:
        tenant = entry.pinned.generation.tenant_id
        with acting_as(service_of(tenant)):  # those who prune look for leases among the tenant's
            async with self._database.connection() as connection:
                await self._leases.take(connection, entry.lease_name)
        if entry.is_current or entry.users:  # else it is read no longer, and what was taken expires
            entry.lease.enter_context(self._leases.kept(entry.lease_name))
            entry.is_leased = True

    async def _follow(self) -> None:
        while True:
            try:
                renewals = self._database.renewals
                async with self._database.dedicated(is_timed=True) as connection:
                    await connection.add_listener(FLIPS, lambda *notice: self._hear(str(notice[-1])))
                    while not connection.is_closed() and self._database.renewals == renewals:
                        self._told.clear()
                        await self._refresh(connection)
                        await self._wait()
            except FootnoteError as exc:
                level = _log.info if isinstance(exc, StoreUnavailable) else _log.warning
                level("flips are not followed for now", error=type(exc).__name__)
            except Exception as exc:  # noqa: BLE001 (whatever it is: a server that no longer follows is worse)
                _log.exception("flips are not followed for now", error=type(exc).__name__)
            await asyncio.sleep(FOLLOW_SECONDS)

    def _hear(self, notice: str) -> None:
        """Take note of a flip: the collection's name, and the trace that it is a part of, if any."""
        collection, _, caller = notice.partition(" ")
        self._callers[collection] = caller
        self._told.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(FOLLOW_SECONDS):
                await self._told.wait()
        except TimeoutError:
            pass

    async def _refresh(self, connection: Session) -> None:
        async with self._refreshing:  # a request may look while the follower does
            await self._compare(connection)

    async def _compare(self, connection: Session) -> None:
        callers, self._callers = self._callers, {}
        places = list(self._entries)
        if not places:
            return
        active = await self._collections.active_of(places, connection=connection)
        for place in places:
            if place not in active:
                self._retire(place)
            elif active[place].id != self._entries[place].pinned.generation.id:
                await self._switch(active[place], caller=callers.get(place[1], ""))
            else:
                self.behind.pop(_shown(place), None)  # it was gone back to, before this server could follow
                await self._try_again(place)
        await self._take_leases()
        await self._release_models()

    async def _switch(self, generation: Generation, *, caller: str) -> None:
        """Answer from another generation once its model is open; until then the old one answers."""
        place = (generation.tenant_id, generation.collection)
        name, old, began = _shown(place), self._entries[place].pinned, time.perf_counter()
        pinned = await self._opened(generation)
        if pinned.failure is not None and old.embedder is not None and name not in self.behind:
            _log.error("the old generation goes on answering", collection=name, generation=old.generation.name)
        if pinned.failure is not None and old.embedder is not None:
            self.behind[name] = f"generation {generation.name}: {pinned.failure}"
            return
        self._retire(place)
        self._entries[place] = _entry(pinned)
        _log.info("another generation answers", collection=name, generation=generation.name)
        _count_flips(generation.collection, 1)
        told: dict[str, spans.Value] = {"footnote.collection": name, "footnote.generation": generation.name}
        with spans.continued({"traceparent": caller}):
            spans.past("footnote.generation.switch", seconds=time.perf_counter() - began, attributes=told)

    async def _try_again(self, place: Place) -> None:
        """Open the model of the generation that answers, where that could not be done before."""
        if self._entries[place].pinned.embedder is not None:
            return
        pinned = await self._opened(self._entries[place].pinned.generation)
        if pinned.embedder is not None:
            self._entries[place].pinned = pinned

    def _retire(self, place: Place) -> None:
        entry = self._entries.pop(place, None)
        self.behind.pop(_shown(place), None)
        if entry is None:
            return
        entry.is_current = False
        if entry.users:
            self._left.add(entry)
        else:
            self._forget(entry)

    def _forget(self, entry: _Entry) -> None:
        self._left.discard(entry)
        entry.lease.close()  # it is renewed no longer, and expires

    async def _release_models(self) -> None:
        if self._loading.locked():  # a model that is open may belong to no entry yet; the next round will do
            return
        async with self._loading:
            used = {entry.pinned.generation.embedding.fingerprint for entry in [*self._entries.values(), *self._left]}
            for embedder in self.embedders.give_up_others(used):
                await asyncio.to_thread(embedder.close)


def _entry(pinned: Pinned) -> _Entry:
    # a lease of its own: an earlier entry of the same generation, before it was flipped away and back, may end first
    return _Entry(pinned, lease_name=reader_lease(pinned.generation, holder=uuid4()))


def _shown(place: Place) -> str:
    tenant, collection = place
    return collection if tenant == DEFAULT_TENANT else f"{tenant}/{collection}"


def _count_flips(collection: str, number: int) -> None:
    GENERATION_FLIPS.add(number, {"footnote.collection": _collection_label(collection)})


@asynccontextmanager
async def followed_generations(
    database: Database, *, leases: Leases, embedder: Embedder, settings: Settings
) -> AsyncIterator[PinnedGenerations]:
    """Follow the generations of the collections that are asked for; `embedder` is the configured, open model."""
    embedders = Embedders(settings)
    embedders.lend(embedder)
    generations = PinnedGenerations(database, leases=leases, embedders=embedders)
    try:
        async with generations.followed():
            yield generations
    finally:
        await asyncio.to_thread(embedders.close)
