"""Who pays for a call of a model: reserved for before it, settled after its last token, whatever its end was.

A provider tells the tokens at the end of an answer, and some do not. Of those, and of streams that are cut, they are
estimated from the texts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from server.answers import Usage
from server.engines.models.errors import ModelError, ModelTimeout
from server.engines.models.events import Delta, Finish, Reasoning
from server.engines.models.prices import cost_of
from server.tool_calls import CallPiece
from storage.access.spending import Used

if TYPE_CHECKING:
    from config.settings import Price
    from server.engines.models.events import ModelEvent
    from server.engines.models.provider import Request

Reservation = TypeVar("Reservation")


class Purse(Protocol[Reservation]):
    """What calls are paid from; `server.limits.budgets.Budgets` is one."""

    def count(self, text: str, /) -> int:
        """Estimate the tokens of a text, rather too many than too few."""
        ...

    async def reserve(self, *, tokens: int, usd: float) -> Reservation:
        """Reserve what a call may use; raise where there is nothing left."""
        ...

    async def settle(self, reservation: Reservation, used: Used | None) -> None:
        """Count what it has used; None: nothing."""
        ...

    def settle_later(self, reservation: Reservation, used: Used | None) -> object:
        """Count it where nothing can be awaited."""
        ...


@dataclass(frozen=True, slots=True)
class Tariff:
    """A model's name, and the price table."""

    model: str
    prices: Mapping[str, Price]

    def cost(self, usage: Usage) -> float | None:
        """Return US dollars, or None where the model has no price."""
        return cost_of(usage, prices=self.prices, models=(self.model,))


class Metered(Generic[Reservation]):
    """One call that is paid for."""

    def __init__(self, purse: Purse[Reservation], request: Request, *, tariff: Tariff) -> None:
        self._purse = purse
        self._tariff = tariff
        self._prompt_tokens = purse.count(request.read)
        self._max_tokens = request.max_tokens
        self._written: list[str] = []

    async def events(self, events: AsyncGenerator[ModelEvent, None]) -> AsyncGenerator[ModelEvent, None]:
        """Reserve, hand the call's events on, and settle; raises what `Purse.reserve` raises, before any call."""
        reservation = await self._reserved()
        is_settled = False
        async with aclosing(events) as given:
            try:
                async for event in given:
                    if isinstance(event, Finish):
                        is_settled = True
                        await self._purse.settle(reservation, self._used(event))
                    elif isinstance(event, Delta | Reasoning):
                        self._written.append(event.text)
                    elif isinstance(event, CallPiece):
                        self._written.append(event.name + event.arguments)
                    yield event
            except BaseException as exc:
                if not is_settled:
                    is_settled = True
                    self._purse.settle_later(reservation, self._used_before(exc))
                raise
            finally:
                if not is_settled:  # there was no end, which `LanguageModel` never lets happen
                    self._purse.settle_later(reservation, self._estimated())

    async def _reserved(self) -> Reservation:
        most = Usage(self._prompt_tokens, self._max_tokens, self._prompt_tokens + self._max_tokens)
        return await self._purse.reserve(tokens=most.total_tokens, usd=self._tariff.cost(most) or 0.0)

    def _used(self, finish: Finish) -> Used:
        usage = finish.usage
        if usage is None:
            return self._estimated()
        read, written = usage.prompt_tokens, usage.completion_tokens
        return Used(self._tariff.model, read, written, finish.cost_usd, is_estimate=usage.is_estimate)

    def _used_before(self, error: BaseException) -> Used | None:
        """Return what a call used that did not come to its end; a server that refused it took nothing for it."""
        is_refused = isinstance(error, ModelError) and not isinstance(error, ModelTimeout)
        return None if is_refused and not self._written else self._estimated()

    def _estimated(self) -> Used:
        written = self._purse.count("".join(self._written))
        usage = Usage(self._prompt_tokens, written, self._prompt_tokens + written)
        cost = self._tariff.cost(usage)
        return Used(self._tariff.model, usage.prompt_tokens, usage.completion_tokens, cost, is_estimate=True)
