"""What leaves through Footnote's exporter obeys ``TELEMETRY__CONTENT``, whoever made the span.

Libraries that instrument LlamaIndex, a model's client or a database take the process's tracer provider, and record
questions, passages and prompts by names of their own. A list of such names would be out of date with the next library:
of the spans of others only what is known to hold no text is let out, and of ours what Footnote itself records.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeGuard

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Link, Status

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.util.types import AttributeValue

    from config.telemetry.spans import Content

OWN = "footnote"  # the scope of our spans, and the first part of their attributes' names
LONGEST_NAME = 120
MOST_NUMBERS = 64  # in one attribute; more are a vector, which tells its text

# names of models, tools and operations, ids, kinds and states, by OpenTelemetry's conventions and OpenInference's;
# and the problem that Footnote tells on FastAPI's span of a request
_TEXTS = re.compile(
    r"footnote\.problem|error\.type|exception\.(?:type|escaped)"
    r"|http\.(?:method|scheme|flavor|route|request\.method)|url\.(?:scheme|template)"
    r"|net(?:work)?\.(?:transport|type|protocol\.(?:name|version))"
    r"|rpc\.(?:system|service|method)(?:\.name)?|messaging\.(?:system|operation(?:\.(?:name|type))?)"
    r"|db\.(?:system|operation|namespace|name|sql\.table|collection\.name|query\.summary|response\.status_code)"
    r"(?:\.name)?|db\.client\.connection\.(?:state|pool\.name)"
    r"|gen_ai\.(?:system|provider\.name|operation\.name|output\.type|token\.type|conversation\.id|data_source\.id)"
    r"|gen_ai\.(?:request\.(?:model|encoding_formats)|response\.(?:id|model|finish_reasons)|prompt\.name)"
    r"|gen_ai\.(?:agent\.(?:id|name|version)|tool\.(?:name|type|call\.id)|workflow\.name)"
    r"|gen_ai\.openai\.(?:request|response)\.(?:service_tier|system_fingerprint)"
    r"|mcp\.(?:method\.name|protocol\.version)|jsonrpc\.(?:protocol\.version|request\.id)"
    r"|openinference\.span\.kind|(?:input|output)\.mime_type|tool\.name"
    r"|llm\.(?:provider|system|finish_reason|(?:request\.|response\.)?model_name)"
    r"|(?:embedding|reranker)\.model_name"
    r"|llm\.(?:input|output)_messages\.\d+\.message\.role"
    r"|code\.(?:function|namespace)(?:\.name)?|thread\.name|telemetry\.sdk\.(?:name|language|version)|service\.(?:name|version)"
)
# what a client chooses of a request: in no mode but `full`, as with the spans of requests
_ADDRESSES = re.compile(
    r"url\.(?:full|original|path|query|fragment)|http\.(?:url|target|host|user_agent|client_ip)"
    r"|http\.(?:request|response)\.header\..*|(?:server|client|source|destination)\.address"
    r"|net(?:work)?\.(?:peer|host|sock|local)\..*|user_agent\.original|(?:user|enduser)\..*"
)
# a number may be a value of metadata, whose names are content too
_NUMBERS = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*")
_VALUES = re.compile(
    r"(?:^|[._])(?:metadata|value|content|contents|text|vector|arguments|variables|kwargs|extra_info)(?:$|[._])"
)


class Withholding(SpanExporter):
    """An exporter that hands on spans without the texts that the settings keep back.

    In the mode `none` they lack them, and messages of errors; in `redacted` the texts of others' spans are cut and
    masked as ours are; in `full` spans are handed on as they are.
    """

    def __init__(self, exporter: SpanExporter, *, content: Content) -> None:
        self._exporter = exporter
        self._content = content

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans; see the class."""
        if not self._content.masks:
            return self._exporter.export(spans)
        return self._exporter.export([self._shown(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)

    def _shown(self, span: ReadableSpan) -> ReadableSpan:
        is_own = _is_own(span)
        if is_own and self._content.is_let_in:
            return span  # it was masked when it was made
        attributes = self._attributes(span.attributes, is_own=is_own)
        is_bare = not (span.events or span.links or span.status.description or len(span.name) > LONGEST_NAME)
        if is_bare and attributes == dict(span.attributes or {}):
            return span  # as nearly all of ours
        return ReadableSpan(
            name=span.name[:LONGEST_NAME],
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,
            events=[self._event(event, is_own=is_own) for event in span.events],
            links=[Link(link.context, self._attributes(link.attributes, is_own=is_own)) for link in span.links],
            kind=span.kind,
            status=Status(span.status.status_code, self._message(span.status.description)),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def _event(self, event: Event, *, is_own: bool) -> Event:
        shown = self._attributes(event.attributes, is_own=is_own)
        return Event(event.name[:LONGEST_NAME], shown, event.timestamp)

    def _message(self, text: str | None) -> str | None:
        return self._content.shown(text) if text and self._content.is_let_in else None

    def _attributes(
        self, attributes: Mapping[str, AttributeValue] | None, *, is_own: bool
    ) -> dict[str, AttributeValue]:
        given = (attributes or {}).items()
        if self._content.is_let_in:
            told = [(name, value) for name, value in given if _is_maskable(name, value)]
            return {self._content.shown(name): self._masked(name, value) for name, value in told}
        return {name: value for name, value in given if _is_let_out(name, value, is_own=is_own)}

    def _masked(self, name: str, value: Any) -> Any:  # noqa: ANN401 (one of OpenTelemetry's types)
        if _is_text(value) and not _is_known(name):
            return (
                self._content.shown(value) if isinstance(value, str) else [self._content.shown(str(v)) for v in value]
            )
        return value


def _is_maskable(name: str, value: object) -> bool:
    return not _ADDRESSES.fullmatch(name) and (_is_text(value) or _is_number(value))


def _is_let_out(name: str, value: object, *, is_own: bool) -> bool:
    if is_own and name.startswith(f"{OWN}."):
        return True
    if _is_text(value):
        return _is_known(name)
    is_short = not _is_list(value) or len(value) <= MOST_NUMBERS
    return _is_number(value) and is_short and _is_number_of(name)


def _is_text(value: object) -> bool:
    return isinstance(value, str) or (_is_list(value) and any(isinstance(each, str) for each in value))


def _is_number(value: object) -> bool:
    """Tell whether a value is a number or several; not bytes, nor what a later version may allow."""
    values = value if _is_list(value) else (value,)
    return all(each is None or isinstance(each, bool | int | float) for each in values)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


@lru_cache(maxsize=4096)
def _is_known(name: str) -> bool:
    return _TEXTS.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _is_number_of(name: str) -> bool:
    return len(name) <= LONGEST_NAME and _NUMBERS.fullmatch(name) is not None and _VALUES.search(name) is None


def _is_own(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == OWN
