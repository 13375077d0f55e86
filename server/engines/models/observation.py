"""Calls of a model as spans and metrics, by OpenTelemetry's conventions for generative AI.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import trace

from config.errors import slug_of
from config.telemetry import spans
from config.telemetry.metrics import (
    COST,
    MODEL_DURATION,
    MODEL_FIRST_CHUNK,
    MODEL_RETRIES,
    OUTPUT_RATE,
    TENANT,
    TOKEN_USAGE,
    count_failed_call,
)
from server.engines.models.errors import ModelRefused
from server.engines.models.events import Delta, Reasoning, Retraction
from server.errors import BudgetExhausted
from server.tool_calls import CallPiece, whole_calls

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from server.answers import Usage
    from server.engines.models.events import Finish, ModelEvent
    from server.engines.models.provider import Request


LEAST_WRITING = 0.05  # seconds
_log = structlog.get_logger(__name__)


class ModelCall:
    """The span and metrics of one call: duration, time to first token, tokens, cost.

    The span lasts until the last token has come or the call has ended otherwise.
    """

    def __init__(self, request: Request, *, provider: str, model: str, is_chat: bool) -> None:
        self._labels = {
            "gen_ai.operation.name": "chat" if is_chat else "text_completion",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        }
        self._request = request
        self._started = time.perf_counter()
        self._first: float | None = None
        self._deltas = 0
        self._is_refused = False
        self._ended = False
        self._pieces: list[str] = []
        self._calls: list[CallPiece] = []
        self._finish_reason = "error"
        self._span = spans.begin(
            f"{self._labels['gen_ai.operation.name']} {model}",
            kind=spans.CLIENT,
            attributes={
                **self._labels,
                "gen_ai.request.max_tokens": request.max_tokens,
                "gen_ai.request.temperature": request.temperature,
                "gen_ai.request.stream": not request.whole,
            },
        )

    async def observed(self, events: AsyncGenerator[ModelEvent, None]) -> AsyncGenerator[ModelEvent, None]:
        """Yield the events and record them."""
        told = spans.content().is_let_in
        try:
            async with aclosing(spans.made_under(self._span, events)) as made:
                async for event in made:
                    if isinstance(event, Retraction):
                        self._pieces.clear()
                    elif isinstance(event, Delta | Reasoning | CallPiece):
                        self._first = self._first or time.perf_counter()
                        self._deltas += 1
                        if told and isinstance(event, Delta):
                            self._pieces.append(event.text)
                        elif told and isinstance(event, CallPiece):
                            self._calls.append(event)
                    else:
                        self._finished(event)
                    yield event
        except BaseException as exc:
            if not self._ended:
                spans.failed(self._span, exc)
                self._is_refused = isinstance(exc, ModelRefused | BudgetExhausted)
                if isinstance(exc, Exception):
                    self._labels["error.type"] = slug_of(exc)
            raise
        finally:
            self._end()

    def _finished(self, finish: Finish) -> None:
        span, usage, cost = self._span, finish.usage, finish.cost_usd
        self._finish_reason = finish.finish_reason
        span.set_attribute("gen_ai.response.model", finish.model)
        span.set_attribute("gen_ai.response.finish_reasons", (finish.finish_reason,))
        if usage is not None:
            span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
            self._count(usage, span)
        if cost is not None:
            span.set_attribute("footnote.cost_usd", cost)
            COST.add(
                cost, {"gen_ai.request.model": self._labels["gen_ai.request.model"], "footnote.tenant": TENANT.get()}
            )
        self._end()

    def _count(self, usage: Usage, span: Span) -> None:
        context = spans.context_of(span)
        labels = {**self._labels, "footnote.tenant": TENANT.get()}
        TOKEN_USAGE.record(usage.prompt_tokens, {**labels, "gen_ai.token.type": "input"}, context=context)
        TOKEN_USAGE.record(usage.completion_tokens, {**labels, "gen_ai.token.type": "output"}, context=context)
        writing = time.perf_counter() - (self._first or self._started)
        if self._deltas > 1 and writing >= LEAST_WRITING:  # one piece says nothing of the rate
            OUTPUT_RATE.record((usage.completion_tokens - 1) / writing, self._labels, context=context)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        span, context = self._span, spans.context_of(self._span)
        if self._first is not None and not self._request.whole:
            waited = self._first - self._started
            span.set_attribute("gen_ai.response.time_to_first_chunk", waited)
            MODEL_FIRST_CHUNK.record(waited, self._labels, context=context)
        if not self._is_refused and "error.type" in self._labels:
            count_failed_call(self._labels["gen_ai.provider.name"], self._labels["error.type"])
        if not self._is_refused:
            MODEL_DURATION.record(time.perf_counter() - self._started, self._labels, context=context)
        if spans.content().is_let_in:
            self._tell()
        span.end()

    def _tell(self) -> None:
        messages = self._request.messages[::-1]  # the last are the ones that were answered
        shown = spans.content().fitting(message.content or "" for message in messages)
        asked = [_message(each.role.value, text) for each, text in zip(messages, shown, strict=False)][::-1]
        self._span.set_attribute("gen_ai.input.messages", json.dumps(asked, ensure_ascii=False))
        # without its `finish_reason`, which the conventions require, a reader may leave the message out
        said = _message("assistant", spans.content().shown("".join(self._pieces))) | {
            "finish_reason": self._finish_reason
        }
        said["parts"] = [*said["parts"], *self._called()]
        self._span.set_attribute("gen_ai.output.messages", json.dumps([said], ensure_ascii=False))

    def _called(self) -> list[dict[str, object]]:
        shown = spans.content().shown
        return [
            {"type": "tool_call", "id": call.id, "name": call.name, "arguments": shown(call.arguments)}
            for call in whole_calls(self._calls)
        ]


def retried(times: int, *, provider: str, model: str, reason: str) -> None:
    """Record a retry in the current span and the log, with the reason of the try before."""
    _log.warning("model_call_retried", provider=provider, model=model, attempt=times + 1, reason=reason)
    trace.get_current_span().add_event("retry", {"footnote.retries": times})
    MODEL_RETRIES.add(1, {"gen_ai.provider.name": provider, "gen_ai.request.model": model})


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
