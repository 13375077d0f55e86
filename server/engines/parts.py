"""What an engine is built from, for each request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.core.postprocessor.types import BaseNodePostprocessor

from config.settings import Settings
from server.answers import Question
from server.caches.vectors import QuestionVectors
from server.engines.record import Record
from server.waiting.turns import Turns

if TYPE_CHECKING:
    from embedding.embedder import Embedder
    from server.engines.models.model import LanguageModel
    from server.engines.pinned import Pinned
    from storage.vector_store import ChunkStore


UNKEPT = QuestionVectors(max_bytes=0)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The part of a conversation that a model reads. `instructions` come from the application; all else is mere data.

    Attributes:
        history: the turns that fit, oldest first, without citations, which point at other passages.
        tokens: estimated size of all of it.

    """

    history: tuple[ChatMessage, ...] = ()
    summary: str = ""
    instructions: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The tenant's other collections, for engines that search more than the requested one.

    Attributes:
        visit: gives the same request's parts over another collection, held until the block ends; raises
            `CollectionNotFound`.
        kept: what an engine enters here is held until the request ends; for a stream, until its last token.

    """

    visit: Callable[[EngineParts, str], AbstractAsyncContextManager[EngineParts]]
    kept: AsyncExitStack


class Reranks(Protocol):
    """Reranks passages."""

    def postprocessor(self, parts: EngineParts) -> BaseNodePostprocessor:
        """Return the postprocessor that reranks for one question."""
        ...


@dataclass(frozen=True, slots=True)
class PlugIns:
    """What other packages add to the engines, by name; see `server.plug_ins`."""

    engines: Mapping[str, Engine] = field(default_factory=dict)
    chat_engines: Mapping[str, ChatEngine] = field(default_factory=dict)
    postprocessors: Sequence[Callable[[EngineParts], BaseNodePostprocessor]] = ()


NO_PLUG_INS = PlugIns()


@dataclass(frozen=True, slots=True)
class EngineParts:
    """Everything that an engine may use for one request.

    Attributes:
        store: over the generation that the request is pinned to.
        pinned: that generation, with the model that it was built with.
        embedder: that model, or the configured one if it cannot be used; for comparing passages with each other.
        model: None: answers are extractive.
        reranker: None: passages keep the retriever's order.
        vectors: the cache of question vectors.
        conversation: that the question is part of.
        elsewhere: None: other collections cannot be searched.
        turns: at searching; None: any number of searches run at a time.
        plug_ins: engines and postprocessors of other packages.
        retrieves_only: the passages are all that is asked for: no model reads them, and they need not fit its prompt.

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
    turns: Turns | None = None
    retrieves_only: bool = False
    plug_ins: PlugIns = NO_PLUG_INS


Engine = Callable[[EngineParts], BaseQueryEngine]
ChatEngine = Callable[[EngineParts], BaseChatEngine]
