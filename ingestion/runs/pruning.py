"""Removing old generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingestion.pipeline.factory import Indexing


async def prune(indexing: Indexing, collection: str) -> Sequence[str]:
    """Drop the generations that the settings do not keep; return their names."""
    kept = indexing.settings.generations
    return await indexing.generations.prune(collection, keep=kept.keep, spared_seconds=kept.min_keep_seconds)
