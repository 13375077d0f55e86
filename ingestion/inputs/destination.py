"""The generation that a run writes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion.identity import pipeline_fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.settings import IngestionSettings
    from ingestion.types import Json
    from storage.generation import Chunking, EmbeddingIdentity, Generation


@dataclass(frozen=True, slots=True)
class Destination:
    """The generation that documents are written to, and how they are embedded and split there.

    Attributes:
        generation: None for a dry run of a new collection.
        settings: what the readers are told.
        beside: the active generation, while `generation` is being built.

    """

    embedding: EmbeddingIdentity
    chunking: Chunking
    generation: Generation | None
    settings: IngestionSettings
    beside: Generation | None = None

    def fingerprint(self, metadata: Mapping[str, Json]) -> str:
        """See `pipeline_fingerprint`."""
        return pipeline_fingerprint(self.embedding, self.chunking, metadata=metadata, settings=self.settings)
