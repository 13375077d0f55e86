"""LlamaIndex's interfaces for those who await, without their sync halves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import AsyncStreamingResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle


async def pieces_of(response: Any) -> AsyncGenerator[str, None]:  # noqa: ANN401 (one of LlamaIndex's four classes)
    """Yield a response's text; a plug-in engine may answer in one piece."""
    if not isinstance(response, AsyncStreamingResponse):
        yield str(response)
        return
    generator = response.response_gen  # itself, not LlamaIndex's wrapper: closing it must reach the model's connection
    del response  # with its nodes, which take more than all the rest of a stream
    try:
        async for piece in generator:
            yield piece
    finally:
        if isinstance(generator, AsyncGenerator):
            await generator.aclose()


class AsyncRetriever(BaseRetriever):
    """A retriever that has `_aretrieve` only; LlamaIndex's own default calls the sync method on the event loop."""

    def __init__(self) -> None:
        super().__init__(callback_manager=CallbackManager([]))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        msg = "Footnote's retrievers are async: await aretrieve()"
        raise NotImplementedError(msg, query_bundle.query_str[:0])


class AsyncPostprocessor(BaseNodePostprocessor):
    """A postprocessor that has `_apostprocess_nodes` only; LlamaIndex's own default starts a thread."""

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        msg = "Footnote's postprocessors are async: await apostprocess_nodes()"
        raise NotImplementedError(msg, nodes[:0], query_bundle is None)
