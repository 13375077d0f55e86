"""Node postprocessors of plug-ins, which get the passages that Footnote has selected."""

from __future__ import annotations

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.llama_index import AsyncPostprocessor
from server.engines.parts import EngineParts
from server.plug_ins.abilities import Way, way_of
from server.plug_ins.calls import Away, Calls, kind_of
from server.plug_ins.passages import shown_to_caller


def way_to_postprocess(postprocessor: type[BaseNodePostprocessor]) -> Way:
    """Return how a class of postprocessors is to be called; LlamaIndex's default takes threads of asyncio's pool."""
    return way_of(postprocessor, "_apostprocess_nodes", base=BaseNodePostprocessor)


class PlugInPostprocessor(AsyncPostprocessor):
    """A postprocessor of a plug-in for one question.

    An answer without it would not be the one that was wanted: its failure is the answer's.
    """

    _inner: BaseNodePostprocessor | Away = PrivateAttr()
    _parts: EngineParts = PrivateAttr()
    _calls: Calls = PrivateAttr()

    def __init__(self, inner: BaseNodePostprocessor | Away, parts: EngineParts, calls: Calls) -> None:
        super().__init__()
        self._inner, self._parts, self._calls = inner, parts, calls

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        given = {each.node_id: each for each in nodes}
        copies = [each.model_copy(deep=True) for each in nodes]  # it may change them in place
        way, names = way_to_postprocess(kind_of(self._inner)), ("apostprocess_nodes", "postprocess_nodes")
        found = await self._calls.called(way, self._inner, *names, copies, query_bundle)
        return await shown_to_caller(found, self._parts, self._calls, given=given)
