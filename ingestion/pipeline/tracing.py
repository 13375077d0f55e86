"""A run of the pipeline as one trace, and its metrics.

A trace holds the first `MAX_DOCUMENTS` documents in full, and after them as many that failed or were slow. The others
are only counted, so that a collector is not flooded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext

from config.telemetry import spans
from config.telemetry.metrics import (
    CACHE_LOOKUPS,
    INGESTED_BYTES,
    INGESTED_CHUNKS,
    INGESTED_DOCUMENTS,
    INGESTION_STAGE_DURATION,
    INGESTION_WARNINGS,
    Few,
)

if TYPE_CHECKING:
    from ingestion.pipeline.report import IngestReport
    from ingestion.types import ReadWarning
    from storage.documents.writes import NewDocument

MAX_DOCUMENTS = 500
SLOW_SECONDS = 10.0  # of processing, without waiting in queues
DOCUMENT = "footnote.ingest.document"

Outcome = Literal["added", "changed", "moved", "carried", "unchanged", "ignored", "skipped", "failed"]
_tracer = trace.get_tracer("footnote")
_collection_label = Few()


class RunTrace:
    """Traces a run in the span that is current when it begins, and in spans under that; for one event loop."""

    def __init__(self, report: IngestReport) -> None:
        self._report = report
        self._labels = {"footnote.collection": _collection_label(report.collection)}
        self._root: Span = trace.INVALID_SPAN
        self._unseen: Span = trace.INVALID_SPAN
        self._open: dict[DocumentTrace, None] = {}  # as many as fit into the pipeline's queues
        self._seen_in_full = self._seen_late = self._documents = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Trace the block as a run; its report is complete when the block ends."""
        self._root = trace.get_current_span()
        self._unseen = _unsampled(self._root)
        self._root.set_attributes(
            {"footnote.collection": self._report.collection, "footnote.generation": self._report.generation}
        )
        try:
            yield
            self._root.set_attribute("footnote.outcome", "interrupted" if self._report.interrupted else "complete")
        finally:
            for document in tuple(self._open):
                document.leave()
            self._tell_counts()

    def begin(self, source: str) -> DocumentTrace:
        """Begin a document's span."""
        in_full = self._seen_in_full < MAX_DOCUMENTS
        self._seen_in_full += in_full
        self._documents += 1
        with spans.under(self._root):
            document = DocumentTrace(self, source, span=spans.begin(DOCUMENT) if in_full else self._unseen)
        self._open[document] = None
        return document

    @contextmanager
    def comparing(self, *, files: int) -> Iterator[Span]:
        """Trace the comparison of files with what is stored."""
        with spans.span("footnote.ingest.compare", attributes={"footnote.documents": files}) as span:
            yield span

    @contextmanager
    def embedding(self, chunks: Mapping[DocumentTrace, int]) -> Iterator[None]:
        """Trace a batch of `chunks` of several documents, which its span links to, as a span has only one parent."""
        linked = [document.span for document in chunks if document.span.is_recording()]
        total = sum(chunks.values())
        attributes = {"footnote.documents": len(chunks), "footnote.chunks": total}
        started = time.perf_counter()
        with (
            spans.under(self._root if linked else self._unseen),
            spans.span("footnote.ingest.embed", attributes=attributes) as span,
        ):
            for each in linked:
                span.add_link(each.get_span_context())
            try:
                yield
            finally:
                seconds = time.perf_counter() - started
                measure("embed", seconds)
                for document, share in chunks.items():
                    document.worked += seconds * share / total

    def count(self, outcome: Outcome, *, number: int = 1) -> None:
        """Count documents by outcome."""
        INGESTED_DOCUMENTS.add(number, {**self._labels, "footnote.outcome": outcome})

    def count_read(self, size: int, *, warnings: Sequence[ReadWarning] = ()) -> None:
        """Count a file's bytes, and the warnings of its reader."""
        INGESTED_BYTES.add(size, self._labels)
        for warning in warnings:
            INGESTION_WARNINGS.add(1, {**self._labels, "footnote.warning": warning.kind})

    def count_written(self, *, embedded: int, reused: int) -> None:
        """Count a document's chunks."""
        INGESTED_CHUNKS.add(embedded, {**self._labels, "footnote.result": "embedded"})
        INGESTED_CHUNKS.add(reused, {**self._labels, "footnote.result": "reused"})

    def late(self, *, since: int) -> Span:
        """Return a span begun at `since` (nanoseconds since 1970) for a document that failed or was slow."""
        if self._seen_late >= MAX_DOCUMENTS:
            return self._unseen
        self._seen_late += 1
        return _tracer.start_span(DOCUMENT, context=trace.set_span_in_context(self._root), start_time=since)

    def forget(self, document: DocumentTrace) -> None:
        """Forget a document whose span has ended."""
        self._open.pop(document, None)

    def _tell_counts(self) -> None:
        report = self._report
        counts = {**report.counts, "without_span": self._documents - self._seen_in_full - self._seen_late}
        self._root.set_attributes({f"footnote.documents.{name}": count for name, count in counts.items()})
        self._root.set_attributes(
            {
                "footnote.chunks": report.chunks,
                "footnote.chunks.reused": report.reused,
                "footnote.bytes": report.bytes,
            }
        )


class DocumentTrace:
    """A document's span, from before it is read until it is committed, across tasks."""

    def __init__(self, run: RunTrace, source: str, *, span: Span) -> None:
        self.span = span
        self.worked = 0.0
        self._run = run
        self._source = source
        self._title: str | None = None
        self._attributes: dict[str, spans.Value] = {}
        self._began = time.time_ns()

    @contextmanager
    def stage(self, name: Literal["parse", "write"]) -> Iterator[None]:
        """Trace a stage of this document."""
        started = time.perf_counter()
        with spans.under(self.span), spans.span(f"footnote.ingest.{name}"):
            try:
                yield
            finally:
                seconds = time.perf_counter() - started
                self.worked += seconds
                measure(name, seconds)

    def describe(self, document: NewDocument, *, chunks: int) -> None:
        """Set attributes of the document."""
        self._title = document.title
        self._attributes |= {
            "footnote.document.id": document.id,
            "footnote.bytes": document.size,
            "footnote.chunks": chunks,
        }

    def count_lookups(self, *, found: int, missing: int) -> None:
        """Count look-ups of stored vectors."""
        with spans.under(self.span):
            CACHE_LOOKUPS.add(found, {"footnote.cache": "vectors", "footnote.result": "hit"})
            CACHE_LOOKUPS.add(missing, {"footnote.cache": "vectors", "footnote.result": "miss"})
        self._attributes["footnote.chunks.reused"] = found

    def end(self, outcome: Outcome, *, reason: str | None = None, error: BaseException | None = None) -> None:
        """End the span; `reason` contains no text of the document."""
        if not self.span.is_recording() and (error is not None or self.worked > SLOW_SECONDS):
            self.span = self._run.late(since=self._began)
        if reason is not None:
            self._attributes["footnote.reason"] = reason
        if error is not None:
            spans.failed(self.span, error)
        with spans.under(self.span):
            self._run.count(outcome)
        self._end(outcome)

    def leave(self) -> None:
        """End the span of a document that the run did not finish."""
        self._end("interrupted")

    def _end(self, outcome: str) -> None:
        self.span.set_attributes({**self._attributes, "footnote.outcome": outcome})
        spans.content().put(self.span, "footnote.source", self._source)
        spans.content().put(self.span, "footnote.title", self._title or "")
        self.span.end()
        self._run.forget(self)


def measure(stage: Literal["parse", "embed", "write"], seconds: float) -> None:
    """Record how long a stage took."""
    INGESTION_STAGE_DURATION.record(seconds, {"footnote.stage": stage})


def _unsampled(span: Span) -> Span:
    """Return a span of the same trace under which no span is sampled."""
    known = span.get_span_context()
    return NonRecordingSpan(SpanContext(known.trace_id, known.span_id, is_remote=False))
