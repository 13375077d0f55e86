"""What a model's stream consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.answers import Usage


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a stream that went well.

    Attributes:
        finish_reason: ``length`` where the token limit cut the answer.
        usage: None where the provider counts no tokens.
        model: the name that the provider gives itself.
        cost_usd: None where the price table knows no price.

    """

    finish_reason: Literal["stop", "length"]
    usage: Usage | None
    model: str
    cost_usd: float | None = None
