"""The composition root: opens everything in order, and closes it in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from config.errors import FootnoteError
from config.settings import Settings
from config.telemetry.metrics import BREAKER_STATE
from config.telemetry.setup import NO_TELEMETRY, Telemetry
from embedding.embedder import Embedder
from embedding.opening import open_embedder
from ingestion.readers.drawing.painter import PagePainter
from server.auth.authenticator import Authenticator
from server.auth.opening import open_authenticator
from server.caches.answers import AnswerCache
from server.caches.vectors import QuestionVectors
from server.engines.fingerprint import answers_fingerprint
from server.engines.models.choose import Sharing, describe_extractive, open_model
from server.engines.models.model import LanguageModel
from server.engines.reranking.choose import open_reranker
from server.engines.reranking.reranker import Reranker
from server.engines.room import check_tokenizer, estimated_tokens
from server.engines.writing.templates import template
from server.limits.opening import OpenLimits, open_limits
from server.peers.door import opened_door, whole
from server.peers.member import Member
from server.peers.messages import Frame
from server.peers.metrics import METRICS
from server.peers.turn import SharedTurn
from server.process.vitals import observed_vitals
from server.process.worker import open_worker
from server.services.answers import AnswerService
from server.services.collections import CollectionService
from server.services.conversations import Conversations
from server.services.documents import DocumentService
from server.services.embeddings import EmbeddingService
from server.services.idempotency import Idempotency
from server.services.jobs import JobWatchers
from server.services.keys import KeyService
from server.services.page_pictures import CACHE_BYTES, PagePictures
from server.services.pinned_generations import PinnedGenerations, followed_generations
from server.streams.peer_relay import FORGET, READ, PeerRelay
from server.streams.streams import Streams
from server.uploads.multipart import Uploads
from storage import schema_version
from storage.access.keys import ApiKeys
from storage.chat.conversations import ConversationCatalog
from storage.chat.feedback import FeedbackStore
from storage.chat.idempotency import KeyStore
from storage.chat.turns import TurnStore
from storage.collections.collections import Collections
from storage.collections.index_versions import IndexVersions
from storage.database import Database
from storage.documents.catalog import DocumentCatalog
from storage.documents.readers import DocumentReaders
from storage.documents.text import DocumentTexts
from storage.jobs.jobs import JobStore
from storage.leases import Leases
from storage.search.search import default_scan
from storage.server import database_server, kept_running

if TYPE_CHECKING:
    from server.caches.redis_vectors import RedisVectors
    from server.redis_link import RedisLink
    from server.streams.redis_relay import RedisRelay

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DependencyState:
    """The state of a dependency."""

    ok: bool
    detail: str
    required: bool = True


UNSEEN = DependencyState(ok=False, detail="not checked, because the database did not answer")


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything that was opened at startup; see `server.api.contracts.Runtime`."""

    settings: Settings
    database: Database
    embedder: Embedder
    generations: PinnedGenerations
    model: LanguageModel | None
    reranker: Reranker | None
    redis: RedisLink | None
    answers: AnswerService
    embeddings: EmbeddingService
    conversations: Conversations
    feedback: FeedbackStore
    idempotency: Idempotency
    streams: Streams
    collection_catalog: Collections
    document_catalog: DocumentCatalog
    document_texts: DocumentTexts
    document_readers: DocumentReaders
    page_pictures: PagePictures
    collections: CollectionService
    documents: DocumentService
    jobs: JobStore
    watchers: JobWatchers
    uploads: Uploads
    keys: KeyService
    authenticator: Authenticator
    limits: OpenLimits
    telemetry: Telemetry
    member: Member | None = None

    async def health(self) -> Mapping[str, DependencyState]:
        """Check each dependency, by name."""
        database = await _state(self.database.ping(), detail="answers")
        return {
            **self._workers_state(),
            "database": database,
            "schema": await self._schema_state() if database.ok else UNSEEN,
            "embedding": DependencyState(ok=True, detail=self.embedder.identity.model),
            "generations": self._generations_state(),
            "model": await self._model_state(),
            **await self._optional_states(),
        }

    async def _schema_state(self) -> DependencyState:
        return await _state(schema_version.check(self.database), detail=f"revision {schema_version.REVISION}")

    def _workers_state(self) -> dict[str, DependencyState]:
        state = self.member.state() if self.member else None
        if state is None:
            return {}
        ok = state.answering >= state.wanted
        return {"workers": DependencyState(ok=ok, detail=f"{state.answering} of {state.wanted}", required=False)}

    def _generations_state(self) -> DependencyState:
        behind = "; ".join(f"{name}: {why}" for name, why in sorted(self.generations.behind.items()))
        # the old generation is used meanwhile
        return DependencyState(ok=not behind, detail=behind or "followed", required=False)

    async def _model_state(self) -> DependencyState:
        if self.model is None:
            return DependencyState(ok=True, detail="extractive: answers are quoted, no model is called")
        reason = self.model.breaker.refusal or await self.model.unready_reason()
        # retrieval works without the model, so the server stays in rotation
        return DependencyState(ok=reason is None, detail=reason or self.model.description, required=False)

    async def _optional_states(self) -> dict[str, DependencyState]:
        """Return the states of optional dependencies; questions are answered without them."""
        states = {}
        if (reranker := self.reranker) is not None:
            reason = reranker.breaker.refusal or reranker.trouble
            states["rerank"] = DependencyState(ok=reason is None, detail=reason or reranker.description, required=False)
        if (redis := self.redis) is not None:
            ok = await redis.ping()
            states["redis"] = DependencyState(ok=ok, detail=redis.trouble or "answers", required=False)
        return states


@asynccontextmanager
async def open_runtime(
    settings: Settings, *, telemetry: Telemetry = NO_TELEMETRY, member: Member | None = None
) -> AsyncIterator[Runtime]:
    """Open everything; close it at the end, or if opening fails half way. `member`: it is one worker among several.

    Raises:
        FootnoteError: something cannot be used; the message says what to do.

    """
    async with AsyncExitStack() as stack:
        server = stack.enter_context(database_server(settings))
        scan = default_scan(settings.retrieval)
        database = await Database.open(server.dsn, settings=settings.database, session=scan)
        stack.push_async_callback(database.close)
        await schema_version.check(database)
        await stack.enter_async_context(kept_running(server))
        await stack.enter_async_context(open_worker(settings))
        embedder = await asyncio.to_thread(open_embedder, settings)
        stack.callback(embedder.close)
        await embedder.query("warm-up")
        template(settings.llm.prompt)  # a wrong one is told of now, not at the first question
        if settings.llm.tokenizer:
            check_tokenizer(settings.llm.tokenizer)
        model = await open_model(settings, sharing=Sharing(member.directory, member.of) if member else None)
        if model is not None:
            stack.push_async_callback(model.close)
        _log.info("model chosen", choice=model.description if model else describe_extractive(settings))
        reranker = await open_reranker(settings, model=model)
        if reranker is not None:
            stack.push_async_callback(reranker.close)
            _log.info("reranker chosen", choice=reranker.description)
        yield await assemble(
            settings,
            database=database,
            embedder=embedder,
            model=model,
            reranker=reranker,
            stack=stack,
            telemetry=telemetry,
            member=member,
        )


async def assemble(
    settings: Settings,
    *,
    database: Database,
    embedder: Embedder,
    model: LanguageModel | None,
    stack: AsyncExitStack,
    reranker: Reranker | None = None,
    telemetry: Telemetry = NO_TELEMETRY,
    member: Member | None = None,
) -> Runtime:
    """Return the services over open resources; `stack` closes them first."""
    if telemetry.is_on:
        from server.engines.dispatcher_spans import traced_dispatcher

        stack.enter_context(traced_dispatcher())
    leases = Leases(database, seconds=settings.chat.lease_seconds)
    await stack.enter_async_context(leases.renewed())
    if model is not None:
        stack.enter_context(BREAKER_STATE.observed(model.breaker.readings))
    if reranker is not None:
        stack.enter_context(BREAKER_STATE.observed(reranker.breaker.readings))
    generations = await stack.enter_async_context(
        followed_generations(database, leases=leases, embedder=embedder, settings=settings)
    )
    limits = await stack.enter_async_context(
        open_limits(settings, database, longest_call=settings.llm.total_timeout, count=estimated_tokens)
    )
    if model is not None:
        model.purse = limits.budgets
        limits.warn_of_unpriced(model.name, is_priced=model.is_priced)
    redis, shared_vectors, relay = await _open_redis(settings, stack)
    answers = AnswerService(
        database,
        generations=generations,
        embedder=embedder,
        model=model,
        settings=settings,
        reranker=reranker,
        vectors=QuestionVectors(max_bytes=settings.cache.embedding_bytes, shared=shared_vectors),
        kept=_answer_cache(settings, database, model, reranker) if settings.cache.answers else None,
    )
    streams = Streams(settings.streams, most=settings.server.max_concurrency, member=member, slots=limits.streams)
    if relay is not None:
        streams.reach_others(relay)
    if member is not None:
        await stack.enter_async_context(_among_others(member, streams, telemetry=telemetry, relays=relay is None))
    conversations = Conversations(
        answers,
        turns=TurnStore(database, leases=leases),
        catalog=ConversationCatalog(database),
        streams=streams,
        settings=settings.chat,
    )
    stack.push_async_callback(conversations.close)
    stack.push_async_callback(streams.close)  # closed before the conversations, which record what it ends
    keys = KeyStore(database, leases=leases, hours=settings.server.idempotency_hours)
    idempotency = Idempotency(keys, streams=streams)
    await stack.enter_async_context(idempotency.kept_tidy())
    collection_catalog = Collections(database)
    if telemetry.is_on:
        vitals = observed_vitals(database, collections=collection_catalog, generations=generations, streams=streams)
        await stack.enter_async_context(vitals)
    collections = CollectionService(database, embedder=embedder, pinned=generations, settings=settings.ingestion)
    await stack.enter_async_context(collections.dropping())
    painter = PagePainter(settings=settings.ingestion)
    stack.push_async_callback(painter.aclose)
    return Runtime(
        settings=settings,
        database=database,
        embedder=embedder,
        generations=generations,
        model=model,
        reranker=reranker,
        redis=redis,
        answers=answers,
        conversations=conversations,
        feedback=FeedbackStore(database),
        idempotency=idempotency,
        streams=streams,
        embeddings=EmbeddingService(embedder),
        collection_catalog=collection_catalog,
        document_catalog=DocumentCatalog(database),
        document_texts=DocumentTexts(database),
        document_readers=DocumentReaders(database),
        page_pictures=PagePictures(
            database,
            painter=painter,
            settings=settings.ingestion,
            turn=SharedTurn(member.directory / "drawing.lock" if member else None),
            cache_bytes=CACHE_BYTES // (member.of if member else 1),
        ),
        collections=collections,
        documents=DocumentService(database, collections=collections, quotas=limits.quotas),
        jobs=JobStore(database),
        watchers=JobWatchers(most=settings.server.max_watchers),
        keys=KeyService(ApiKeys(database)),
        authenticator=await stack.enter_async_context(open_authenticator(settings, database)),
        uploads=Uploads(settings.data_dir / "uploads", max_bytes=settings.ingestion.max_file_bytes),
        limits=limits,
        telemetry=telemetry,
        member=member,
    )


@asynccontextmanager
async def _among_others(member: Member, streams: Streams, *, telemetry: Telemetry, relays: bool) -> AsyncIterator[None]:
    """Let the other workers reach this one, and its readers their streams where nothing else relays them."""
    relay = PeerRelay(member, here=streams.here)
    if relays:
        streams.reach_others(relay)

    def metrics(accept: str) -> AsyncIterator[Frame]:
        return whole(asyncio.to_thread(telemetry.exposition, accept))

    answers = {READ: relay.read, FORGET: relay.forgotten, METRICS: metrics}
    async with opened_door(member.address, answers):
        try:
            yield
        finally:
            await relay.close()


async def _open_redis(
    settings: Settings, stack: AsyncExitStack
) -> tuple[RedisLink | None, RedisVectors | None, RedisRelay | None]:
    """Open what goes through Redis, if the settings name one; its client is not imported otherwise."""
    if settings.redis.url is None:
        return None, None, None
    from server.caches.redis_vectors import RedisVectors
    from server.redis_link import open_redis_link
    from server.streams.redis_relay import open_redis_relay

    link = await stack.enter_async_context(open_redis_link(settings.redis))
    relay = await stack.enter_async_context(open_redis_relay(link, settings=settings.streams))
    return link, RedisVectors(link), relay


def _answer_cache(
    settings: Settings, database: Database, model: LanguageModel | None, reranker: Reranker | None
) -> AnswerCache:
    fingerprint = answers_fingerprint(settings, model=model, reranker=reranker)
    return AnswerCache(settings.cache, versions=IndexVersions(database), fingerprint=fingerprint)


async def _state(check: asyncio.Future[None] | object, *, detail: str) -> DependencyState:
    try:
        await check  # type: ignore[misc]
    except FootnoteError as exc:
        return DependencyState(ok=False, detail=str(exc))
    return DependencyState(ok=True, detail=detail)
