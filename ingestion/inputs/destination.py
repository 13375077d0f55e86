"""What a run aims at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.generation import Chunking, EmbeddingIdentity, Generation


@dataclass(frozen=True, slots=True)
class Destination:
    """Where pages go to, and how they are made there: a generation, or one that there will be.

    Attributes:
        generation: None where the collection is new.
        beside: the active one, while `generation` is built.

    """

    embedding: EmbeddingIdentity
    chunking: Chunking
    generation: Generation | None
    beside: Generation | None = None
