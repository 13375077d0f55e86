"""A scripted runtime, applications over it, and real servers for them."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import uvloop
from fastapi import FastAPI
from support.api_keys import ApiKeysInMemory
from support.evidence import EvidenceInMemory
from support.scripted_documents import ScriptedCollections, ScriptedDocuments, ScriptedJobs
from support.scripted_quality import scripted_quality

from config.settings import AuthSettings, EmbeddingSettings, IngestionSettings, ServerSettings, Settings, StreamSettings
from config.telemetry.setup import NO_TELEMETRY, Telemetry
from embedding.cache import Embedders
from embedding.files import ModelFiles, accepted, find_model
from server.answers import Answer, Citation, Done, Question, Retrieved, Sources, Token, Turn, Usage, collect
from server.api.listener import Listener
from server.api.sockets import bind
from server.app import create_app
from server.audit.refusals import Refusals
from server.auth.authenticator import Authenticator
from server.auth.failures import FailedLogins
from server.auth.last_use import LastUse
from server.limits.overview import LimitsOverview
from server.limits.rates import FREE, Admission
from server.services.conversations import ChatMessage
from server.services.embeddings import EmbeddingModels
from server.services.idempotency import Idempotency
from server.services.jobs import JobWatchers
from server.services.keys import KeyService
from server.services.page_pictures import Marked, Picture
from server.services.suggestions import Suggestions
from server.services.tenants import TenantService
from server.streams.streams import Streams
from server.uploads.multipart import Uploads
from storage.access.tenants import TenantInfo, TenantStatus
from storage.access.usage import Usage as DayOfUsage
from storage.audit.lines import AuditLine
from storage.audit.record import AuditFilter, Refusal
from storage.chat.conversations import ConversationInfo, ConversationOrder, StoredMessage
from storage.chat.feedback import KeptRating, NewFeedback, RatedAnswer, Rating
from storage.chat.idempotency import KeyState
from storage.collections.collections import CollectionInfo
from storage.cursors import Page, decode_cursor, decode_moment, encode_cursor
from storage.documents.catalog import DocumentInfo
from storage.documents.headings import CollectionHeadings, DocumentHeadings
from storage.documents.order import Order
from storage.documents.readers import Explanation
from storage.documents.text import ChunkInfo, DocumentText, TextPart, require_revision
from storage.errors import (
    CollectionNotFound,
    ConversationNotFound,
    DocumentNotFound,
    FeedbackNotFound,
    IdempotencyKeyReused,
    PageNotFound,
    TenantExists,
    TenantNotFound,
)
from storage.generation import EmbeddingIdentity

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CITATION = Citation(
    id=1,
    node_id="8d5f2b0e-0000-5000-8000-000000000001",
    document_id="doc-1",
    source="docs/configuration.md",
    title="Configuration",
    heading="Server > Port",
    page=None,
    page_end=None,
    chunk_index=3,
    text="Set FOOTNOTE_SERVER__PORT\nto change the port.",
    score=0.031,
    scores={"dense": 0.71, "lexical": 4.2, "fused": 0.031},
    start=120,
    end=165,
    metadata={"lang": "en", "big": 2**53 + 1},
)
SOURCES = Sources((CITATION,), ("docs/configuration.md",), collection="default", generation="1")
DONE = Done(
    finish_reason="stop",
    model="scripted",
    usage=Usage(10, 5, 15),
    cost_usd=None,
    timings_ms={"embed": 1.0, "retrieve": 2.0, "rerank": 0.0, "generate": 3.0, "total": 6.0},
    citations=(replace(CITATION, cited=True),),
    sources=("docs/configuration.md",),
)
USED = DayOfUsage("2026-01-02", 3, 30, 15, 0.0, 3, 0)
LINE = AuditLine(
    id=UUID("8d5f2b0e-0000-4000-8000-000000000009"),
    at=NOW,
    tenant="public",
    subject="ada",
    actor_tenant="public",
    key=None,
    client="127.0.0.1",
    action="tenant.suspend",
    object="tenant:acme",
    outcome="success",
    request_id="r-1",
    trace_id=None,
    before_json='{"status": "active"}',
    after_json='{"status": "suspended"}',
)
CONVERSATION = ConversationInfo("5f0c9c0e-7d0b-4e57-9f0e-1f6a2f4d3c11", "The port", "default", NOW, NOW)
ANSWERED = StoredMessage("8d5f2b0e-0000-4000-8000-000000000002", "assistant", "Set the port [1].", "complete", NOW)
HAPPY: tuple[object, ...] = (SOURCES, Token("Set the "), Token("port [1]."), DONE)


class Hang:
    """A step of a script that never ends by itself."""


@dataclass
class ScriptedAnswers:
    """Plays `script`: events are given, errors raised, numbers slept, `Hang` hung; remembers what it was asked."""

    script: tuple[object, ...] = HAPPY
    questions: list[Question] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    closed_by: list[type[BaseException]] = field(default_factory=list)
    given: int = 0

    async def stream(self, question: Question, /) -> AsyncGenerator[Any, None]:
        self.questions.append(question)
        try:
            for step in self.script:
                if isinstance(step, (int, float)):
                    await asyncio.sleep(step)
                elif isinstance(step, Hang):
                    self.waiting.set()
                    await asyncio.Event().wait()
                elif isinstance(step, BaseException):
                    raise step  # noqa: TRY301 (the script says so)
                else:
                    self.given += 1
                    yield step
        except BaseException as exc:
            self.closed_by.append(type(exc))
            raise
        finally:
            self.closed.set()

    def chat(self, turn: Turn, /) -> AsyncGenerator[Any, None]:
        self.turns.append(turn)
        return self.stream(turn.question)

    def direct(self, turn: Turn, /) -> AsyncGenerator[Any, None]:
        self.turns.append(turn)
        return self.stream(turn.question)

    async def ask(self, question: Question, /) -> Answer:
        return await collect(self.stream(question))

    async def retrieve(self, question: Question, /) -> Retrieved:
        async for _ in self.stream(question):
            pass
        return Retrieved((CITATION,), collection=question.collection, generation="1", timings_ms={"total": 3.0})


@dataclass(frozen=True)
class ScriptedState:
    ok: bool
    detail: str
    required: bool = True
    facts: Mapping[str, str | int] = field(default_factory=dict)


COLLECTION = CollectionInfo("default", "1", 3, 30, "all-MiniLM-L6-v2", 384, "english", 256, "chunks_1", NOW)
KNOWN = [
    DocumentInfo(f"doc-{n}", f"docs/{n}.md", f"Page {n}", 10, 4096, "ab" * 32, {"n": n}, NOW, "default", n)
    for n in (1, 2, 3)
]


class ScriptedCollectionCatalog:
    """One collection, paged with the real cursors."""

    async def list(self, *, limit: int, cursor: str | None = None) -> Page[CollectionInfo]:  # noqa: ARG002
        return Page(() if decode_cursor(cursor) >= "default" else (COLLECTION,), None)

    async def info(self, name: str) -> CollectionInfo:
        if name != "default":
            raise CollectionNotFound(name)
        return COLLECTION


class ScriptedDocumentCatalog:
    """Three documents in one collection, paged with the real cursors."""

    async def list(
        self,
        *,
        collection: str,
        limit: int,
        cursor: str | None = None,
        parent: str | None = None,
        contains: str | None = None,
        order: Order = Order(),  # noqa: B008 (frozen)
    ) -> Page[DocumentInfo]:
        await ScriptedCollectionCatalog().info(collection)
        after = order.place(cursor)[1] or ""
        wanted = [document for document in KNOWN if parent in {None, document.parent}]
        words = (contains or "").lower()
        found = [each for each in wanted if each.id > after and words in f"{each.source}\n{each.title}".lower()]
        page = tuple(found[:limit])
        return Page(page, order.cursor_of(page[-1]) if len(found) > limit else None)

    async def get(self, document_id: str, *, collection: str) -> DocumentInfo:
        for document in KNOWN:
            if document.id == document_id and collection == document.collection:
                return document
        raise DocumentNotFound(document_id)


class ScriptedDocumentTexts:
    """A long text for each document."""

    async def part(self, document_id: str, /, *, collection: str | None, offset: int, limit: int) -> TextPart:
        document = await ScriptedDocumentCatalog().get(document_id, collection=collection)
        whole = f"The text of {document.title}. ".ljust(300_000, "x")
        return TextPart(whole[offset : offset + limit], offset=offset, total=len(whole))

    async def whole(self, document_id: str, /, *, collection: str, revision: int | None = None) -> DocumentText:
        document = await ScriptedDocumentCatalog().get(document_id, collection=collection)
        require_revision(document_id, revision, current=document.revision)
        return DocumentText(document_id, document.revision, document.title, ())

    async def chunks(
        self, document_id: str, /, *, collection: str, limit: int, cursor: str | None = None
    ) -> Page[ChunkInfo]:
        document = await ScriptedDocumentCatalog().get(document_id, collection=collection)
        chunk = ChunkInfo("n-1", 0, 0, len(document.title), None, document.title)
        return Page((chunk,)[: 0 if decode_cursor(cursor) else limit], None)


class ScriptedHeadings:
    """A heading in each of the three documents."""

    async def of(self, collection: str, /) -> CollectionHeadings:
        await ScriptedCollectionCatalog().info(collection)
        found = [DocumentHeadings(each.id, each.title, (f"Server > Port of {each.title}",)) for each in KNOWN]
        return CollectionHeadings("english", tuple(found))


class ScriptedDocumentReaders:
    """Whoever is named reads the scripted documents."""

    async def put(self, document_id: str, readers: Sequence[str], *, collection: str) -> tuple[str, ...]:
        await ScriptedDocumentCatalog().get(document_id, collection=collection)
        return tuple(readers)

    async def explain(self, document_id: str, *, collection: str, subject: str, groups: Sequence[str]) -> Explanation:
        await ScriptedDocumentCatalog().get(document_id, collection=collection)
        return Explanation(document_id, collection, subject, tuple(groups), ("*",), ("*",))


class ScriptedPagePictures:
    """A grey pixel for the first page of each document."""

    async def draw(self, document_id: str, marked: Marked, *, collection: str, revision: int | None) -> Picture:
        document = await ScriptedDocumentCatalog().get(document_id, collection=collection)
        require_revision(document_id, revision, current=document.revision)
        if marked.page > 1:
            msg = "it has one page"
            raise PageNotFound(msg)
        return Picture(b"\x89PNG\r\n\x1a\n", "key")


@dataclass
class ScriptedEmbedder:
    """Makes vectors of the lengths of texts; files, and so the tokenizer, are the bundled model's."""

    files: ModelFiles = field(default_factory=lambda: find_model(EmbeddingSettings()))
    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    step: Any = None

    @property
    def identity(self) -> EmbeddingIdentity:
        return self.files.identity(EmbeddingSettings())

    @property
    def accepted(self) -> frozenset[str]:
        return accepted(self.files, EmbeddingSettings())

    async def texts(self, texts: Sequence[str]) -> Any:
        return await self._embed("text", texts)

    async def queries(self, texts: Sequence[str]) -> Any:
        return await self._embed("query", texts)

    async def _embed(self, prompt: str, texts: Sequence[str]) -> Any:
        self.calls.append((prompt, list(texts)))
        if isinstance(self.step, BaseException):
            raise self.step
        if isinstance(self.step, Hang):
            await asyncio.Event().wait()
        made = np.zeros((len(texts), self.identity.dimension), dtype=np.float32)
        made[:, 0] = [len(text) for text in texts]
        made[:, 1] = 0.1
        return made


@dataclass
class ScriptedConversations:
    """One conversation, whatever is asked for; its answers play the script."""

    answers: ScriptedAnswers
    messages_seen: list[ChatMessage] = field(default_factory=list)

    async def stream(self, message: ChatMessage, /) -> AsyncGenerator[Any, None]:
        self.messages_seen.append(message)
        given: list[Any] = []
        async with aclosing(self.answers.stream(message.question)) as events:
            async for event in events:
                if isinstance(event, Sources):
                    text = message.question.question
                    event = replace(event, conversation_id=CONVERSATION.id, standalone_question=text)  # noqa: PLW2901
                elif isinstance(event, Done):
                    event = replace(event, conversation_id=CONVERSATION.id, message_id=ANSWERED.id)  # noqa: PLW2901
                    if message.key is not None:
                        text = "".join(token.text for token in given[1:])
                        answer = Answer(text, sources=given[0], done=event)
                        none: Any = None  # there is no database
                        await message.key.keep_within(none, answer=answer, conversation_id=UUID(CONVERSATION.id))
                given.append(event)
                yield event

    async def list(
        self, *, limit: int, cursor: str | None, contains: str | None, order: ConversationOrder
    ) -> Page[ConversationInfo]:
        is_behind = order.place(cursor)[1] is not None or limit < 1
        is_there = (contains or "").lower() in CONVERSATION.title.lower()
        return Page((CONVERSATION,) if is_there and not is_behind else (), None)

    async def get(self, conversation_id: str, /) -> ConversationInfo:
        if conversation_id != CONVERSATION.id:
            raise ConversationNotFound(conversation_id)
        return CONVERSATION

    async def messages(self, conversation_id: str, /, *, limit: int, cursor: str | None) -> Page[StoredMessage]:  # noqa: ARG002
        await self.get(conversation_id)
        decode_cursor(cursor)
        return Page((ANSWERED,), None)

    async def rename(self, conversation_id: str, /, *, title: str) -> ConversationInfo:
        return replace(await self.get(conversation_id), title=title)

    async def delete(self, conversation_id: str, /) -> None:
        await self.get(conversation_id)


class KeysInMemory:
    """What `storage.chat.idempotency.KeyStore` does, for one process and without expiry."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, str, str | None]] = {}

    async def take(self, key: str, *, fingerprint: str, stream_id: str) -> KeyState:
        known = self._keys.get(key)
        if known is None:
            self._keys[key] = (fingerprint, stream_id, None)
            return KeyState(mine=True, stream_id=stream_id, answer_json=None)
        if known[0] != fingerprint:
            raise IdempotencyKeyReused
        return KeyState(mine=False, stream_id=known[1], answer_json=known[2])

    def at_work(self, _: str) -> AbstractContextManager[None]:
        return nullcontext()

    async def keep(self, key: str, *, answer_json: str) -> None:
        self._keys[key] = (*self._keys[key][:2], answer_json)

    async def keep_within(self, _connection: Any, key: str, *, answer_json: str, conversation_id: Any) -> None:  # noqa: ARG002
        await self.keep(key, answer_json=answer_json)

    async def release(self, key: str) -> None:
        if key in self._keys and self._keys[key][2] is None:
            del self._keys[key]


class FeedbackInMemory:
    """What `storage.chat.feedback.FeedbackStore` does, for one process; all ratings are one page."""

    def __init__(self) -> None:
        self.given: dict[str, NewFeedback] = {}

    async def put(self, given: NewFeedback) -> KeptRating:
        before = self.given.get(given.trace_id)
        self.given[given.trace_id] = given
        is_news = before is None or before.rating != given.rating
        return KeptRating(given.trace_id, given.trace_id, given.rating, NOW, NOW, is_news=is_news)

    async def list(self, *, limit: int, cursor: str | None, rating: Rating | None = None) -> Page[RatedAnswer]:  # noqa: ARG002
        decode_moment(cursor)
        kept = [given for given in self.given.values() if rating in (None, given.rating)]
        return Page(tuple(self._rated(given) for given in kept), None)

    async def delete(self, feedback_id: str) -> None:
        if self.given.pop(feedback_id, None) is None:
            raise FeedbackNotFound(feedback_id)

    def _rated(self, given: NewFeedback) -> RatedAnswer:
        unknown = {"conversation_id": None, "generation": None, "model": None}
        return RatedAnswer(id=given.trace_id, created_at=NOW, updated_at=NOW, **asdict(given), **unknown)


class Unlimited:
    """No limits; one day of usage, whoever asks."""

    def __init__(self) -> None:
        self.requests = self.usage = self.of_caller = self.budgets = self

    async def take(self) -> Admission:
        return FREE

    async def flush(self) -> None: ...

    async def overview(self) -> LimitsOverview:
        return LimitsOverview({}, {}, [])

    async def list(self, _tenant: str, *, cursor: str | None, **_: Any) -> Page[DayOfUsage]:
        return Page(() if decode_cursor(cursor) else (USED,), None)


class TenantsInMemory:
    """What `storage.access.tenants.Tenants` does, for one process."""

    def __init__(self) -> None:
        self.kept = {name: TenantInfo(name, "active", NOW, 1, 3, 0) for name in ("acme", "public")}

    async def page(self, *, limit: int, cursor: str | None = None) -> Page[TenantInfo]:
        found = [self.kept[name] for name in sorted(self.kept) if name > decode_cursor(cursor)]
        return Page(tuple(found[:limit]), encode_cursor(found[limit - 1].id) if len(found) > limit else None)

    async def find(self, tenant: str) -> TenantInfo | None:
        return self.kept.get(tenant)

    async def create(self, tenant: str) -> None:
        if tenant in self.kept:
            raise TenantExists(tenant)
        self.kept[tenant] = TenantInfo(tenant, "active", NOW, 0, 0, 0)

    async def suspend(self, tenant: str) -> None:
        self._mark(tenant, "suspended")

    async def resume(self, tenant: str) -> None:
        self._mark(tenant, "active")

    async def delete(self, tenant: str) -> Mapping[str, int]:
        if self.kept.pop(tenant, None) is None:
            raise TenantNotFound(tenant)
        return {"documents": 3}

    def _mark(self, tenant: str, status: TenantStatus) -> None:
        if tenant not in self.kept:
            raise TenantNotFound(tenant)
        self.kept[tenant] = replace(self.kept[tenant], status=status)


class AuditInMemory:
    """The lines that were noted; others have none."""

    def __init__(self) -> None:
        self.noted: list[Refusal] = []
        self.lines: tuple[AuditLine, ...] = (LINE,)

    async def note(self, refusals: Sequence[Refusal]) -> None:
        self.noted += refusals

    async def list(self, _which: AuditFilter, *, limit: int, cursor: str | None = None) -> Page[AuditLine]:  # noqa: ARG002
        return Page(() if decode_moment(cursor)[0] else self.lines, None)

    async def names(self, lines: Sequence[AuditLine], /, *, documents: bool, keys: bool) -> Mapping[str, str]:  # noqa: ARG002
        return {f"document:default/{each.id}": each.title for each in KNOWN} if documents else {}


@dataclass
class ScriptedRuntime:
    settings: Settings
    answers: ScriptedAnswers = field(default_factory=ScriptedAnswers)
    collection_catalog: Any = field(default_factory=ScriptedCollectionCatalog)
    document_catalog: Any = field(default_factory=ScriptedDocumentCatalog)
    document_texts: Any = field(default_factory=ScriptedDocumentTexts)
    suggestions: Any = field(default_factory=lambda: Suggestions(ScriptedHeadings()))  # type: ignore[arg-type]
    document_readers: Any = field(default_factory=ScriptedDocumentReaders)
    page_pictures: Any = field(default_factory=ScriptedPagePictures)
    streams: Any = None
    conversations: Any = None
    feedback: Any = field(default_factory=FeedbackInMemory)
    telemetry: Telemetry = NO_TELEMETRY
    member: Any = None
    limits: Any = field(default_factory=Unlimited)
    audit: Any = field(default_factory=AuditInMemory)
    refusals: Any = None
    idempotency: Any = None
    documents: ScriptedDocuments = field(default_factory=ScriptedDocuments)
    jobs: Any = field(default_factory=ScriptedJobs)
    watchers: JobWatchers = field(default_factory=lambda: JobWatchers(most=2))
    collections: ScriptedCollections = field(default_factory=ScriptedCollections)
    uploads: Any = None
    evidence: Any = field(default_factory=EvidenceInMemory)
    api_keys: ApiKeysInMemory = field(default_factory=ApiKeysInMemory)
    keys: Any = None
    tenants: Any = field(default_factory=lambda: TenantService(TenantsInMemory()))  # type: ignore[arg-type]
    authenticator: Any = None
    golden: Any = None
    evaluations: Any = None

    def __post_init__(self) -> None:
        self.golden, self.evaluations = scripted_quality()
        self.streams = Streams(self.settings.streams, most=self.settings.server.max_concurrency)
        self.uploads = Uploads(Path(tempfile.gettempdir()), max_bytes=self.settings.ingestion.max_file_bytes)
        self.keys = KeyService(self.api_keys)  # type: ignore[arg-type]
        bootstrap = self.settings.auth.bootstrap_key
        self.authenticator = Authenticator(
            self.api_keys.known(),
            used=LastUse(self.api_keys),  # type: ignore[arg-type]
            failures=FailedLogins(a_minute=self.settings.auth.failed_logins),
            bootstrap=bootstrap.get_secret_value() if bootstrap else None,
        )
        self.conversations = ScriptedConversations(self.answers)
        self.refusals = Refusals(self.audit)
        self.idempotency = Idempotency(KeysInMemory(), streams=self.streams)  # type: ignore[arg-type]

    embedder: ScriptedEmbedder = field(default_factory=ScriptedEmbedder)
    states: dict[str, ScriptedState] = field(default_factory=lambda: {"database": ScriptedState(ok=True, detail="up")})

    @cached_property
    def embeddings(self) -> EmbeddingModels:
        embedders = Embedders(self.settings)
        return EmbeddingModels(self.embedder, others=self.settings.embeddings, embedders=embedders)  # type: ignore[arg-type]

    async def health(self) -> Mapping[str, ScriptedState]:
        return self.states


@dataclass
class Scripted:
    """An application and the scripted runtime under it."""

    app: FastAPI
    runtime: ScriptedRuntime

    @property
    def answers(self) -> ScriptedAnswers:
        return self.runtime.answers


@dataclass
class Served:
    """A real server in a thread of its own."""

    url: str
    port: int
    listener: Listener
    thread: threading.Thread

    def stop(self) -> None:
        self.listener.stop()


def scripted_app(
    script: tuple[object, ...] = HAPPY,
    *,
    streams: Mapping[str, Any] | None = None,
    max_file_bytes: int = 52_428_800,
    auth: AuthSettings | None = None,
    **server: Any,
) -> Scripted:
    """Make an application over a script: ``scripted_app(script, max_concurrency=1)``.

    A stream whose client leaves ends at once, unless ``streams={"grace": 5}`` or so.
    """
    stream_settings = StreamSettings(**{"grace": 0, **(streams or {})})
    settings = Settings(
        server=ServerSettings(**server),
        streams=stream_settings,
        auth=auth or AuthSettings(),
        ingestion=IngestionSettings(max_file_bytes=max_file_bytes),
        _env_file=None,
    )
    runtime = ScriptedRuntime(settings, ScriptedAnswers(script))

    @asynccontextmanager
    async def open_runtime(_: Settings) -> AsyncIterator[ScriptedRuntime]:
        yield runtime
        await runtime.streams.close()

    return Scripted(create_app(settings, open_runtime=open_runtime), runtime)


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Call an application without a socket."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://footnote") as http,
    ):
        yield http


@contextmanager
def running(app: FastAPI, *, settings: ServerSettings | None = None, host: str = "127.0.0.1") -> Iterator[Served]:
    """Serve an application as ``python -m server`` does, on a free port, until the block ends."""
    sockets = bind(host, 0)
    port = sockets[0].getsockname()[1]
    ready = threading.Event()
    listener = Listener(app, settings=settings or ServerSettings(), on_ready=lambda _: ready.set())

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(listener.listen(sockets))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(30), "the server did not start"
    served = Served(f"http://127.0.0.1:{port}", port, listener, thread)
    try:
        yield served
    finally:
        if not listener.should_exit:
            listener.stop()
        thread.join(5)
        if thread.is_alive():  # a test left something running
            listener.stop()
            thread.join(10)
        assert not thread.is_alive(), "the server did not stop"


Make = Callable[..., Scripted]
Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx.AsyncClient]]
Serve = Callable[..., AbstractContextManager[Served]]
Logged = Callable[[], list[dict[str, Any]]]
