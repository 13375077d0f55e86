"""The common shape of engines: a retriever, postprocessors, a synthesizer."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine

from server.engines.models.estimates import estimated_tokens
from server.engines.models.provider import LOCAL
from server.engines.parts import EngineParts
from server.engines.retrieval import OwnRetriever, selecting
from server.engines.room import FitContextWindow, TokenCounter
from server.engines.writing.synthesis import synthesizer_for
from server.engines.writing.templates import template

LEAST_PROMPT = 300  # tokens: an engine's instructions beside the passages
LOCAL_WINDOW = 2048  # tokens: some four passages


def retriever_engine(
    parts: EngineParts, *, retriever: BaseRetriever, widened: Sequence[BaseNodePostprocessor] = ()
) -> RetrieverQueryEngine:
    """Return a LlamaIndex query engine over a retriever, with the postprocessors that select passages.

    Of a retriever of ours all hits are reranked and selected, not the passages that it would return by itself.
    `widened` are postprocessors that lengthen the selected passages before they are fitted into the prompt.
    """
    return RetrieverQueryEngine(
        retriever.unselected() if isinstance(retriever, OwnRetriever) else retriever,
        response_synthesizer=synthesizer_for(parts),
        node_postprocessors=[*selecting(parts), *widened, *plugged_in(parts), *fitting(parts)],
        callback_manager=CallbackManager([]),
    )


def plugged_in(parts: EngineParts) -> list[BaseNodePostprocessor]:
    """Return the postprocessors of plug-ins."""
    return [make(parts) for make in parts.plug_ins.postprocessors]


def fitting(parts: EngineParts) -> list[FitContextWindow]:
    """Return the postprocessor that keeps a prompt within the model's context window; none if no model reads."""
    if parts.model is None or parts.retrieves_only:
        return []
    llm = parts.settings.llm
    count = TokenCounter(llm.tokenizer).count if llm.tokenizer else estimated_tokens
    layout = template(llm.prompt) if parts.model.is_chat else None
    reserved = parts.conversation.tokens + (parts.question.max_tokens or parts.model.max_tokens)
    reserved += max(LEAST_PROMPT, sum(map(count, layout.texts))) if layout else LEAST_PROMPT
    window = parts.model.context_window
    if parts.model.provider == LOCAL:  # it reads more, but answers worse and later the more it reads
        window = min(window, LOCAL_WINDOW)
    return [
        FitContextWindow(
            context_window=window,
            reserved=reserved,
            message=parts.question.question,
            record=parts.record,
            count=count,
        )
    ]
