"""What an engine is built from, anew for each request, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.core.postprocessor.types import BaseNodePostprocessor

from config.settings import Settings
from server.answers import Question
from server.caches.vectors import QuestionVectors
from server.engines.record import Record

if TYPE_CHECKING:
    from embedding.embedder import Embedder
    from server.engines.models.model import LanguageModel
    from server.engines.pinned import Pinned
    from storage.vector_store import ChunkStore


UNKEPT = QuestionVectors(max_bytes=0)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model reads of a conversation; all of it is data but `instructions`, which are the application's.

    Attributes:
        history: as much as fits, the oldest first, citations taken out: they point at other passages.
        tokens: that all of it takes, estimated.

    """

    history: tuple[ChatMessage, ...] = ()
    summary: str = ""
    instructions: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The other collections of the tenant, for engines that look further than the one asked for.

    Attributes:
        visit: gives the same request's parts over another collection, held until the block ends; raises
            `CollectionNotFound`.
        kept: what an engine enters here is held until the request ends, a stream with its last token.

    """

    visit: Callable[[EngineParts, str], AbstractAsyncContextManager[EngineParts]]
    kept: AsyncExitStack


class Reranks(Protocol):
    """What ranks passages a second time."""

    def postprocessor(self, parts: EngineParts) -> BaseNodePostprocessor:
        """Return what an engine of LlamaIndex's puts behind its retriever, for one question."""
        ...


@dataclass(frozen=True, slots=True)
class EngineParts:
    """Everything that an engine may use for one request.

    Attributes:
        store: over the generation that the request is pinned to.
        pinned: that generation, with the model that it was built with.
        embedder: that model, or the configured one where it cannot be used: to compare passages with each other.
        model: None: answers are extracted, not written.
        reranker: None: passages stay in the order in which they were found.
        vectors: embeds the question, unless it has been before.
        conversation: that the question stands in.
        elsewhere: None: there are no other collections to look at.

    """

    question: Question
    store: ChunkStore
    pinned: Pinned
    embedder: Embedder
    model: LanguageModel | None
    settings: Settings
    record: Record
    conversation: Conversation = Conversation()
    reranker: Reranks | None = None
    vectors: QuestionVectors = UNKEPT
    elsewhere: Elsewhere | None = None


Engine = Callable[[EngineParts], BaseQueryEngine]
ChatEngine = Callable[[EngineParts], BaseChatEngine]
