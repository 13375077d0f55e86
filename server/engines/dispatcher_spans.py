"""LlamaIndex's dispatcher events as OpenTelemetry spans."""

# ruff: noqa: ANN401 (the signatures are LlamaIndex's)

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from llama_index.core.schema import NodeWithScore
from llama_index.observability.otel.base import OTelCompatibleSpanHandler
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span import SimpleSpan
from opentelemetry import trace

from config.telemetry import spans

MAX_OPEN = 10_000
"""Maximum number of open spans; beyond it the oldest are dropped."""

# what a method does, in the words of OpenTelemetry's conventions for generative AI
OPERATIONS: Mapping[str, str] = MappingProxyType(
    {"retrieve": "retrieval", "aretrieve": "retrieval", "call": "execute_tool", "acall": "execute_tool"}
)


class DispatcherSpans(OTelCompatibleSpanHandler):
    """A LlamaIndex span handler that makes OpenTelemetry spans.

    Events and arguments are ignored, since they hold texts and vectors. Methods whose name begins with an underscore,
    and calls of the same method in a base class, get no span: each is right below one with the same content. Nor does
    anything in a trace that is not sampled.
    """

    def __init__(self) -> None:
        super().__init__(tracer=trace.get_tracer("footnote"))

    @classmethod
    def class_name(cls) -> str:
        """Return LlamaIndex's name for the class."""
        return "DispatcherSpans"

    def new_span(  # type: ignore[override] # its base class may return None
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,  # noqa: ARG002 (they may hold anything)
        **_: Any,
    ) -> SimpleSpan | None:
        """Begin a span, and make it the current one."""
        if spans.is_left_out():
            return None
        name = _name_of(id_)
        if _method_of(id_).startswith("_") or (parent_span_id and _name_of(parent_span_id) == name):
            return None
        while len(self.all_spans) >= MAX_OPEN:
            self._give_up(next(iter(self.all_spans)))
        simple = super().new_span(id_, bound_args, instance, parent_span_id)
        if operation := OPERATIONS.get(_method_of(id_)):
            self.all_spans[id_].set_attribute("gen_ai.operation.name", operation)
        return simple

    def prepare_to_exit_span(  # type: ignore[override]
        self,
        id_: str,
        bound_args: inspect.BoundArguments,  # noqa: ARG002
        instance: Any | None = None,  # noqa: ARG002
        result: Any | None = None,
        **_: Any,
    ) -> SimpleSpan | None:
        """End a span that succeeded."""
        span = self.all_spans.get(id_)
        if span is not None and OPERATIONS.get(_method_of(id_)) == "retrieval":
            _tell_passages(span, result if isinstance(result, list) else [])
        return self._end(id_)

    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,  # noqa: ARG002
        instance: Any | None = None,  # noqa: ARG002
        err: BaseException | None = None,
        **_: Any,
    ) -> SimpleSpan | None:
        """End a span that failed."""
        span = self.all_spans.get(id_)
        if span is not None and err is not None:
            spans.failed(span, err)
        return self._end(id_)

    def close(self) -> None:
        """Do nothing: the providers belong to the process."""

    def _give_up(self, id_: str) -> None:
        """End a span that was never ended, without touching which span is current."""
        for kept in (self._context_tokens, self._previous_contexts, self.open_spans):
            kept.pop(id_, None)
        self.all_spans.pop(id_).end()

    def _end(self, id_: str) -> SimpleSpan | None:
        span = self.all_spans.pop(id_, None)
        if span is not None:
            self._detach_context_and_end_span(id_, span)
        return self.open_spans.get(id_)


def _tell_passages(span: trace.Span, found: list[Any]) -> None:
    """Record the number of retrieved passages; their ids and texts only if the settings record content."""
    span.set_attribute("footnote.retrieved", len(found))
    texts = spans.content()
    if texts.is_let_in:
        nodes = [each for each in found if isinstance(each, NodeWithScore)]
        told = [
            {"id": node.node_id, "score": float(node.score or 0), "content": text}
            for node, text in zip(nodes, texts.fitting(node.get_content() for node in nodes), strict=False)
        ]
        span.set_attribute("gen_ai.retrieval.documents", json.dumps(told, ensure_ascii=False))


def _name_of(id_: str) -> str:
    """Return ``Class.method`` from a span's id, which ends in a UUID."""
    return id_.partition("-")[0]


def _method_of(id_: str) -> str:
    return _name_of(id_).rpartition(".")[2]


@contextmanager
def traced_dispatcher() -> Iterator[DispatcherSpans]:
    """Export LlamaIndex's spans until the block ends; the dispatcher is global to the process."""
    handler, dispatcher = DispatcherSpans(), get_dispatcher()
    dispatcher.add_span_handler(handler)
    try:
        yield handler
    finally:
        dispatcher.span_handlers.remove(handler)
