"""The events of a model's stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.answers import Usage


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model wrote for itself before its answer, never empty; no part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Retraction:
    """All text so far was reasoning: the model has closed a block that it never opened."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a successful stream.

    Attributes:
        finish_reason: ``length`` if the token limit cut the answer off.
        usage: None if the provider reports no token counts.
        model: the name that the provider reports.
        cost_usd: None if the price table has no price.

    """

    finish_reason: Literal["stop", "length"]
    usage: Usage | None
    model: str
    cost_usd: float | None = None


ModelEvent = Delta | Reasoning | Retraction | Finish
