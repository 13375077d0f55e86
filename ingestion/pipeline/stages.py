"""How far a run is, stage by stage: documents are read and split, their chunks embedded, then they are stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stages:
    """What has passed each stage.

    Attributes:
        read: documents that were read and split.
        to_embed: chunks of those that have no stored vector.
        is_opening_model: whether the embedding waits for its model.
        is_all_read: whether no more chunks come.

    """

    read: int = 0
    to_embed: int = 0
    embedded: int = 0
    is_opening_model: bool = False
    is_all_read: bool = False
