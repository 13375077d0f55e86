"""The composition root: opens everything in order, and closes it in reverse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from config.background import running_beside
from config.errors import FootnoteError
from config.settings import Settings
from config.telemetry.metrics import BREAKER_STATE, DISK_FREE, DISK_SIZE
from config.telemetry.setup import NO_TELEMETRY, Telemetry
from embedding.embedder import Embedder
from embedding.opening import open_embedder, slowed_of, trouble_of
from ingestion.plug_ins import check_plug_ins
from ingestion.readers.drawing.painter import PagePainter
from ingestion.readers.kinds import KIND_OF_SUFFIX
from server.audit.refusals import Refusals
from server.auth.authenticator import Authenticator
from server.auth.opening import open_authenticator
from server.caches.answers import AnswerCache
from server.caches.vectors import QuestionVectors
from server.engines.fingerprint import answers_fingerprint
from server.engines.models.choose import Sharing, describe_extractive, open_model
from server.engines.models.estimates import estimated_tokens
from server.engines.models.model import LanguageModel
from server.engines.models.provider import LOCAL
from server.engines.reranking.choose import open_reranker
from server.engines.reranking.reranker import Reranker
from server.engines.room import check_tokenizer
from server.engines.writing.templates import template
from server.limits.opening import OpenLimits, open_limits
from server.peers.door import opened_door, whole
from server.peers.member import Member
from server.peers.messages import Frame
from server.peers.metrics import METRICS
from server.peers.turn import SharedTurn
from server.plug_ins.opening import OpenPlugIns, open_plug_ins
from server.process.connections import Connections, compared, read
from server.process.disks import Disks, disks_of
from server.process.probes import BUSY, Check, DependencyState, Probes
from server.process.vitals import observed_vitals
from server.process.worker import open_worker
from server.services.answers import AnswerService
from server.services.collections import CollectionService
from server.services.conversations import Conversations
from server.services.documents import DocumentService
from server.services.embeddings import EmbeddingModels
from server.services.evidence import EvidenceRecord
from server.services.idempotency import Idempotency
from server.services.jobs import JobWatchers
from server.services.keys import KeyService
from server.services.page_pictures import CACHE_BYTES, PagePictures
from server.services.pinned_generations import PinnedGenerations, followed_generations
from server.services.quality import Evaluations, Golden
from server.services.suggestions import Suggestions
from server.services.tenants import TenantService
from server.streams.admitted import end_unadmitted
from server.streams.peer_relay import FORGET, READ, STOP, PeerRelay
from server.streams.streams import Streams
from server.uploads.multipart import Uploads
from storage import schema_version
from storage.access.evidence import EvidenceStore
from storage.access.keys import ApiKeys
from storage.access.tenants import Tenants
from storage.audit.keeping import Sealing, kept_in_order
from storage.audit.record import AuditRecord
from storage.chat.conversations import ConversationCatalog
from storage.chat.feedback import FeedbackStore
from storage.chat.idempotency import KeyStore
from storage.chat.turns import TurnStore
from storage.collections.collections import Collections
from storage.collections.index_versions import IndexVersions
from storage.database import Database
from storage.documents.catalog import DocumentCatalog
from storage.documents.headings import Headings
from storage.documents.readers import DocumentReaders
from storage.documents.text import DocumentTexts
from storage.errors import StoreTimeout, StoreUnavailable
from storage.jobs.jobs import JobStore
from storage.leases import Leases
from storage.quality.evaluations import EvaluationStore
from storage.quality.golden import GoldenStore
from storage.search.search import default_scan
from storage.server import database_server, kept_running

if TYPE_CHECKING:
    from server.caches.redis_vectors import RedisVectors
    from server.redis_link import RedisLink
    from server.streams.redis_relay import RedisRelay

_log = structlog.get_logger(__name__)


NO_PLUG_INS = OpenPlugIns()
UNSEEN = DependencyState(ok=False, detail="not checked, because of the database")


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
    embeddings: EmbeddingModels
    conversations: Conversations
    feedback: FeedbackStore
    golden: Golden
    evaluations: Evaluations
    idempotency: Idempotency
    streams: Streams
    collection_catalog: Collections
    document_catalog: DocumentCatalog
    document_texts: DocumentTexts
    suggestions: Suggestions
    document_readers: DocumentReaders
    page_pictures: PagePictures
    collections: CollectionService
    documents: DocumentService
    jobs: JobStore
    watchers: JobWatchers
    uploads: Uploads
    evidence: EvidenceRecord
    keys: KeyService
    tenants: TenantService
    authenticator: Authenticator
    limits: OpenLimits
    audit: AuditRecord
    refusals: Refusals
    sealing: Sealing
    telemetry: Telemetry
    member: Member | None = None
    connections: Connections | None = None
    plug_ins: OpenPlugIns = field(default_factory=OpenPlugIns)
    probes: Probes = field(default_factory=Probes)
    disks: Disks = field(default_factory=Disks)

    async def health(self) -> Mapping[str, DependencyState]:
        """Check each dependency, by name; what does not answer within two seconds counts as down."""
        checks = {
            "database": Check(
                self._database_states,
                required=("database", "schema"),
                answered=lambda since: self.database.has_answered(since=since),
            ),
            "embedding": Check(self._embedding_state, optional=("embedding",)),
            "model": Check(self._model_state, optional=("model",)),
            "disk": Check(self.disks.look, optional=("disk",)),
        }
        if self.redis is not None:
            checks["redis"] = Check(self._redis_state, optional=("redis",))
        return {
            **self._workers_state(),
            **await self.probes.look(checks),
            "generations": self._generations_state(),
            "audit": self._audit_state(),
            **self._plug_in_states(),
            **self._connections_state(),
            **self._reranker_state(),
        }

    async def _database_states(self) -> Mapping[str, DependencyState]:
        began = time.monotonic()
        database = await _state(self.database.ping(), detail="answers")
        schema = await _state(self._checked_schema(began)) if database.ok else UNSEEN
        return {"database": database, "schema": schema}

    async def _checked_schema(self, began: float) -> object:
        try:
            return await schema_version.check(self.database)
        except (StoreUnavailable, StoreTimeout):
            if self.database.has_answered(since=began):
                return BUSY
            raise

    def _workers_state(self) -> dict[str, DependencyState]:
        state = self.member.state() if self.member else None
        if state is None:
            return {}
        ok = state.answering >= state.wanted
        return {
            "workers": DependencyState(
                ok=ok,
                detail=f"{state.answering} of {state.wanted}",
                required=False,
                facts={"answering": state.answering, "wanted": state.wanted},
            )
        }

    async def _embedding_state(self) -> Mapping[str, DependencyState]:
        models = self.generations.embedders.opened()
        troubles = [trouble for trouble in await asyncio.gather(*map(trouble_of, models)) if trouble]
        # questions by keyword, and conversations, need no embedding server
        slowed = [f"{model.identity.model} is {told}" for model in models if (told := slowed_of(model))]
        detail = "; ".join([*troubles, *dict.fromkeys(slowed)]) or self.embedder.identity.model
        return {"embedding": DependencyState(ok=not troubles, detail=detail, required=False)}

    def _generations_state(self) -> DependencyState:
        behind = "; ".join(f"{name}: {why}" for name, why in sorted(self.generations.behind.items()))
        # the old generation is used meanwhile
        return DependencyState(ok=not behind, detail=behind or "followed", required=False)

    def _audit_state(self) -> DependencyState:
        trouble = self.sealing.trouble
        return DependencyState(ok=trouble is None, detail=trouble or "sealed", required=False)

    async def _model_state(self) -> Mapping[str, DependencyState]:
        if self.model is None:
            return {"model": DependencyState(ok=True, detail="extractive: answers are quoted, no model is called")}
        reason = self.model.refusal or await self.model.unready_reason()
        # retrieval works without the model, so the server stays in rotation
        notes = list(filter(None, (self.model.resting, self.model.doubt)))
        detail = reason or "; ".join([*notes, self.model.description])
        facts = {"provider": self.model.provider, "model": self.model.name}
        if notes:
            facts["note"] = "; ".join(notes)
        return {"model": DependencyState(ok=reason is None, detail=detail, required=False, facts=facts)}

    def _connections_state(self) -> dict[str, DependencyState]:
        if (found := self.connections) is None:
            return {}
        return {"connections": DependencyState(ok=found.fits, detail=str(found), required=False, facts=found.facts)}

    def _plug_in_states(self) -> dict[str, DependencyState]:
        """Return the states of plug-ins; without a postprocessor or a guard, no question is answered."""
        return {
            f"plug-in {calls.name}": DependencyState(
                ok=trouble is None, detail=trouble or "answers", required=calls.kind in {"postprocessor", "guard"}
            )
            for calls, trouble in self.plug_ins.troubles()
        }

    def _reranker_state(self) -> dict[str, DependencyState]:
        if (reranker := self.reranker) is None:
            return {}
        reason = reranker.breaker.refusal or reranker.trouble
        detail, facts = reason or reranker.description, reranker.facts
        return {"rerank": DependencyState(ok=reason is None, detail=detail, required=False, facts=facts)}

    async def _redis_state(self) -> Mapping[str, DependencyState]:
        redis = self.redis
        if redis is None:
            return {}
        ok = await redis.ping()
        return {"redis": DependencyState(ok=ok, detail=redis.trouble or "answers", required=False)}


@asynccontextmanager
async def open_runtime(
    settings: Settings, *, telemetry: Telemetry = NO_TELEMETRY, member: Member | None = None
) -> AsyncIterator[Runtime]:
    """Open everything; close it at the end, or if opening fails half way. `member`: it is one worker among several.

    Raises:
        FootnoteError: something cannot be used; the message says what to do.

    """
    async with AsyncExitStack() as stack:
        tell = _log.info if member is None or member.number == 1 else _log.debug  # once for all workers
        server = stack.enter_context(database_server(settings))
        scan = default_scan(settings.retrieval)
        database = await Database.open(server.dsn, settings=settings.database, session=scan)
        stack.push_async_callback(database.close)
        await schema_version.check(database)
        await stack.enter_async_context(kept_running(server))
        await stack.enter_async_context(open_worker(settings))
        if member is None:
            _log.info("starting: loading the embedding model", shown=True)
        embedder = await asyncio.to_thread(open_embedder, settings)
        stack.callback(embedder.close)
        if not settings.embedding.is_remote:  # a remote one was asked already, if it could be
            await embedder.query("warm-up")
        await asyncio.to_thread(check_plug_ins, settings.ingestion, ours=KIND_OF_SUFFIX)
        plug_ins = await asyncio.to_thread(open_plug_ins, settings.plug_ins)
        stack.push_async_callback(plug_ins.close)
        template(settings.llm.prompt)  # a wrong one is told of now, not at the first question
        if settings.llm.tokenizer:
            check_tokenizer(settings.llm.tokenizer)
        model = await open_model(settings, sharing=Sharing(member.directory, member.of) if member else None)
        if model is not None:
            stack.push_async_callback(model.close)
        tell("model chosen", detail=model.description if model else describe_extractive(settings), shown=True)
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
            plug_ins=plug_ins,
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
    plug_ins: OpenPlugIns = NO_PLUG_INS,
) -> Runtime:
    """Return the services over open resources; `stack` closes them first."""
    if telemetry.is_on:
        from server.engines.dispatcher_spans import traced_dispatcher

        stack.enter_context(traced_dispatcher())
    leases = Leases(database, seconds=settings.chat.lease_seconds)
    await stack.enter_async_context(leases.renewed())
    members = model.members if model is not None else ()
    for each in members:
        stack.enter_context(BREAKER_STATE.observed(each.breaker.readings))
    if reranker is not None:
        stack.enter_context(BREAKER_STATE.observed(reranker.breaker.readings))
    generations = await stack.enter_async_context(
        followed_generations(database, leases=leases, embedder=embedder, settings=settings)
    )
    limits = await stack.enter_async_context(
        open_limits(settings, database, longest_call=settings.llm.total_timeout, count=estimated_tokens)
    )
    if model is not None:
        model.pay_from(limits.budgets)
    for each in members:
        limits.warn_of_unpriced(each.name, is_priced=each.is_priced)
    audit = AuditRecord(database)
    refusals = Refusals(audit)
    sealing = await stack.enter_async_context(kept_in_order(database, settings=settings.audit))
    await stack.enter_async_context(refusals.written())
    redis, shared_vectors, relay = await _open_redis(settings, stack)
    evidence = await stack.enter_async_context(_kept_evidence(settings, database))
    answers = AnswerService(
        database,
        generations=generations,
        embedder=embedder,
        model=model,
        settings=settings,
        reranker=reranker,
        vectors=QuestionVectors(max_bytes=settings.cache.embedding_bytes, shared=shared_vectors),
        kept=_answer_cache(settings, database, model, reranker, plug_ins) if settings.cache.answers else None,
        plug_ins=plug_ins.engines,
        guards=plug_ins.guards,
        evidence=evidence,
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
    collections = CollectionService(
        database, embedders=generations.embedders, pinned=generations, settings=settings.ingestion
    )
    await stack.enter_async_context(collections.dropping())
    authenticator = await stack.enter_async_context(open_authenticator(settings, database))
    if settings.auth.mode == "required":
        await stack.enter_async_context(running_beside(end_unadmitted(streams, require=authenticator.require_still)))
    painter = PagePainter(settings=settings.ingestion)
    stack.push_async_callback(painter.aclose)
    runtime = Runtime(
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
        golden=Golden(GoldenStore(database)),
        evaluations=Evaluations(EvaluationStore(database), golden=GoldenStore(database)),
        idempotency=idempotency,
        streams=streams,
        embeddings=EmbeddingModels(embedder, others=settings.embeddings, embedders=generations.embedders),
        collection_catalog=collection_catalog,
        document_catalog=DocumentCatalog(database),
        document_texts=DocumentTexts(database),
        suggestions=Suggestions(Headings(database)),
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
        evidence=evidence,
        keys=KeyService(ApiKeys(database), limits=limits.without_key),
        tenants=TenantService(Tenants(database)),
        authenticator=authenticator,
        uploads=Uploads(settings.data_dir / "uploads", max_bytes=settings.ingestion.max_file_bytes),
        limits=limits,
        audit=audit,
        refusals=refusals,
        sealing=sealing,
        telemetry=telemetry,
        member=member,
        connections=read(member.directory) if member else await compared(database, settings, workers=1),
        plug_ins=plug_ins,
        disks=disks_of(settings),
        probes=Probes(tells=member is None or member.number == 1),
    )
    await stack.enter_async_context(_probed(runtime))
    return runtime


@asynccontextmanager
async def _probed(runtime: Runtime) -> AsyncIterator[None]:
    """Look at what the server stands on until the block ends; in the background only where somebody reads metrics."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runtime.probes.close)
        if runtime.telemetry.is_on:
            stack.enter_context(DISK_FREE.observed(runtime.disks.free))
            stack.enter_context(DISK_SIZE.observed(runtime.disks.sizes))
            await stack.enter_async_context(runtime.probes.repeated(runtime.health))
        if runtime.model is not None and (runtime.member is None or runtime.member.number == 1):
            await stack.enter_async_context(running_beside(_looked_at(runtime.model)))
        yield


async def _looked_at(model: LanguageModel) -> None:
    """Warn once, at the start, of each model that could not answer now; the server starts all the same.

    The local one is still starting.
    """
    for each in model.members:
        trouble = None if each.provider == LOCAL else await each.unready_reason()
        if trouble:
            _log.warning("the language model cannot be used now", model=each.name, detail=trouble)
        elif each.doubt:
            _log.warning("the language model may not answer", model=each.name, detail=each.doubt)


@asynccontextmanager
async def _kept_evidence(settings: Settings, database: Database) -> AsyncIterator[EvidenceRecord]:
    wanted = settings.evidence.record
    is_on = settings.auth.mode == "required" if wanted is None else wanted == "on"
    record = EvidenceRecord(EvidenceStore(database), is_on=is_on, days=settings.evidence.days)
    async with record.kept():
        yield record


@asynccontextmanager
async def _among_others(member: Member, streams: Streams, *, telemetry: Telemetry, relays: bool) -> AsyncIterator[None]:
    """Let the other workers reach this one, and its readers their streams where nothing else relays them."""
    relay = PeerRelay(member, here=streams.here)
    if relays:
        streams.reach_others(relay)

    def metrics(accept: str) -> AsyncIterator[Frame]:
        return whole(asyncio.to_thread(telemetry.exposition, accept))

    answers = {READ: relay.read, FORGET: relay.forgotten, STOP: relay.stopped, METRICS: metrics}
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
    settings: Settings,
    database: Database,
    model: LanguageModel | None,
    reranker: Reranker | None,
    plug_ins: OpenPlugIns,
) -> AnswerCache:
    fingerprint = answers_fingerprint(settings, model=model, reranker=reranker)
    return AnswerCache(
        settings.cache, versions=IndexVersions(database), fingerprint=fingerprint, uncached=plug_ins.names
    )


async def _state(check: Awaitable[object], *, detail: str = "") -> DependencyState:
    """Return a dependency's state; without a `detail`, what the check found is one."""
    try:
        found = await check
    except FootnoteError as exc:
        return DependencyState(ok=False, detail=str(exc))
    return DependencyState(ok=True, detail=detail or str(found))
