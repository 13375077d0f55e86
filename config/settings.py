"""Every setting of Footnote; this module is the only reader of the environment.

A setting comes, in this order, from an environment variable with the prefix ``FOOTNOTE_`` (nested by ``__``), the file
``.env`` in the working directory, a name that people already have set (``DATABASE_URL``, ``OPENAI_API_KEY``,
``OPENAI_BASE_URL``, ``OLLAMA_BASE_URL``, ``REDIS_URL``), or the default here. ``config/example.env`` lists every key.
Names of earlier releases (`OLD_NAMES`) come after the first two, and are warned of.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

PREFIX = "FOOTNOTE_"
ENV_FILE = Path(".env")
FALLBACKS = {
    "DATABASE_URL": ("database", "url"),
    "OPENAI_API_KEY": ("llm", "api_key"),
    "OPENAI_BASE_URL": ("llm", "base_url"),
    "OLLAMA_BASE_URL": ("llm", "ollama_base_url"),
    "REDIS_URL": ("redis", "url"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("telemetry", "endpoint"),
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("telemetry", "protocol"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("telemetry", "headers"),
    "OTEL_SERVICE_NAME": ("telemetry", "service_name"),
}
OLD_NAMES: Mapping[str, str | None] = {
    "STREAMS__REDIS_URL": "REDIS__URL",
    "CACHE__REDIS_URL": "REDIS__URL",
    "CACHE__REDIS_TIMEOUT": "REDIS__LOOKUP_TIMEOUT",
    "CACHE__REDIS_TTL": None,
}
"""Names of the last release, without prefix, and what they are called now; None: the setting is gone. One release on,
an entry is removed, and the name is refused like any unknown one."""

_HOST_NAME = re.compile(r"(?=[^/]*[a-z])[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_OTLP_HEADER = re.compile(r"[A-Za-z0-9_.-]+\s*=\s*[\x20-\x7e]*")


class SettingsError(ValueError):
    """A setting is unknown or invalid; the message is one line that names it and says what to change."""


def _database_url(value: SecretStr) -> SecretStr:
    scheme = value.get_secret_value().partition("://")[0]
    if scheme.split("+")[0] not in {"postgres", "postgresql"}:
        msg = "must start with postgresql://"
        raise ValueError(msg)
    try:
        _ = urlsplit(value.get_secret_value()).port
    except ValueError:
        msg = "has a host or a port that cannot be read; special characters of a password are written as %XX"
        raise ValueError(msg) from None
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    if value.get_secret_value().partition("://")[0] not in {"redis", "rediss", "unix"}:
        msg = "must start with redis://, rediss:// or unix://"
        raise ValueError(msg)
    return value


def _otlp_endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_plain = bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        is_plain = False
    if not is_plain or parts.scheme not in {"http", "https"} or parts.username or not value.isascii() or " " in value:
        msg = "must be http://host:port or https://host:port; a password goes into the headers"
        raise ValueError(msg)
    return value.rstrip("/")


def _otlp_headers(value: SecretStr) -> SecretStr:
    if not all(_OTLP_HEADER.fullmatch(pair.strip()) for pair in value.get_secret_value().split(",")):
        msg = "must be name=value, with commas between; other than printable ASCII is written as %XX"
        raise ValueError(msg)
    return value


def _private_place(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        if _HOST_NAME.fullmatch(value.lower()):
            return value.lower()
    msg = "each entry is a network without bits of a host, 10.1.0.0/16, or a host name, wiki.corp"
    raise ValueError(msg)


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _origin(value: str) -> str:
    scheme, _, host = value.partition("://")
    if value != "*" and (scheme not in {"http", "https"} or not host or "/" in host):
        msg = "an origin is * or a scheme and a host, without a path: https://app.example"
        raise ValueError(msg)
    return value


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(_Group):
    """Where the HTTP server listens and what it lets in."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    cors_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)] = (
        Field(
            (),
            description="Origins that browsers may call from, with commas between: https://app.example,http://localhost:3000.",
        )
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, le=1_073_741_824, description="Largest JSON request body.")
    max_uploads: int = Field(
        16, ge=1, le=10_000, description="Files received at once; more get 503 `overloaded`. Each waits on the disk."
    )
    upload_timeout: float = Field(
        1800, gt=0, le=86_400, description="Seconds that an upload may take in all, with what is done with it then."
    )
    upload_silence: float = Field(
        30, gt=0, le=3600, description="Seconds in which nothing of an upload comes, after which it is given up."
    )
    max_watchers: int = Field(
        200, ge=1, le=100_000, description="Jobs that are watched by `/jobs/{id}/events` at once; more get 503."
    )
    request_timeout: float = Field(
        120, gt=0, le=3600, description="Seconds that a request which is no stream may take in all."
    )
    max_concurrency: int = Field(
        512, ge=1, le=100_000, description="Requests answered at once; more get 503 `overloaded`."
    )
    drain_delay: float = Field(
        0,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM in which new requests still get a 503, while load balancers take note.",
    )
    shutdown_timeout: float = Field(
        20, ge=0, le=3600, description="Seconds that running requests have to finish after SIGTERM."
    )
    idempotency_hours: float = Field(
        24, gt=0, le=8760, description="How long the answer to an `Idempotency-Key` is given again."
    )
    ping_interval: float = Field(
        15,
        gt=0,
        le=300,
        description="Seconds of silence after which a stream sends a comment to keep proxies from closing.",
    )


class StreamSettings(_Group):
    """How answers are streamed, and taken up again after a dropped connection."""

    grace: float = Field(
        20,
        ge=0,
        le=3600,
        description="Seconds that an answer is still written for a client that lost its stream; 0: it ends at once.",
    )
    keep: float = Field(300, ge=0, le=86_400, description="Seconds that a finished stream can be taken up again.")
    total_timeout: float = Field(600, gt=0, le=86_400, description="Seconds that a stream may last in all.")
    write_timeout: float = Field(
        60, gt=0, le=3600, description="Seconds that a client may read nothing before its connection is closed."
    )
    window_bytes: int = Field(
        65_536, ge=1024, le=1_073_741_824, description="How far the model may be ahead of the fastest reader."
    )
    most_bytes: int = Field(
        1_048_576, ge=65_536, le=1_073_741_824, description="Kept of one stream for those who take it up again."
    )
    kept_bytes: int = Field(
        67_108_864, ge=65_536, description="Kept of finished streams in all; the oldest are forgotten first."
    )


class RedisSettings(_Group):
    """The Redis that replicas share, for streams and question vectors."""

    url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = Field(
        None,
        description="redis://host:6379/0: any replica can resume a stream, and replicas share question vectors; unset: "
        "each replica works alone. Also REDIS_URL.",
    )
    lookup_timeout: float = Field(
        0.1,
        gt=0,
        le=10,
        description="Seconds to wait for a question vector from Redis before the question is embedded instead.",
    )


class ChatSettings(_Group):
    """Conversations."""

    history_tokens: int = Field(
        2000, ge=0, le=10_000_000, description="Tokens of earlier turns that the model reads; the oldest are cut first."
    )
    summary: bool = Field(False, description="Let the model keep a summary of the turns that are cut.")
    lease_seconds: float = Field(
        30,
        ge=2,
        le=3600,
        description="How long a conversation stays busy after the server that was answering in it has died.",
    )


class DatabaseSettings(_Group):
    """The PostgreSQL server and the one connection pool."""

    url: Annotated[SecretStr, AfterValidator(_database_url)] | None = Field(
        None,
        description="postgresql://user:password@host:5432/name with pgvector; unset: Footnote runs its own PostgreSQL.",
    )
    pool_min: int = Field(2, ge=0, le=1000, description="Connections kept open.")
    pool_max: int = Field(12, ge=1, le=1000, description="Connections at the most.")
    acquire_timeout: float = Field(10, gt=0, le=600, description="Seconds to wait for a free connection.")
    connect_timeout: float = Field(30, gt=0, le=600, description="Seconds to wait for the database at the start.")
    statement_timeout: float = Field(30, gt=0, le=3600, description="Seconds that one statement may take.")


class EmbeddingSettings(_Group):
    """The model that turns text into vectors."""

    model: str = Field(
        "all-MiniLM-L6-v2",
        min_length=1,
        description="A directory or a hub name; the default is the model that comes in a wheel.",
    )
    revision: str | None = Field(None, description="A hub model's commit or tag; unset: the hub's newest.")
    backend: Literal["auto", "onnx", "torch", "openvino"] = Field(
        "auto", description="auto: ONNX where the model can be exported, else torch."
    )
    quantization: Literal["none", "int8"] = Field(
        "none", description="int8 is faster and costs a little accuracy (ONNX only)."
    )
    device: str = Field("cpu", description="Device of the torch backend: cpu, cuda, mps.")
    normalize: bool = Field(True, description="Scale vectors to length one.")
    batch_size: int = Field(32, ge=1, le=4096, description="Texts in one call of the model.")
    threads: int | None = Field(None, ge=1, le=1024, description="Threads of one model call; unset: one a core.")
    query_instruction: str | None = Field(
        None, description="Text put before each question (E5, BGE and others want one)."
    )
    text_instruction: str | None = Field(None, description="Text put before each passage.")


class Price(_Group):
    """What a model costs, in US dollars for a million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)


class LLMSettings(_Group):
    """The model that writes the answers."""

    provider: Literal["auto", "openai", "openai_like", "ollama", "local", "extractive"] = Field(
        "auto",
        description="auto: OpenAI if a key is set, a reachable Ollama, the local model if installed, else extractive.",
    )
    model: str | None = Field(None, description="The model's name; unset: the provider's default.")
    api_key: SecretStr | None = Field(None, description="Key for openai and openai_like; also OPENAI_API_KEY.")
    base_url: str | None = Field(None, description="Address of an OpenAI-compatible server; also OPENAI_BASE_URL.")
    ollama_base_url: str = Field("http://127.0.0.1:11434", description="Address of Ollama; also OLLAMA_BASE_URL.")
    is_chat_model: bool = Field(True, description="openai_like: false for a base model served by /v1/completions.")
    context_window: int = Field(
        8192, ge=256, le=10_000_000, description="Tokens that the model reads and writes in all."
    )
    max_tokens: int = Field(512, ge=1, le=1_000_000, description="Tokens of an answer, where the request names none.")
    temperature: float = Field(0.1, ge=0, le=2, description="Where the request names none.")
    connect_timeout: float = Field(5, gt=0, le=600, description="Seconds to connect to the model's server.")
    token_timeout: float = Field(30, gt=0, le=3600, description="Seconds to the first token, and between two.")
    total_timeout: float = Field(120, gt=0, le=3600, description="Seconds for a whole answer.")
    max_retries: int = Field(2, ge=0, le=10, description="Tries again, before the first token only.")
    breaker_failures: int = Field(
        5, ge=0, le=1000, description="Calls in a row without a first token that open the circuit breaker; 0: never."
    )
    breaker_seconds: float = Field(
        10, gt=0, le=3600, description="Seconds during which an open breaker refuses calls, before it lets one try."
    )
    prices: Mapping[str, Price] = Field(
        {},
        description="US dollars for a million tokens, by model, as JSON: "
        '{"gpt-4.1-mini": {"input": 0.4, "output": 1.6}}; other models\' answers have no `cost_usd`.',
    )
    local_model: Path | None = Field(
        None, description="provider local: a GGUF file for llama-server; unset: the small Gemma that comes in wheels."
    )


class RetrievalSettings(_Group):
    """How passages are found."""

    candidates: int = Field(64, ge=1, le=1000, description="Rows that each leg hands to the fusion, at the least.")
    rrf_k: int = Field(5, ge=1, le=10_000, description="Reciprocal rank fusion: a row scores weight / (rrf_k + rank).")
    dense_weight: float = Field(1.0, ge=0, le=100, description="Weight of the dense leg in the fusion.")
    lexical_weight: float = Field(1.0, ge=0, le=100, description="Weight of the lexical leg in the fusion.")
    combined_weight: float = Field(
        4.0,
        ge=0,
        le=100,
        description="Weight in the fusion of the order by both legs' scores together; 0: ranks alone.",
    )
    combined_dense_share: float = Field(
        0.6, ge=0, le=1, description="Of those scores, each divided by the best one, the share of the dense leg's."
    )
    min_score: float = Field(
        0.15, ge=0, le=1, description="Bar for a passage's cosine similarity, where the request names none; 0: no bar."
    )
    max_per_document: int | None = Field(
        None, ge=1, le=100, description="Passages of one document at the most; unset: as many as are best."
    )
    near_duplicates: Literal["drop", "keep"] = Field(
        "drop", description="drop: a passage that says again what a better one says gives its place to the next."
    )
    near_duplicate_share: float = Field(
        0.9, ge=0.5, le=1, description="Share of a passage's runs of three words that make it one, if in a better one."
    )
    join_neighbours: bool = Field(False, description="Make one passage of chunks that follow each other.")
    passage_chars: int = Field(3000, ge=100, le=1_000_000, description="Longest passage that is made so.")
    ef_search: int = Field(400, ge=1, le=1000, description="HNSW: length of the candidate list of a search.")
    max_scan_tuples: int = Field(
        20_000, ge=1, le=2_147_483_647, description="HNSW: rows that a filtered search visits at the most."
    )


class RerankSettings(_Group):
    """A second look at the passages that were found (docs/reranking.md)."""

    provider: Literal["none", "local", "cohere", "jina", "llm"] = Field(
        "none",
        description="local: a cross-encoder; cohere, jina: an endpoint of that kind; llm: the model that answers.",
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="local: a directory or a hub name; cohere, jina: the model's name, unset: a usual one.",
    )
    revision: str | None = Field(None, description="local: a hub model's commit or tag; unset: the hub's newest.")
    url: str | None = Field(
        None,
        description="cohere, jina: address of the endpoint, up to /v2/rerank or /v1/rerank; unset: the provider's.",
    )
    api_key: SecretStr | None = Field(None, description="cohere, jina: the key.")
    always: bool = Field(True, description="Rerank where the request does not say; false: where it asks for it.")
    candidates: int = Field(30, ge=1, le=1000, description="Passages that are ranked again, and at least `k`.")
    timeout: float = Field(
        2, gt=0, le=60, description="Seconds for it; then the passages go on in the order in which they were found."
    )
    backend: Literal["auto", "onnx", "torch"] = Field(
        "auto", description="local: auto: ONNX where the model can be exported, else torch."
    )
    batch_size: int = Field(8, ge=1, le=1024, description="local: passages in one call of the model at the most.")
    threads: int | None = Field(
        None, ge=1, le=1024, description="local: calls of the model at once; unset: one a core."
    )
    max_tokens: int = Field(
        512, ge=16, le=100_000, description="local: tokens of question and passage that are read, at the most."
    )
    breaker_failures: int = Field(
        3, ge=0, le=1000, description="Failures in a row after which it is not asked for a while; 0: always asked."
    )
    breaker_seconds: float = Field(10, gt=0, le=3600, description="How long that while is.")


class CacheSettings(_Group):
    """What is kept to be given again (docs/caching.md)."""

    embedding_bytes: int = Field(
        33_554_432, ge=0, description="Memory for questions' vectors, by model and exact text; 0: none are kept."
    )
    answers: bool = Field(
        False,
        description="Give an answer again to the same question, as long as nothing has changed in the collection.",
    )
    answer_bytes: int = Field(67_108_864, ge=65_536, description="Memory for such answers.")
    answer_ttl: float = Field(600, gt=0, le=604_800, description="Seconds after which an answer is written anew.")


class EngineSettings(_Group):
    """What the engines by name may spend (docs/engines/)."""

    call_timeout: float = Field(
        30, gt=0, le=600, description="Seconds for one call of the model beside the one that writes the answer."
    )
    parallel_calls: int = Field(4, ge=1, le=64, description="Such calls, or searches, of one question at once.")
    fusion_queries: int = Field(
        3, ge=0, le=8, description="fusion: other wordings of the question that the model is asked for."
    )
    fusion_own_weight: float = Field(
        2, ge=1, le=100, description="fusion: weight of the question as it was asked; each other wording has 1."
    )
    window_chunks: int = Field(1, ge=0, le=20, description="window: chunks on either side of a hit.")
    window_characters: int = Field(
        2000, ge=0, le=100_000, description="window: characters on either side of a hit, in whole chunks, at the most."
    )
    merging_ratio: float = Field(
        0.5, ge=0, lt=1, description="auto_merging: more than this share of a part's passages must have been found."
    )
    merging_characters: int = Field(
        6000, ge=100, le=1_000_000, description="auto_merging: longest part that is given as a whole."
    )
    merging_group: int = Field(
        4, ge=2, le=50, description="auto_merging: chunks that are one part where a document has no headings or pages."
    )
    sub_questions: int = Field(4, ge=2, le=4, description="sub_question: parts of a question at the most.")
    router_collections: int = Field(
        16, ge=1, le=100, description="router: collections that it looks at, the named one and then by name."
    )
    summary_documents: int = Field(
        3, ge=1, le=100, description="summary: documents that are read where the request names none."
    )
    summary_calls: int = Field(
        8, ge=1, le=100, description="summary: calls of the model that read; as many again may put notes together."
    )
    summary_tokens: int = Field(
        60_000, ge=1000, le=10_000_000, description="summary: tokens that are read at the most, estimated."
    )


class IngestionSettings(_Group):
    """How documents become chunks."""

    chunk_tokens: int | None = Field(
        None,
        ge=16,
        le=100_000,
        description="Tokens of a chunk, heading included; unset: what the embedding model reads.",
    )
    chunk_overlap: int = Field(32, ge=0, le=10_000, description="Tokens that a chunk repeats of the one before.")
    language: str = Field(
        "english",
        pattern=r"^[a-z_]{1,63}$",
        description="Text search configuration of a new collection (psql: \\dF); simple for code and mixed languages.",
    )
    max_file_bytes: int = Field(52_428_800, ge=1, description="Larger files are skipped.")
    parse_timeout: float = Field(120, gt=0, le=86_400, description="Seconds to read one file; slower ones are skipped.")
    parse_memory_bytes: int = Field(
        4_294_967_296, ge=268_435_456, description="Memory of the process that reads files (Linux)."
    )
    parse_workers: int = Field(
        1, ge=1, le=256, description="Files that are read and split at once, each in a process of its own."
    )
    batch_chunks: int = Field(
        512, ge=1, le=100_000, description="Chunks embedded together, sorted by length; bounds what is held in memory."
    )
    index_chunks: int = Field(
        5000, ge=0, description="Chunks from which on a collection gets an HNSW index; searches of fewer are exact."
    )
    index_ef_construction: int = Field(
        400, ge=4, le=1000, description="HNSW: candidates looked at for each row while the index is built."
    )
    index_m: int = Field(16, ge=2, le=100, description="HNSW: links of a row; half of `index_ef_construction` at most.")
    index_memory_mb: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="MiB that PostgreSQL may take to build an HNSW index; more rows are slower.",
    )
    nice: int = Field(10, ge=0, le=19, description="How far ingestion steps back for a server on the same machine.")
    sync_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of a collection above which `--sync` deletes nothing without `--yes`; five documents always "
        "may go.",
    )


class GenerationSettings(_Group):
    """Generations of a collection: which are kept, and how servers follow them."""

    keep: int = Field(2, ge=0, le=100, description="Generations kept beside the one that answers, to go back to.")
    spare_seconds: float = Field(
        3600, ge=0, le=31_536_000, description="How long a generation that answered is kept in any case."
    )
    follow_seconds: float = Field(
        1, ge=0.05, le=60, description="How often a server looks for flips, besides being told of them."
    )


class GateSettings(_Group):
    """What a new generation must reach on golden questions to be activated (`--activate if-better`)."""

    k: int = Field(10, ge=1, le=100, description="Documents looked at for recall and MRR.")
    min_recall: float = Field(0.0, ge=0, le=1, description="Least recall@k of the new generation.")
    recall_loss: float = Field(0.01, ge=0, le=1, description="How much recall@k may fall.")
    mrr_loss: float = Field(0.02, ge=0, le=1, description="How much the mean reciprocal rank may fall.")


class WebSettings(_Group):
    """How pages are fetched from the web (`ingestion.web.limits` tells more)."""

    user_agent: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z_-]+[\x20-\x7e]*$",
        description="Sent with each request; robots.txt is asked for its first word. Unset: Footnote and its version.",
    )
    allowed_ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65_535)], ...], NoDecode, BeforeValidator(_split)] = (
        Field((80, 443), min_length=1, description="Ports that URLs may name, with commas between.")
    )
    allow_private: Annotated[
        tuple[Annotated[str, AfterValidator(_private_place)], ...], NoDecode, BeforeValidator(_split)
    ] = Field((), description="Networks and host names that may be reached though not public: 10.1.0.0/16,wiki.corp.")
    ca_file: Path | None = Field(None, description="Certificates of authorities that are trusted too, PEM.")
    robots: bool = Field(True, description="Ask robots.txt.")
    requests_per_second: float = Field(1, gt=0, le=1000, description="To one host; fractions are allowed.")
    longest_wait: float = Field(120, gt=0, le=86_400, description="Seconds that a request waits for its turn.")
    connect_timeout: float = Field(10, gt=0, le=600, description="Seconds to resolve a name and to connect.")
    read_timeout: float = Field(30, gt=0, le=3600, description="Seconds of silence after which a page has failed.")
    total_timeout: float = Field(120, gt=0, le=86_400, description="Seconds for one page, redirects included.")
    max_bytes: int = Field(52_428_800, ge=1, description="Largest page, also when unpacked.")
    max_feed_bytes: int = Field(10_485_760, ge=1, description="Largest feed or sitemap, also when unpacked.")
    max_entries: int = Field(1000, ge=1, le=1_000_000, description="Pages of a feed or a sitemap that are taken.")


class SourceSettings(_Group):
    """Scheduled sources (`python -m ingestion run sources.yaml`)."""

    retry_seconds: float = Field(
        60, gt=0, le=86_400, description="Wait after a source has failed; it doubles with each failure in a row."
    )
    retry_most_seconds: float = Field(3600, gt=0, le=604_800, description="Longest such wait.")


class JobSettings(_Group):
    """Work that is done in the background: uploads, URLs, upkeep."""

    worker: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether the server runs a worker in a process of its own; auto: with its own PostgreSQL only. "
        "Elsewhere: python -m ingestion worker.",
    )
    concurrency: int = Field(2, ge=1, le=64, description="Jobs that one worker does at once.")
    attempts: int = Field(5, ge=1, le=100, description="How often a job is tried, where a failure may pass.")
    retry_pause: float = Field(
        2, gt=0, le=3600, description="Seconds before the second try; they double with each further one."
    )
    longest_pause: float = Field(300, gt=0, le=86_400, description="Seconds between two tries at the most.")
    timeout: float = Field(3600, gt=0, le=604_800, description="Seconds that one try of a job may take.")
    stalled_after: float = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds without a sign of life after which another worker takes a running job up.",
    )
    poll_interval: float = Field(
        5,
        ge=0.1,
        le=300,
        description="Seconds between two looks for jobs that are due; new ones wake a worker at once.",
    )
    shutdown_timeout: float = Field(
        20,
        ge=0,
        le=3600,
        description="Seconds that running jobs have to end after SIGTERM, before they are given back.",
    )
    keep_days: float = Field(7, gt=0, le=3650, description="How long jobs that succeeded or were cancelled are kept.")
    keep_failed_days: float = Field(90, gt=0, le=3650, description="How long dead jobs are kept, to be repeated.")


class TelemetrySettings(_Group):
    """Traces and metrics (OpenTelemetry)."""

    enabled: bool = Field(True, description="false: no traces, no metrics, no trace ids.")
    endpoint: Annotated[str, AfterValidator(_otlp_endpoint)] | None = Field(
        None,
        description="Address of an OTLP receiver, http://localhost:4318; unset: nothing is sent. Also "
        "OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    protocol: Literal["http/protobuf", "grpc"] = Field(
        "http/protobuf", description="How the receiver is spoken to; also OTEL_EXPORTER_OTLP_PROTOCOL."
    )
    headers: Annotated[SecretStr, AfterValidator(_otlp_headers)] | None = Field(
        None, description="Sent to the receiver, name=value,name=value; also OTEL_EXPORTER_OTLP_HEADERS."
    )
    service_name: str = Field("footnote", min_length=1, description="Name of the service; also OTEL_SERVICE_NAME.")
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the traces that begin here and are sent; a caller's own decision counts."
    )
    content: Literal["none", "redacted", "full"] = Field(
        "none", description="What people wrote, in traces: not at all; without what looks personal or secret; all."
    )
    content_bytes: int = Field(
        4096, ge=64, le=16_384, description="Most of one text in a trace, where `content` lets it in."
    )
    queue_spans: int = Field(
        4096, ge=512, le=1_000_000, description="Finished spans that wait to be sent; more are dropped, and counted."
    )
    metrics_interval: float = Field(15, ge=1, le=3600, description="Seconds between two deliveries of metrics by OTLP.")


class LogSettings(_Group):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else JSON.")


class _FallbackNames(PydanticBaseSettingsSource):
    """The names that people already have set, where no ``FOOTNOTE_`` name says otherwise."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:  # noqa: ARG002 (pydantic's)
        return None, field_name, False

    def __call__(self) -> dict[str, dict[str, str]]:
        given = _environment()
        values: dict[str, dict[str, str]] = {}
        for name, (group, key) in FALLBACKS.items():
            if given.get(name):
                values.setdefault(group, {})[key] = given[name]
        return values


class _OldNames(PydanticBaseSettingsSource):
    """Values that are still set by a name of the last release."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:  # noqa: ARG002 (pydantic's)
        return None, field_name, False

    def __call__(self) -> dict[str, dict[str, str]]:
        given = _given()
        values: dict[str, dict[str, str]] = {}
        for old, new in OLD_NAMES.items():
            if new is not None and PREFIX + old in given:
                group, key = new.lower().split("__")
                values.setdefault(group, {}).setdefault(key, given[PREFIX + old])
        return values


class Settings(BaseSettings):
    """Footnote's settings: frozen, bounded, secrets hidden. `load_settings` reads them from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",  # the whole environment is shown to it; _refuse_unknown looks at ours
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(Path(".footnote"), description="Where the embedded PostgreSQL and exported models are kept.")
    server: ServerSettings = ServerSettings()
    streams: StreamSettings = StreamSettings()
    redis: RedisSettings = RedisSettings()
    chat: ChatSettings = ChatSettings()
    database: DatabaseSettings = DatabaseSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    llm: LLMSettings = LLMSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    rerank: RerankSettings = RerankSettings()
    cache: CacheSettings = CacheSettings()
    engines: EngineSettings = EngineSettings()
    ingestion: IngestionSettings = IngestionSettings()
    generations: GenerationSettings = GenerationSettings()
    gate: GateSettings = GateSettings()
    web: WebSettings = WebSettings()
    sources: SourceSettings = SourceSettings()
    jobs: JobSettings = JobSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's signature)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; see the module's docstring."""
        for source in (env_settings, dotenv_settings):
            assert isinstance(source, EnvSettingsSource)  # noqa: S101 (pydantic's signature says less)
            source.env_vars = {name: value for name, value in source.env_vars.items() if not _is_old(name)}
        return init_settings, env_settings, dotenv_settings, _OldNames(settings_cls), _FallbackNames(settings_cls)


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a name under ``FOOTNOTE_`` is unknown, or a value is invalid.

    """
    _refuse_unknown(_environment())
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        path = "__".join(str(part) for part in first["loc"] if isinstance(part, str))
        reason = first["msg"].removeprefix("Value error, ")
        others = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
        msg = f"{PREFIX}{path.upper()}: {reason}{others}; config/example.env lists every setting"
        raise SettingsError(msg) from None


def old_names_in_use() -> list[str]:
    """Return one sentence for each setting that has a name of the last release."""
    given = _given()
    sentences, taken = [], {name.removeprefix(PREFIX) for name in given}
    for old, new in OLD_NAMES.items():
        if PREFIX + old not in given:
            continue
        if new is None:
            sentences.append(f"{PREFIX}{old} has no effect any more; remove it")
        elif new in taken:
            sentences.append(f"{PREFIX}{old} is ignored, because {PREFIX}{new} is set too; remove the old name")
        else:
            sentences.append(
                f"{PREFIX}{old} is now called {PREFIX}{new}; the old name stops working with the next release"
            )
            taken.add(new)
    return sentences


def trace_parent() -> dict[str, str]:
    """Return the trace of who started this process, as W3C headers; empty where nobody says.

    It is read from ``TRACEPARENT`` and ``TRACESTATE``: https://opentelemetry.io/docs/specs/otel/context/env-carriers/.
    """
    return {name.lower(): os.environ[name] for name in ("TRACEPARENT", "TRACESTATE") if name in os.environ}


def _environment() -> dict[str, str]:
    """Return the names that are set, those of the process before those of the ``.env`` file; empty is not set."""
    from_file = {name: value for name, value in dotenv_values(ENV_FILE).items() if value is not None}
    return from_file | {name: value for name, value in os.environ.items() if value or name not in from_file}


def _given() -> dict[str, str]:
    """Return what is set under our prefix, by upper-case name."""
    return {name.upper(): value for name, value in _environment().items() if value and name.upper().startswith(PREFIX)}


def _is_old(name: str) -> bool:
    return name.upper().removeprefix(PREFIX) in OLD_NAMES


def _refuse_unknown(given: Mapping[str, str]) -> None:
    known = {name for name, *_ in setting_keys()}
    for name in sorted(given):
        if name.upper().startswith(PREFIX) and name.upper() not in known and not _is_old(name):
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else "; config/example.env lists every setting"
            msg = f"{name}: no such setting{hint}"
            raise SettingsError(msg)


def setting_keys() -> Iterator[tuple[str, tuple[str, ...], str, object]]:
    """Yield (environment name, path in `Settings`, description, default) of every setting."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, _Group):
            for inner, leaf in type(field.default).model_fields.items():
                yield f"{PREFIX}{name}__{inner}".upper(), (name, inner), leaf.description or "", leaf.default
        else:
            yield f"{PREFIX}{name}".upper(), (name,), field.description or "", field.default
