"""Limits of a model call: time, retries, tokens, price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.settings import LLMSettings, Price


@dataclass(frozen=True, slots=True)
class Limits:
    """Timeouts in seconds, and defaults for what a request leaves open. See also `CircuitBreaker`."""

    temperature: float
    max_tokens: int
    token_timeout: float
    total_timeout: float
    max_retries: int
    breaker_failures: int
    breaker_seconds: float
    backoff: float = 0.25
    shows_reasoning: bool = False
    always_streams: bool = False
    prices: Mapping[str, Price] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: LLMSettings) -> Limits:
        """Take them from the settings."""
        return cls(
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            token_timeout=settings.token_timeout,
            total_timeout=settings.total_timeout,
            max_retries=settings.max_retries,
            breaker_failures=settings.breaker_failures,
            breaker_seconds=settings.breaker_seconds,
            prices=settings.prices,
            shows_reasoning=settings.reasoning == "show",
            always_streams=settings.always_stream,
        )
