"""When another model is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.settings import FallbackKind, LLMSettings, SettingsError
from server.engines.models.errors import (
    ModelError,
    ModelFailed,
    ModelFiltered,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
)
from server.errors import BudgetExhausted

if TYPE_CHECKING:
    from config.settings import Settings

KINDS: Mapping[type[Exception], FallbackKind] = {
    ModelRateLimited: "rate_limited",
    ModelFiltered: "filtered",
    ModelUnavailable: "unavailable",
    ModelFailed: "failed",
    ModelRejected: "rejected",
    ModelTimeout: "timeout",
    BudgetExhausted: "budget",
}
"""The kind of each error, the more exact class first."""
USUAL: tuple[FallbackKind, ...] = LLMSettings.model_fields["fallback_on"].default


@dataclass(frozen=True, slots=True)
class FallbackPolicy:
    """After which failures, or how much silence, the next model is asked.

    Attributes:
        on: kinds of failure.
        hedge_after: seconds without a word after which the next one is asked as well; None: never.

    """

    on: Collection[FallbackKind] = field(default_factory=lambda: frozenset(USUAL))
    hedge_after: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> FallbackPolicy:
        """Take it from the settings.

        Raises:
            SettingsError: a model of the list has another residency than the first.

        """
        llm = settings.llm
        for name in llm.fallback:
            other = settings.llms[name].residency
            if other != llm.residency:
                msg = (
                    f"FOOTNOTE_LLM__FALLBACK: {name} has the residency {_shown(other)}, the model that it would stand "
                    f"for {_shown(llm.residency)}; data would leave for another place"
                )
                raise SettingsError(msg)
        return cls(on=frozenset(llm.fallback_on), hedge_after=llm.hedge_after)

    def asks_another(self, error: BaseException) -> bool:
        """Tell whether the next model is asked after this error."""
        return kind_of(error) in self.on


def kind_of(error: BaseException) -> FallbackKind | None:
    """Return the kind of an error; None: another model would not help."""
    if not isinstance(error, ModelError | BudgetExhausted):
        return None
    return next((kind for each, kind in KINDS.items() if isinstance(error, each)), None)


def _shown(residency: str | None) -> str:
    return repr(residency) if residency else "(none)"
