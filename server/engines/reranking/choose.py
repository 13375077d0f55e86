"""Choosing the reranker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from config.settings import Settings, SettingsError

if TYPE_CHECKING:
    from server.engines.models.model import LanguageModel
    from server.engines.reranking.reranker import Reranker, RerankSource


async def open_reranker(settings: Settings, *, model: LanguageModel | None) -> Reranker | None:
    """Open and warm up the reranker that the settings ask for; None if they ask for none. Close it at the end.

    To add a kind, or any LlamaIndex postprocessor, write a `RerankSource` and a line in `_source`.

    Raises:
        SettingsError: it cannot be used; the message says what to do, in one line.

    """
    if settings.rerank.provider == "none":
        return None
    from server.engines.reranking.reranker import Reranker

    reranker = Reranker(await _source(settings, model), settings=settings.rerank)
    try:
        await reranker.warm_up()
    except BaseException:
        await reranker.close()
        raise
    return reranker


async def _source(settings: Settings, model: LanguageModel | None) -> RerankSource:
    if settings.rerank.provider == "local":
        from server.engines.reranking.local import open_local

        return await asyncio.to_thread(open_local, settings)
    if settings.rerank.provider == "llm":
        if model is None:
            msg = "FOOTNOTE_RERANK__PROVIDER: llm needs a language model (FOOTNOTE_LLM__PROVIDER), and there is none"
            raise SettingsError(msg)
        from server.engines.reranking.language_model import LanguageModelRerank

        return LanguageModelRerank(model)
    from server.engines.reranking.endpoint import EndpointRerank

    return EndpointRerank(settings.rerank)
