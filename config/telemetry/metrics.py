"""Every metric that Footnote records: name, unit and description.

Names follow OpenTelemetry's semantic conventions if there is one (``http.*`` is recorded by FastAPI's instrumentation),
else begin with ``footnote.``. Labels have few values: routes, engines, slugs, a bounded number of collections. The
instruments use OpenTelemetry's global meter provider, and record nothing until `config.telemetry.setup` has set one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from opentelemetry import metrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
# https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
MODEL_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
JOB_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
SIZES = (4096, 65_536, 1_048_576, 4_194_304, 16_777_216, 67_108_864, 268_435_456, 1_073_741_824)
RATES = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)
COUNTS = (0, 1, 2, 3, 5, 8, 12, 20, 50, 100)

_meter = metrics.get_meter("footnote")


Readings = Iterable[tuple[float, Mapping[str, str]]]


class Gauge:
    """A value that is read from its current sources whenever metrics are collected."""

    def __init__(
        self, name: str, unit: str, description: str, *, kind: Literal["gauge", "sum", "total"] = "gauge"
    ) -> None:
        """Create the instrument: a ``sum`` can be added up over processes, a ``total`` never decreases."""
        self._sources: list[Callable[[], Readings]] = []
        create = {
            "gauge": _meter.create_observable_gauge,
            "sum": _meter.create_observable_up_down_counter,
            "total": _meter.create_observable_counter,
        }[kind]
        create(name, callbacks=[self._read], unit=unit, description=description)

    @contextmanager
    def observed(self, source: Callable[[], Readings]) -> Iterator[None]:
        """Read `source`, which returns values with their labels, until the block ends; it is called on any thread."""
        self._sources.append(source)
        try:
            yield
        finally:
            self._sources.remove(source)

    def _read(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        for source in tuple(self._sources):
            for value, labels in source():
                yield metrics.Observation(value, labels)


class Few:
    """Bounds the number of a label's values: the first `most` are kept, the rest become ``other``."""

    def __init__(self, most: int = 50) -> None:
        self._most = most
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return the value, or ``other``."""
        if value not in self._seen:
            if len(self._seen) >= self._most:
                return "other"
            self._seen.add(value)
        return value


def tenant_label(tenant: str) -> str:
    """Return a tenant's label in telemetry: a short hash, which identifies nobody."""
    return tenant if tenant == "default" else hashlib.sha256(tenant.encode()).hexdigest()[:12]


TENANT: ContextVar[str] = ContextVar("the label of the tenant that is served", default="default")


def _seconds(name: str, description: str, *, buckets: tuple[float, ...] = SECONDS) -> metrics.Histogram:
    return _meter.create_histogram(name, unit="s", description=description, explicit_bucket_boundaries_advisory=buckets)


def _sizes(name: str, unit: str, description: str, *, buckets: tuple[float, ...]) -> metrics.Histogram:
    return _meter.create_histogram(
        name, unit=unit, description=description, explicit_bucket_boundaries_advisory=[*map(float, buckets)]
    )


# answering
ANSWER_DURATION = _seconds(
    "footnote.answer.duration", "An answer, from the question to its last token, by engine, collection and outcome."
)
ANSWERS = _meter.create_counter(
    "footnote.answers",
    unit="{answer}",
    description="Answers by outcome, each from 0 at the start, so that a first failure is an increase.",
)
PROBLEMS = _meter.create_counter(
    "footnote.problems",
    unit="{response}",
    description="Responses that were a problem, by slug and status, each from 0 at the start; not those of /ready.",
)
TIME_TO_FIRST_TOKEN = _seconds("footnote.answer.time_to_first_token", "From the question to the answer's first token.")
STAGE_DURATION = _seconds("footnote.stage.duration", "A stage of an answer: embed, retrieve, rerank, generate, ...")
RETRIEVED = _sizes(
    "footnote.answer.retrieved", "{passage}", "Passages found for a question; 0: it had no context.", buckets=COUNTS
)
CITED = _sizes("footnote.answer.cited", "{citation}", "Passages that an answer points at.", buckets=COUNTS)
TOP_SCORE = _sizes(
    "footnote.answer.top_score",
    "1",
    "Cosine similarity of the best passage.",
    buckets=(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1),
)
COST = _meter.create_counter(
    "footnote.cost", unit="{USD}", description="What models cost by the settings' price table, by model and tenant."
)
RERANK_DURATION = _seconds(
    "footnote.rerank.duration", "A reranking, by provider, model and outcome: applied, or why not."
)
RERANK_FAILURES = _meter.create_counter(
    "footnote.rerank.failures", unit="{reranking}", description="Rerankings that were not applied, by why not."
)
STREAM_ENDINGS = _meter.create_counter(
    "footnote.stream.endings", unit="{stream}", description="Streams that ended, by how: a finish reason or a problem."
)
CACHE_LOOKUPS = _meter.create_counter(
    "footnote.cache.lookups", unit="{lookup}", description="Lookups by cache (questions, ...) and result (hit, miss)."
)
FEEDBACK = _meter.create_counter(
    "footnote.feedback", unit="{rating}", description="What people thought of answers, by rating."
)

# limits
LIMIT_REFUSALS = _meter.create_counter(
    "footnote.limits.refusals",
    unit="{refusal}",
    description="What limits refused, by limit (requests, streams, uploads, stored, budget) and whose it was.",
)

# evidence
EVIDENCE_LOST = _meter.create_counter(
    "footnote.evidence.lost",
    unit="{answer}",
    description="Answers of which it was not recorded what they showed: the database was away for too long.",
)

# models
MODEL_DURATION = _seconds(
    "gen_ai.client.operation.duration", "A call of a model, to its last token.", buckets=MODEL_SECONDS
)
MODEL_FIRST_CHUNK = _seconds(
    "gen_ai.client.operation.time_to_first_chunk",
    "From the call of a model to its first token.",
    buckets=MODEL_SECONDS,
)
TOKEN_USAGE = _sizes(
    "gen_ai.client.token.usage", "{token}", "Tokens that a call of a model read and wrote.", buckets=TOKENS
)
OUTPUT_RATE = _sizes(
    "footnote.model.output_rate", "{token}/s", "Tokens a second that a model wrote, after its first.", buckets=RATES
)
MODEL_FAILURES = _meter.create_counter(
    "footnote.model.failures",
    unit="{call}",
    description="Calls of a model that failed, by provider and problem, each from 0 when it is opened.",
)
MODEL_RETRIES = _meter.create_counter(
    "footnote.model.retries", unit="{retry}", description="Calls of a model that were tried again."
)
MODEL_SWITCHES = _meter.create_counter(
    "footnote.model.switches", unit="{answer}", description="Answers that another model than the first wrote."
)

# the database
DB_DURATION = _seconds("db.client.operation.duration", "A statement, as the client sees it.")
DB_WAIT = _seconds("db.client.connection.wait_time", "Waiting for a free connection of the pool.")
DB_TIMEOUTS = _meter.create_counter(
    "db.client.connection.timeouts", unit="{timeout}", description="Waits for a free connection that timed out."
)

# the process
LOOP_LAG = _seconds("footnote.event_loop.lag", "How late the event loop comes to what is due.")

# generations
GENERATION_FLIPS = _meter.create_counter(
    "footnote.generation.flips", unit="{flip}", description="Switches of this process to another generation."
)

# uploads
UPLOAD_SIZE = _sizes(
    "footnote.upload.size", "By", "Bytes of an upload, as far as it came, by what became of it.", buckets=SIZES
)

# Only workers and commands record footnote.ingestion.*, which reaches Prometheus by OTLP; everything else is scraped
# from servers. deploy/otel-collector.yaml separates the two by that prefix, so that nothing is counted twice.

# ingestion
INGESTED_DOCUMENTS = _meter.create_counter(
    "footnote.ingestion.documents", unit="{document}", description="Documents by outcome: added, unchanged, failed, ..."
)
INGESTED_CHUNKS = _meter.create_counter(
    "footnote.ingestion.chunks", unit="{chunk}", description="Chunks written, by where their vector came from."
)
INGESTED_BYTES = _meter.create_counter(
    "footnote.ingestion.bytes", unit="By", description="Bytes of the files that were read."
)
INGESTION_WARNINGS = _meter.create_counter(
    "footnote.ingestion.warnings", unit="{warning}", description="What readers left out, guessed or could not read."
)
INGESTION_STAGE_DURATION = _seconds(
    "footnote.ingestion.stage.duration", "A document's stage: parse, embed (a batch), write."
)

# jobs
JOB_DURATION = _seconds(
    "footnote.ingestion.job.duration",
    "A try of a job, by kind and outcome (succeeded, retried, failed, returned, lost).",
    buckets=JOB_SECONDS,
)
JOB_WAIT = _seconds(
    "footnote.ingestion.job.wait", "From a job's submission to its first try, by kind.", buckets=JOB_SECONDS
)


MODEL_PROBLEMS = (
    "model-unavailable",
    "model-failed",
    "model-rejected",
    "rate-limited",
    "deadline-exceeded",
    "internal",
    "other",
)
"""Values of ``error.type`` that failed calls of a model are counted by."""


def expect_calls(provider: str) -> None:
    """Let the failures of a provider's models begin at 0, so that the first is an increase."""
    for slug in MODEL_PROBLEMS:
        MODEL_FAILURES.add(0, {"gen_ai.provider.name": provider, "error.type": slug})


def count_failed_call(provider: str, slug: str) -> None:
    """Count a call of a model that failed with a problem."""
    told = slug if slug in MODEL_PROBLEMS else "other"
    MODEL_FAILURES.add(1, {"gen_ai.provider.name": provider, "error.type": told})


# what is read when metrics are collected
DB_CONNECTIONS = Gauge(
    "db.client.connection.count", "{connection}", "Connections of the pool, by state (idle, used).", kind="sum"
)
DB_MOST_CONNECTIONS = Gauge(
    "db.client.connection.max", "{connection}", "Connections that the pool may have.", kind="sum"
)
OPEN_STREAMS = Gauge("footnote.streams.open", "{stream}", "Streams that are being written.", kind="sum")
BREAKER_STATE = Gauge("footnote.breaker.state", "{state}", "1 for the state that a circuit breaker is in, else 0.")
COLLECTION_DOCUMENTS = Gauge("footnote.collection.documents", "{document}", "Documents that answer, by collection.")
COLLECTION_CHUNKS = Gauge("footnote.collection.chunks", "{chunk}", "Chunks that answer, by collection.")
GENERATION_AGE = Gauge("footnote.generation.age", "s", "Since the active generation was last written to.")
GENERATIONS_BEHIND = Gauge(
    "footnote.generations.behind", "{collection}", "Collections whose new generation cannot be read by this process."
)
GENERATIONS_OLD = Gauge(
    "footnote.generations.old", "{generation}", "Generations that answer no more, but requests under way.", kind="sum"
)
MEMORY = Gauge("process.memory.usage", "By", "Physical memory of the process.", kind="sum")
CPU_TIME = Gauge("process.cpu.time", "s", "CPU time of the process, by mode (user, system).", kind="total")
OPEN_FILES = Gauge(
    "process.unix.file_descriptor.count", "{file_descriptor}", "Open files and sockets of the process.", kind="sum"
)
DEPENDENCY_UP = Gauge(
    "footnote.dependency.up", "1", "1 if what the server stands on works, else 0: database, schema, model, disk, ..."
)
DISK_FREE = Gauge("footnote.disk.free", "By", "Free bytes of the disk that holds this: the database's, uploads'.")
DISK_SIZE = Gauge("footnote.disk.size", "By", "Bytes of that disk in all.")
JOBS = Gauge("footnote.jobs", "{job}", "Jobs by status (queued, running, failed).")
JOBS_AGE = Gauge("footnote.jobs.age", "s", "How long the job that is due longest has waited for a worker.")
