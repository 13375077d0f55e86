"""Reranking: a second, slower look at the passages that were found, before the best of them are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.engines.parts import EngineParts


def wants_reranking(parts: EngineParts) -> bool:
    """Tell whether this question's passages are ranked again; `settings.rerank.candidates` of them are fetched then."""
    settings, asked = parts.settings.rerank, parts.question.rerank
    return settings.provider != "none" and (settings.always if asked is None else asked)
