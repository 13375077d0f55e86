"""A list of models that stand for each other, as the one `LanguageModel` that engines call."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from config.settings import FallbackKind, SettingsError
from config.telemetry.metrics import MODEL_SWITCHES
from server.answers import Usage, is_blank
from server.engines.models.errors import ModelError, ModelFailed
from server.engines.models.events import Delta, Finish, ModelEvent
from server.engines.models.fallback.policy import FallbackPolicy, kind_of
from server.engines.models.fallback.race import Race
from server.engines.models.metering import Purse
from server.engines.models.model import LanguageModel
from server.tool_calls import Tools

if TYPE_CHECKING:
    from llama_index.core.llms import ChatMessage

PATIENCE = 1.0
"""Seconds that a model may ask for before it is tried again, where another one could answer meanwhile."""
HEDGE, NO_TOOLS = "hedge", "no_tools"
_WHY: Mapping[str, str] = {HEDGE: "was silent", NO_TOOLS: "cannot call tools"}
_SETTING = re.compile(r"\bFOOTNOTE_LLM__([A-Z_]+)")
_A_CALL = Usage(1000, 1000, 2000)  # by which prices are compared

_log = structlog.get_logger(__name__)


class FallbackModel(LanguageModel):
    """Asks the first of several models, and the next where it fails or is silent before its first word.

    Each keeps its own limits, retries and circuit breaker; all of them together have the first one's total timeout.
    Prompts are made to fit the smallest context window. After a budget's end only a cheaper model is asked.
    """

    def __init__(self, models: Mapping[str, LanguageModel], *, policy: FallbackPolicy) -> None:
        """Take at least one model, by name, in order.

        Raises:
            SettingsError: some of them chat and some complete: one prompt does not serve both.

        """
        if len({model.is_chat for model in models.values()}) > 1:
            msg = "FOOTNOTE_LLM__FALLBACK: chat models and base models cannot stand for each other"
            raise SettingsError(msg)
        first = next(iter(models.values()))
        self._models = models
        self._policy = policy
        self._source, self._limits = first._source, first._limits  # noqa: SLF001 (of our own)
        self.label = first.label
        self.breaker = first.breaker
        self.context_window = min(model.context_window for model in models.values())
        others = ", then ".join(f"{name} ({model.name})" for name, model in list(models.items())[1:])
        self.description = (
            f"{first.description}; where it fails before its first word: {others}; prompts are made to fit "
            f"{self.context_window} tokens"
        )
        name, *rest = models
        for reason in (*policy.on, HEDGE, NO_TOOLS):
            for other in rest:
                MODEL_SWITCHES.add(0, _switch(name, other, reason))  # so that the first is an increase

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models, in order."""
        return tuple(self._models.values())

    def why_no_tools(self, tools: Tools, /) -> str:
        """Return why none of the models can be offered these tools; empty if one can."""
        reasons = {name: model.why_no_tools(tools) for name, model in self._models.items()}
        return "; ".join(f"{name}: {why}" for name, why in reasons.items()) if all(reasons.values()) else ""

    @property
    def refusal(self) -> str | None:
        """Why every model would refuse a call now, or None."""
        refusals = {name: model.refusal for name, model in self._models.items()}
        if all(refusals.values()):
            return "; ".join(f"{name}: {why}" for name, why in refusals.items())
        return None

    @property
    def resting(self) -> str:
        """See `LanguageModel.resting`."""
        refusals = {name: model.refusal for name, model in self._models.items()}
        if all(refusals.values()):
            return ""
        return "; ".join(f"{name}: {why}" for name, why in refusals.items() if why)

    def pay_from(self, purse: Purse[Any]) -> None:
        """Let every call be paid from there."""
        for model in self.members:
            model.pay_from(purse)

    async def stream(self, messages: Sequence[ChatMessage], **options: Any) -> AsyncGenerator[ModelEvent, None]:
        """See `LanguageModel.stream`; raises what the last model that was asked raised.

        Tools are offered to those alone that can call them.
        """
        asked = _Asked(self._models, self._policy, tools=options.get("tools"))
        until = asyncio.get_running_loop().time() + self.total_timeout

        def start(number: int, model: LanguageModel) -> Callable[[], AsyncGenerator[ModelEvent, None]]:
            own = {"deadline": until, **options}
            if asked.has_next(number, "rate_limited"):
                own["longest_wait"] = PATIENCE
            if asked.has_next(number, "timeout"):
                own["whole"] = False  # of an answer in one piece, silence does not tell whether it is being written
            return lambda: _with_words(model.stream(messages, **own))

        starts = ((number, start(number, model)) for number, model in asked.next_ones())
        race = Race(starts, hedge_after=self._policy.hedge_after, may_go_on=asked.failed)
        async with race.won() as (number, first, rest):
            note = asked.won(number)
            yield _noted(first, note)
            async for event in rest:
                yield _noted(event, note)

    @property
    def doubt(self) -> str | None:
        """See `LanguageModel.doubt`."""
        doubts = {name: model.doubt for name, model in self._models.items()}
        return "; ".join(f"{name}: {why}" for name, why in doubts.items() if why) or None

    async def unready_reason(self) -> str | None:
        """Return why none of the models can answer now, or None."""
        reasons = {name: await model.unready_reason() for name, model in self._models.items()}
        if all(reasons.values()):
            return "; ".join(f"{name}: {why}" for name, why in reasons.items())
        return None

    async def close(self) -> None:
        """Close all of them."""
        for model in self.members:
            await model.close()


class _Asked:
    """Which models one answer has been asked of, and why."""

    def __init__(
        self, models: Mapping[str, LanguageModel], policy: FallbackPolicy, *, tools: Tools | None = None
    ) -> None:
        self._names, self._models = list(models), list(models.values())
        self._policy = policy
        self._unable = set()
        if tools is not None:
            self._unable = {number for number, model in enumerate(self._models) if model.why_no_tools(tools)}
        self._reasons: dict[int, str] = dict.fromkeys(self._unable, NO_TOOLS)
        self._bar: float | None = None  # dollars that a model must cost less than

    def next_ones(self) -> Iterator[tuple[int, LanguageModel]]:
        """Yield the models to ask, with their places; those that cost too much are passed over."""
        for number, model in enumerate(self._models):
            if number not in self._unable and (self._bar is None or model.price_of(_A_CALL) < self._bar):
                yield number, model

    def has_next(self, number: int, kind: FallbackKind) -> bool:
        """Tell whether another is asked after a failure of this kind."""
        return kind in self._policy.on and any(
            other not in self._unable for other in range(number + 1, len(self._models))
        )

    def failed(self, number: int, error: Exception) -> bool:
        """Take note of a failure; return whether another model may be asked."""
        kind = kind_of(error)
        self._reasons[number] = kind or ""
        if number and isinstance(error, ModelError):
            name = self._names[number]
            error.args = (_SETTING.sub(lambda found: f"{found[1].lower()} of {name} in FOOTNOTE_LLMS", str(error)),)
        if kind == "budget":
            self._bar = self._models[number].price_of(_A_CALL)
        return self._policy.asks_another(error)

    def won(self, number: int) -> str:
        """Count which model answers, if it is not the first; return a sentence about it."""
        if number == 0:
            return ""
        first, name, reason = self._names[0], self._names[number], self._reasons.get(0, HEDGE)
        MODEL_SWITCHES.add(1, _switch(first, name, reason))
        _log.warning("another model answers", instead_of=first, model=name, reason=reason)
        why = _WHY.get(reason, f"failed ({reason.replace('_', ' ')})")
        return f"The model {name} wrote this: {first} {why}."


def _switch(first: str, name: str, reason: str) -> dict[str, str]:
    return {"footnote.model.from": first, "footnote.model.to": name, "footnote.reason": reason}


async def _with_words(events: AsyncGenerator[ModelEvent, None]) -> AsyncGenerator[ModelEvent, None]:
    """Yield a model's events from its first word on, so that one without a word has not begun to answer.

    It is asked outside of the model's own stream: what was written, though it says nothing, is paid for.

    Raises:
        ModelFailed: the answer ends without a word.

    """
    blank: list[Delta] = []
    async with contextlib.aclosing(events):
        async for event in events:
            if isinstance(event, Delta) and is_blank("".join(each.text for each in (*blank, event))):
                blank.append(event)
                continue
            if isinstance(event, Finish):
                cut = event.finish_reason == "length"
                msg = (
                    "the model reached its token limit before it wrote an answer"
                    if cut
                    else "the model wrote an empty answer"
                )
                raise ModelFailed(msg)
            for each in (*blank, event):
                yield each
            break
        async for event in events:
            yield event


def _noted(event: ModelEvent, note: str) -> ModelEvent:
    return replace(event, note=note) if note and isinstance(event, Finish) else event
