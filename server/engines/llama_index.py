"""Async-only base classes for LlamaIndex's interfaces."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import AsyncStreamingResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle


async def pieces_of(response: Any) -> AsyncGenerator[str, None]:  # noqa: ANN401 (one of LlamaIndex's four classes)
    """Yield a response's text; engines of plug-ins may answer in one piece."""
    if not isinstance(response, AsyncStreamingResponse):
        yield str(response)
        return
    generator = response.response_gen  # not LlamaIndex's wrapper, so that closing it closes the model's connection
    del response  # frees its nodes, which take more memory than the rest of a stream
    try:
        async for piece in generator:
            yield piece
    finally:
        if isinstance(generator, AsyncGenerator):
            await generator.aclose()


class AsyncRetriever(BaseRetriever):
    """An async-only retriever; LlamaIndex's default calls the sync method on the event loop."""

    def __init__(self) -> None:
        super().__init__(callback_manager=CallbackManager([]))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        msg = "Footnote's retrievers are async: await aretrieve()"
        raise NotImplementedError(msg, query_bundle.query_str[:0])


class AsyncPostprocessor(BaseNodePostprocessor):
    """An async-only postprocessor; LlamaIndex's default starts a thread."""

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        msg = "Footnote's postprocessors are async: await apostprocess_nodes()"
        raise NotImplementedError(msg, nodes[:0], query_bundle is None)
