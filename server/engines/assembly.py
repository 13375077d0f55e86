"""The common shape of engines: a retriever, postprocessors, a synthesizer."""

from __future__ import annotations

from typing import Literal

from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine

from server.engines.parts import EngineParts
from server.engines.retrieval import FitContextWindow, StoreRetriever
from server.engines.synthesis import LOCAL, synthesizer_for

LOCAL_WINDOW = 2048  # tokens: some four passages


def retriever_engine(parts: EngineParts, *, mode: Literal["hybrid", "vector", "keyword"]) -> RetrieverQueryEngine:
    """Return LlamaIndex's engine over our retriever and synthesizer."""
    postprocessors: list[BaseNodePostprocessor] = []
    if parts.model is not None:
        reserved = parts.conversation.tokens + (parts.question.max_tokens or parts.model.max_tokens)
        window = parts.model.context_window
        if parts.model.provider == LOCAL:  # it reads more, but answers worse and later the more it reads
            window = min(window, LOCAL_WINDOW)
        postprocessors.append(
            FitContextWindow(context_window=window, reserved=reserved, message=len(parts.question.question))
        )
    return RetrieverQueryEngine(
        StoreRetriever(parts, mode=mode),
        response_synthesizer=synthesizer_for(parts),
        node_postprocessors=postprocessors,
        callback_manager=CallbackManager([]),
    )
