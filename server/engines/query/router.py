"""The router: chooses the collection to search, and the engine to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.abilities import conversational
from server.engines.assembly import retriever_engine
from server.engines.parts import Engine, EngineParts
from server.engines.query import plain, sub_question, summary
from server.engines.query.router_choices import likeliest, selected
from server.engines.retrieval import StoreRetriever
from server.engines.writing.consulting import all_of
from storage.collections.signposts import Signpost, signposts
from storage.errors import CollectionNotFound

Choice = tuple[str, str | None]
"""What was chosen, and the sentence for the engine's notes."""

TITLES = 8  # titles per collection shown to the model
ENGINES: Mapping[str, tuple[Engine, str]] = MappingProxyType(
    {
        "hybrid": (plain.build_hybrid, "Finds the passages that answer one question: a fact, a definition, a how-to."),
        "summary": (summary.build, "Reads whole documents: for a summary, an overview, what a document is about."),
        "sub_question": (
            sub_question.build,
            "Parts a question that asks for several things, as a comparison does, and answers each part.",
        ),
    }
)


class RoutingQueryEngine(RetrieverQueryEngine):
    """Chooses a collection and an engine, and delegates to that engine.

    LlamaIndex's `RouterQueryEngine` needs every engine to be built beforehand, which would pin a generation of each
    collection, and reads global settings; only its selectors are used (`router_choices`). The chosen collection stays
    pinned until the request ends. The answer names it in `collection`, `generation` and the engine's notes.
    """

    def __init__(self, parts: EngineParts) -> None:
        usual = retriever_engine(parts, retriever=StoreRetriever(parts, mode="hybrid"))
        super().__init__(
            usual.retriever,
            response_synthesizer=usual._response_synthesizer,  # noqa: SLF001 (LlamaIndex's has no accessor)
            callback_manager=usual.callback_manager,
        )
        self._parts = parts
        self._chosen: BaseQueryEngine = usual

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Choose, and retrieve there."""
        with self._parts.record.stage("route"):
            self._chosen = await self._choice(query_bundle.query_str)
        nodes: list[NodeWithScore] = await self._chosen.aretrieve(query_bundle)  # type: ignore[attr-defined] # it has
        return nodes

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Answer with the chosen engine."""
        return await self._chosen.asynthesize(query_bundle, nodes, additional_source_nodes)

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return await self.asynthesize(query_bundle, await self.aretrieve(query_bundle))

    async def _choice(self, question: str) -> BaseQueryEngine:
        (collection, collection_note), (engine, engine_note) = await all_of(
            [lambda: self._collection(question), lambda: self._engine(question)], at_once=2
        )
        self._parts.record.notes.extend(note for note in (collection_note, engine_note) if note)
        parts = await self._held(collection)
        self._parts.record.searched = parts.store.generation
        self._parts.record.engine = engine
        build, _ = ENGINES[engine]
        return build(parts)

    async def _held(self, collection: str) -> EngineParts:
        """Return the parts over a collection, which stays pinned until the request ends."""
        elsewhere, here = self._parts.elsewhere, self._parts.store.generation.collection
        if elsewhere is None or collection == here:
            return self._parts
        try:
            return await elsewhere.kept.enter_async_context(elsewhere.visit(self._parts, collection))
        except CollectionNotFound:  # deleted since it was chosen
            self._parts.record.notes.append(f"Collection {collection} is gone: {here} was searched.")
            return self._parts

    async def _collection(self, question: str) -> Choice:
        generation, settings = self._parts.store.generation, self._parts.settings.engines
        here = generation.collection
        if self._parts.elsewhere is None:
            return here, None
        signs = await signposts(
            self._parts.store.client,
            first=here,
            limit=settings.router_collections,
            titles=TITLES,
        )
        names = [sign.collection for sign in signs]
        if len(names) < 2:  # noqa: PLR2004 (nothing to choose from)
            return (names[0] if names else here), None
        return await self._one_of(names, [_described(sign) for sign in signs], question)

    async def _one_of(self, names: Sequence[str], descriptions: Sequence[str], question: str) -> Choice:
        asked, by = self._parts.question, "the model"
        # which collection has the documents of a filter must be searched: descriptions do not tell
        is_narrowed = asked.document_ids is not None or asked.filters is not None
        model = None if is_narrowed else conversational(self._parts.model)
        place: int | None = None
        if model is not None:
            place = await selected(self._parts, model, choices=descriptions, question=question)
        if place is None:
            by = "the passages that they hold"
            name = await likeliest(self._parts, names, question=question)
        else:
            name = names[place]
        return name, f"Collection {name} was chosen of {len(names)}, by {by}."

    async def _engine(self, question: str) -> Choice:
        model = conversational(self._parts.model)
        if model is None:
            return "hybrid", None
        descriptions = [description for _, description in ENGINES.values()]
        place = await selected(self._parts, model, choices=descriptions, question=question)
        name = list(ENGINES)[place or 0]
        if place is None:
            return name, "The model chose no engine: hybrid."
        return name, f"Engine {name} was chosen by the model."


def _described(sign: Signpost) -> str:
    return f"Collection {sign.collection}, with documents such as: {'; '.join(sign.titles)}"


def build(parts: EngineParts) -> BaseQueryEngine:
    """Return the engine for one request."""
    return RoutingQueryEngine(parts)
