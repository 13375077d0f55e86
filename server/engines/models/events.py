"""The events of a model's stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.answers import Usage
from server.tool_calls import CallPiece


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
        finish_reason: ``length`` if the token limit cut the answer off; ``tool_calls`` if the model called tools.
        usage: None if the provider reports no token counts.
        model: the name that the provider reports.
        cost_usd: None if the price table has no price.
        note: a sentence on why another model than the first answered.

    """

    finish_reason: Literal["stop", "length", "tool_calls"]
    usage: Usage | None
    model: str
    cost_usd: float | None = None
    note: str = ""


ModelEvent = Delta | Reasoning | Retraction | CallPiece | Finish
