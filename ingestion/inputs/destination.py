"""The generation that a run writes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.generation import Chunking, EmbeddingIdentity, Generation


@dataclass(frozen=True, slots=True)
class Destination:
    """The generation that documents are written to, and how they are embedded and split there.

    Attributes:
        generation: None for a dry run of a new collection.
        beside: the active generation, while `generation` is being built.

    """

    embedding: EmbeddingIdentity
    chunking: Chunking
    generation: Generation | None
    beside: Generation | None = None
