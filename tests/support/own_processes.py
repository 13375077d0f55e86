"""Classes of LlamaIndex's that do what a text says, for tests that run them in processes of their own."""

# ruff: noqa: ARG002 (the signatures are LlamaIndex's)

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from support.servants import obey


class ObedientRetriever(BaseRetriever):
    """Does what a question says, and finds the number of its process."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=f"It ran in {obey(query_bundle.query_str)}."), score=1.0)]


class DyingRetriever(ObedientRetriever):
    """Ends its process as it is made."""

    def __init__(self) -> None:
        super().__init__()
        obey("!leave")


class Guarding:
    """A guard."""

    def check_question(self, text: str) -> str:
        return text


def building(parts: Any) -> Any:
    """Build an engine, as a function that takes parts of the server."""
    return parts


class ObedientPostprocessor(BaseNodePostprocessor):
    """Does what a question says, and writes the number of its process behind each passage."""

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        said = obey(query_bundle.query_str if query_bundle else "")
        for each in nodes:
            each.node.set_content(f"{each.node.get_content()} ({said})")
        return nodes


class ObedientLLM(CustomLLM):
    """Does what a prompt says, and answers with the number of its process, word by word."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=5000, model_name="obedient", is_chat_model=True)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=obey(prompt))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Iterator[CompletionResponse]:
        text = ""
        for word in obey(prompt).split():
            piece = f" {word}" if text else word
            text += piece
            yield CompletionResponse(text=text, delta=piece)
            if "lasts" in prompt:
                time.sleep(0.05)


class ObedientEmbedding(BaseEmbedding):
    """Does what a text says; its vectors tell the length of the text."""

    def _get_text_embedding(self, text: str) -> list[float]:
        obey(text)
        return [float(len(text)), 1.0, float(os.getpid())]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)
