"""A scripted runtime, applications over it, and real servers for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import uvloop
from fastapi import FastAPI

from config.settings import ServerSettings, Settings
from server.answers import Answer, Citation, Done, Question, Retrieved, Sources, Token, Usage
from server.api.listener import Listener
from server.api.sockets import bind
from server.app import create_app
from storage.collections import CollectionInfo
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.documents import DocumentInfo
from storage.errors import CollectionNotFound, DocumentNotFound

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CITATION = Citation(
    id=1,
    node_id="8d5f2b0e-0000-5000-8000-000000000001",
    document_id="doc-1",
    source="docs/configuration.md",
    title="Configuration",
    heading="Server > Port",
    page=None,
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
HAPPY: tuple[object, ...] = (SOURCES, Token("Set the "), Token("port [1]."), DONE)


class Hang:
    """A step of a script that never ends by itself."""


@dataclass
class ScriptedAnswers:
    """Plays `script`: events are given, errors raised, numbers slept, `Hang` hung; remembers what it was asked."""

    script: tuple[object, ...] = HAPPY
    questions: list[Question] = field(default_factory=list)
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

    async def ask(self, question: Question, /) -> Answer:
        text, done = "", DONE
        async for event in self.stream(question):
            if isinstance(event, Token):
                text += event.text
            elif isinstance(event, Done):
                done = event
        return Answer(text, collection=question.collection, generation="1", done=done)

    async def retrieve(self, question: Question, /) -> Retrieved:
        async for _ in self.stream(question):
            pass
        return Retrieved((CITATION,), collection=question.collection, generation="1", timings_ms={"total": 3.0})


@dataclass(frozen=True)
class ScriptedState:
    ok: bool
    detail: str
    required: bool = True


class ScriptedCatalog:
    """Three documents in one collection, paged with the real cursors."""

    async def collections(self, *, limit: int, cursor: str | None) -> Page[CollectionInfo]:  # noqa: ARG002
        return Page(() if decode_cursor(cursor) >= "default" else (self._collection(),), None)

    async def collection(self, name: str, /) -> CollectionInfo:
        if name != "default":
            raise CollectionNotFound(name)
        return self._collection()

    async def documents(self, *, collection: str, limit: int, cursor: str | None) -> Page[DocumentInfo]:
        await self.collection(collection)
        after = decode_cursor(cursor)
        found = [document for document in self._documents() if document.id > after]
        page = tuple(found[:limit])
        return Page(page, encode_cursor(page[-1].id) if len(found) > limit else None)

    async def document(self, document_id: str, /, *, collection: str | None) -> DocumentInfo:
        for document in self._documents():
            if document.id == document_id and collection in (None, document.collection):
                return document
        raise DocumentNotFound(document_id)

    def _collection(self) -> CollectionInfo:
        return CollectionInfo("default", "1", 3, 30, "all-MiniLM-L6-v2", 384, "english", 256, "chunks_1", NOW)

    def _documents(self) -> list[DocumentInfo]:
        return [
            DocumentInfo(f"doc-{n}", f"docs/{n}.md", f"Page {n}", 10, 4096, "ab" * 32, {"n": n}, NOW, "default")
            for n in (1, 2, 3)
        ]


@dataclass
class ScriptedRuntime:
    settings: Settings
    answers: ScriptedAnswers = field(default_factory=ScriptedAnswers)
    catalog: ScriptedCatalog = field(default_factory=ScriptedCatalog)
    states: dict[str, ScriptedState] = field(default_factory=lambda: {"database": ScriptedState(ok=True, detail="up")})

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


def scripted_app(script: tuple[object, ...] = HAPPY, **server: Any) -> Scripted:
    """Make an application over a script: ``scripted_app(script, max_concurrency=1)``."""
    settings = Settings(server=ServerSettings(**server), _env_file=None)
    runtime = ScriptedRuntime(settings, ScriptedAnswers(script))

    @asynccontextmanager
    async def open_runtime(_: Settings) -> AsyncIterator[ScriptedRuntime]:
        yield runtime

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
def running(app: FastAPI, *, settings: ServerSettings | None = None) -> Iterator[Served]:
    """Serve an application as ``python -m server`` does, on a free port, until the block ends."""
    sockets = bind("127.0.0.1", 0)
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
