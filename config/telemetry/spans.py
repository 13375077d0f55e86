"""Spans: creating them, recording errors in them, and continuing a trace in another process."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import Literal, TypeVar

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import CarrierT, Getter, default_getter
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from config.errors import CallerError, slug_of

Made = TypeVar("Made")
Value = str | int | float | bool | tuple[str, ...]
CLIENT, INTERNAL = SpanKind.CLIENT, SpanKind.INTERNAL
CANCELLED = "cancelled"
TOGETHER = 4
"""All texts of one span together may have this many times the bound of a single text."""
BEYOND = 512
"""Characters after the recorded part that are searched too, so that a secret across its end is masked."""


class TraceParent(TraceContextTextMapPropagator):
    """W3C's trace context without ``tracestate``, whose content callers choose freely.

    It would be on every span, and be sent to the model's provider.
    """

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """Read ``traceparent``."""
        extracted = super().extract(carrier, context, getter)
        caller = trace.get_current_span(extracted).get_span_context()
        if not caller.trace_state:
            return extracted
        bare = SpanContext(caller.trace_id, caller.span_id, caller.is_remote, caller.trace_flags)
        return trace.set_span_in_context(NonRecordingSpan(bare), extracted)


_RECORDED = "_footnote_recorded"
_tracer = trace.get_tracer("footnote")
PROPAGATOR = TraceParent()
_trace_to_join: ContextVar[int | None] = ContextVar("trace to join", default=None)


def begin(name: str, *, kind: SpanKind = INTERNAL, attributes: Mapping[str, Value] | None = None) -> Span:
    """Begin a child of the current span without making it current; end it with `Span.end`.

    In a trace that is not sampled this is the current span, which records nothing.
    """
    if is_left_out():
        return trace.get_current_span()
    return _tracer.start_span(name, kind=kind, attributes=attributes)


def is_left_out() -> bool:
    """Return whether the current trace is not sampled, so that nothing recorded in it is kept."""
    current = trace.get_current_span().get_span_context()
    return current.is_valid and not current.trace_flags.sampled


class Under:
    """A context manager that makes a span the current one; it can be entered repeatedly."""

    __slots__ = ("_context", "_token")

    def __init__(self, span: Span) -> None:
        self._context = trace.set_span_in_context(span)

    def __enter__(self) -> None:
        self._token = context.attach(self._context)

    def __exit__(self, *_: object) -> None:
        context.detach(self._token)


def under(span: Span) -> Under:
    """Make a span the current one while a block runs, which must not hold a ``yield``."""
    return Under(span)


async def made_under(span: Span, events: AsyncGenerator[Made, None]) -> AsyncGenerator[Made, None]:
    """Yield what a generator yields; the span is the current one while it runs, and not while its caller does."""
    here = under(span)
    async with aclosing(events):
        while True:
            with here:
                event = await anext(events, None)
            if event is None:
                return
            yield event


@contextmanager
def span(name: str, *, kind: SpanKind = INTERNAL, attributes: Mapping[str, Value] | None = None) -> Iterator[Span]:
    """Run a block in a span of its own, which records the block's error."""
    opened = begin(name, kind=kind, attributes=attributes)
    try:
        with under(opened):
            yield opened
    except BaseException as exc:
        failed(opened, exc)
        raise
    finally:
        opened.end()


def past(name: str, *, seconds: float, attributes: Mapping[str, Value] | None = None) -> None:
    """Record a child of the current span that began `seconds` ago and ends now."""
    if is_left_out():
        return
    begun = time.time_ns() - int(seconds * 1e9)
    _tracer.start_span(name, start_time=begun, attributes=attributes).end()


def trace_id_of(span: Span) -> str | None:
    """Return the id of a span's trace, 32 hex digits; None where nothing is traced."""
    found = span.get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else None


def context_of(span: Span | None) -> Context | None:
    """Return the context in which a span is the current one, for exemplars; None for None: the context as it is."""
    return trace.set_span_in_context(span) if span is not None else None


def failed(span: Span, error: BaseException) -> None:
    """Record an error in a span: its slug as ``error.type``, and the status ``ERROR`` unless the caller is to blame.

    The innermost span also gets an event with the exception's class. Messages stay out, since they may quote texts.
    Cancelled work has the outcome `CANCELLED` and is no error.
    """
    if not span.is_recording():
        return
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        span.set_attribute("footnote.outcome", CANCELLED)
        return
    span.set_attribute("error.type", slug_of(error))
    if isinstance(error, CallerError):
        return
    span.set_status(StatusCode.ERROR)
    if not any(getattr(each, _RECORDED, False) for each in _chain(error)):
        span.add_event("exception", {"exception.type": f"{type(error).__module__}.{type(error).__qualname__}"})
    setattr(error, _RECORDED, True)


def carrier() -> dict[str, str]:
    """Return the headers that continue the current trace in another process: a W3C ``traceparent``, or nothing."""
    headers: dict[str, str] = {}
    PROPAGATOR.inject(headers)
    return headers


@contextmanager
def continued(headers: Mapping[str, str]) -> Iterator[None]:
    """Continue the trace of a `carrier` while the block runs; a malformed ``traceparent`` is ignored."""
    token = context.attach(PROPAGATOR.extract(headers))
    try:
        yield
    finally:
        context.detach(token)


def remark(trace_id: str, name: str, attributes: Mapping[str, Value]) -> None:
    """Add a span without a length to a trace that has ended, as a second root.

    `trace_id` is 32 hex digits. It is sampled by that id, as the trace was.
    """
    token = _trace_to_join.set(int(trace_id, 16))
    try:
        _tracer.start_span(name, context=Context(), attributes=attributes).end()
    finally:
        _trace_to_join.reset(token)


def trace_to_join() -> int | None:
    """Return the trace id for the next root span; None: a new one."""
    return _trace_to_join.get()


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    seen: set[int] = set()
    while each is not None and id(each) not in seen:
        yield each
        seen.add(id(each))
        each = each.__cause__ or each.__context__


class Content:
    """Records texts that people wrote in spans, as far as the settings allow; see `content`."""

    # masked in the mode `redacted`: e-mail addresses, keys and tokens, passwords, long numbers
    _PERSONAL = re.compile(
        r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{1,255}"
        r"|\b(?:sk|pk|ghp|gho|github_pat|xox[abp]|eyJ|AKIA)[-_A-Za-z0-9.]{8,}"
        r"|(?i:(?<=bearer )|(?<=password=)|(?<=password: ))\S{1,256}"
        r"|(?<=://)[^/\s:@]{1,128}:[^/\s@]{1,128}(?=@)"
        r"|(?<!\w)\+?\d[\d ()./-]{5,32}\d"
    )

    def __init__(self, mode: Literal["none", "redacted", "full"] = "none", *, max_bytes: int = 4096) -> None:
        self._mode = mode
        self._most = max_bytes

    @property
    def is_let_in(self) -> bool:
        """Whether texts are recorded at all; if not, callers need not collect them."""
        return self._mode != "none"

    @property
    def masks(self) -> bool:
        """Whether anything is kept back of texts."""
        return self._mode != "full"

    def put(self, span: Span, name: str, text: str) -> None:
        """Set a text as an attribute, cut and masked as the settings say; do nothing in the mode `none`."""
        if self.is_let_in and span.is_recording():
            span.set_attribute(name, self.shown(text))

    def fitting(self, texts: Iterable[str]) -> Iterator[str]:
        """Return the first texts, cut and masked, that together fit into `TOGETHER` times the bound of one."""
        left = TOGETHER * self._most
        for text in texts:
            seen = self.shown(text)
            left -= len(seen)
            if left < 0:
                return
            yield seen

    def shown(self, text: str) -> str:
        """Return a text cut and masked; call it before the text becomes part of JSON."""
        shown = text[: self._most]
        if self._mode == "redacted":  # see `BEYOND`
            shown = self._PERSONAL.sub("[redacted]", text[: self._most + BEYOND])
        return shown.encode(errors="replace")[: self._most].decode(errors="ignore")


_content = Content()


def let_in(content: Content) -> None:
    """Set how this process records texts in spans."""
    global _content  # noqa: PLW0603 (one process, one policy)
    _content = content


def content() -> Content:
    """Return how this process records texts in spans; by default it records none."""
    return _content
