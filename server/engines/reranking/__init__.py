"""Reranking: a slower and better ranking of the passages found, before the best are selected."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.engines.parts import EngineParts


def wants_reranking(parts: EngineParts) -> bool:
    """Tell whether this question's passages are reranked; then `settings.rerank.candidates` of them are fetched."""
    settings, asked = parts.settings.rerank, parts.question.rerank
    return settings.provider != "none" and (settings.always if asked is None else asked)
