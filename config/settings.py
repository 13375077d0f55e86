"""Every setting of Footnote, with its bounds, default and description; `config.environment` reads them.

The first of these that has a value wins: an environment variable with the prefix ``FOOTNOTE_`` (groups joined by
``__``), the file ``.env`` in the working directory, a name of the last release (`OLD_NAMES`) in either, a name that
other programs use too (`FALLBACKS`), the default here. ``config/example.env`` lists every setting.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as NotParsed

from config.environment import ENV_FILE, PREFIX, FallbackNames, OldNames, environment, given_settings, is_old_name
from config.secret_files import FILE, read_secret, with_secrets_of_files

_HOST_NAME = re.compile(r"(?=[^/]*[a-z])[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_BOOTSTRAP_KEY = re.compile(r"[\x21-\x7e]{32,512}")
_LEAST_SECRET_BYTES = 32
DEFAULT_MODEL = "default"
"""The name of the model of a single group among the named ones."""

_OTLP_HEADER = re.compile(r"[A-Za-z0-9_.-]+\s*=\s*[\x20-\x7e]*")


class SettingsError(ValueError):
    """A setting is unknown or invalid; the message is one line that names it and says what to change."""


def _database_url(value: SecretStr) -> SecretStr:
    scheme = value.get_secret_value().partition("://")[0]
    if scheme.split("+")[0] not in {"postgres", "postgresql"}:
        msg = "must start with postgresql://"
        raise ValueError(msg)
    if not _is_readable(value.get_secret_value()):
        msg = "has a host or a port that cannot be read; @ / ? # % in a password are written as %40 %2F %3F %23 %25"
        raise ValueError(msg)
    return value


def _is_readable(url: str) -> bool:
    """Tell whether a database's URL has the parts that it seems to have, whatever is in its password."""
    try:
        parts = urlsplit(url)
        who, _, hosts = parts.netloc.rpartition("@")
        for host in hosts.split(","):
            _ = urlsplit(f"//{host}").port
        _ = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return False
    return "@" not in who + parts.path and not parts.fragment


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


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        msg = "each entry is an address, or a network without bits of a host: 10.0.0.0/8"
        raise ValueError(msg) from None


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _object(value: object) -> object:
    """Take an object as JSON; a wrong one is told of like any other wrong value."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            msg = "is no valid JSON"
            raise ValueError(msg) from None
    if not isinstance(value, Mapping):
        msg = "must be a JSON object: {…}"
        raise ValueError(msg)  # noqa: TRY004 (pydantic lets a TypeError through)
    return value


def _listed(value: object) -> object:
    """Take a list as JSON or with commas between."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            msg = "is no JSON list"
            raise ValueError(msg) from None
    return tuple(value) if isinstance(value, list) else _split(value)


_FORMER = {"true": "sections", "1": "sections", "yes": "sections", "on": "sections"} | dict.fromkeys(
    ("false", "0", "off"), "no"
)


def _attachments(value: object) -> object:
    """Take the values of before, when it was a switch, for what they meant."""
    return _FORMER.get(str(value).strip().lower(), value)


def _service_url(value: str) -> str:
    try:
        return _otlp_endpoint(value)
    except ValueError:
        msg = "must be http://host:port or https://host:port and a path; a key goes into API_KEY"
        raise ValueError(msg) from None


def _own_host(value: str) -> str:
    try:
        return value if value == "*" else str(ip_address(value.removeprefix("[").removesuffix("]")))
    except ValueError:
        if _HOST_NAME.fullmatch(value.lower().removesuffix(".")):
            return value.lower().removesuffix(".")
    msg = "each entry is * or a host name or address, without scheme and port: footnote.example"
    raise ValueError(msg)


def _origin(value: str) -> str:
    scheme, _, host = value.partition("://")
    if value != "*" and (not _SCHEME.fullmatch(scheme) or not host or "/" in host):
        msg = "an origin is * or a scheme and a host, without a path: https://app.example"
        raise ValueError(msg)
    return value


def _bootstrap_key(value: SecretStr) -> SecretStr:
    if not _BOOTSTRAP_KEY.fullmatch(value.get_secret_value()):
        msg = "must be 32 to 512 printable ASCII characters without spaces; openssl rand -hex 32 makes one"
        raise ValueError(msg)
    return value


def _jwt_secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().encode()) < _LEAST_SECRET_BYTES:
        msg = f"must be at least {_LEAST_SECRET_BYTES} bytes long"
        raise ValueError(msg)
    return value


def _web_address(value: str) -> str:
    """Return an http or https URL without query, fragment and password."""
    try:
        parts = urlsplit(value)
        is_plain = bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        is_plain = False
    if not is_plain or parts.scheme not in {"http", "https"} or parts.username or not value.isascii() or " " in value:
        msg = "must be https://host or https://host:port, with a path if it has one"
        raise ValueError(msg)
    return value


def _file(value: Path) -> Path:
    """Return the path of a file that is there."""
    if not value.is_file():
        msg = f"{value} is a folder, not a file" if value.is_dir() else f"there is no file {value}"
        raise ValueError(msg)
    return value


File = Annotated[Path, AfterValidator(_file)]


def _folder(value: Path) -> Path:
    """Return the path of a folder that is there, or may be made."""
    path = value.expanduser().absolute()
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not os.path.isdir(there):  # noqa: PTH112 (pathlib's raises an error where we may not look)
        msg = f"{there} is no folder; name a folder, which is made where it is missing"
        raise ValueError(msg)
    return value


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _secrets_of_files(cls, given: object) -> object:
        """Read each secret that ``<name>_file`` names a file for."""
        return with_secrets_of_files(given, secrets_of(cls)) if isinstance(given, Mapping) else given


def secrets_of(group: type[BaseModel]) -> list[str]:
    """Return the names of a group's secrets, each of which may be in a file that ``<name>_file`` names."""
    fields = group.model_fields
    return [name for name in fields if _is_secret(fields[name].annotation)]


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


class ServerSettings(_Group):
    """The HTTP server: its address and its limits."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Number of processes that serve HTTP; unset: one a core, at most 4, fewer where memory is short.",
    )
    page: bool = Field(True, description="Serve the page for browsers at `/`; false: JSON alone.")
    cors_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)] = (
        Field(
            (),
            description="Origins of web pages that may call the server besides its own, comma-separated: "
            "https://app.example,http://localhost:3000.",
        )
    )
    allowed_hosts: Annotated[
        tuple[Annotated[str, AfterValidator(_own_host)], ...], NoDecode, BeforeValidator(_split)
    ] = Field(
        (),
        description="Names in `Host` that the server answers to besides localhost and its own addresses, "
        "comma-separated: footnote.example; *: any. Unset: none where it listens on loopback only, elsewhere any.",
    )
    trusted_proxies: Annotated[
        tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(_split)
    ] = Field(
        (),
        description="Addresses and networks of proxies, comma-separated, whose `X-Forwarded-For` is believed: "
        "10.0.0.0/8,::1. Unset: nobody's, so that all clients behind a proxy have its address.",
    )
    max_body_bytes: int = Field(
        1_048_576, ge=1024, le=1_073_741_824, description="Maximum size of a JSON request body, in bytes."
    )
    max_uploads: int = Field(
        16,
        ge=1,
        le=10_000,
        description="Maximum number of concurrent uploads of each HTTP worker; further ones get 503 `overloaded`.",
    )
    upload_timeout: float = Field(
        1800, gt=0, le=86_400, description="Maximum duration of an upload request in seconds, processing included."
    )
    upload_idle_timeout: float = Field(30, gt=0, le=3600, description="Idle seconds after which an upload is aborted.")
    max_watchers: int = Field(
        200,
        ge=1,
        le=100_000,
        description="Maximum number of concurrent `/jobs/{id}/events` streams of each HTTP worker; further ones get "
        "503.",
    )
    request_timeout: float = Field(
        120, gt=0, le=3600, description="Maximum duration of a request in seconds; streams have their own limit."
    )
    max_concurrency: int = Field(
        512,
        ge=1,
        le=100_000,
        description="Maximum number of concurrent requests, and of answers being streamed, of each HTTP worker; "
        "further ones get 503 `overloaded`.",
    )
    max_wait: float = Field(
        10,
        gt=0,
        le=3600,
        description="Seconds that a question may be expected to wait for its turn to be searched; where it is more, "
        "it gets 503 `overloaded` at once.",
    )
    drain_delay: float = Field(
        0,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM for which requests are still answered while /ready is 503, so that load "
        "balancers that ask it notice before the port is closed.",
    )
    shutdown_timeout: float = Field(
        20, ge=0, le=3600, description="Seconds that running requests have to finish when the port is closed."
    )
    hang_timeout: float = Field(
        60,
        ge=0,
        le=86_400,
        description="Seconds after which an HTTP worker whose event loop stands still is replaced; 0: never.",
    )
    idempotency_hours: float = Field(
        24, gt=0, le=8760, description="Hours during which a repeated `Idempotency-Key` gets the stored answer."
    )
    ping_interval: float = Field(
        15,
        gt=0,
        le=300,
        description="Seconds without an event after which a stream sends a comment, so that proxies keep it open.",
    )


SignedAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
SharedAlgorithm = Literal["HS256", "HS384", "HS512"]


class AuthSettings(_Group):
    """Who may use the server: API keys, and tokens of an identity provider (JWT)."""

    mode: Literal["off", "required"] | None = Field(
        None,
        description="off: everybody who reaches the server may do everything; required: a key or a token is needed. "
        "Unset: off on a loopback address; on any other the server does not start.",
    )
    bootstrap_key: Annotated[SecretStr, AfterValidator(_bootstrap_key)] | None = Field(
        None, description="A key that may do everything, to make the first ones with: 32 characters or more."
    )
    key_grace: float = Field(
        300,
        ge=0,
        le=86_400,
        description="Seconds that API keys which were used before go on working while the database is away.",
    )
    failed_logins: int = Field(
        30,
        ge=1,
        le=1_000_000,
        description="Wrong keys and tokens a minute from one address, in each HTTP worker, beyond which further ones "
        "get 429 `rate-limited`; right ones are let through.",
    )
    public_url: Annotated[str, AfterValidator(_web_address)] | None = Field(
        None,
        description="URL by which clients reach the server, https://footnote.example, for MCP clients that look for "
        "the identity provider; unset: as the request names it.",
    )
    jwt_issuer: Annotated[str, AfterValidator(_web_address)] | None = Field(
        None, description="Issuer (`iss`) whose tokens are accepted, https://login.example/realm; unset: no tokens."
    )
    jwt_audience: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="Audiences (`aud`), one of which a token must be for, comma-separated; needed with an issuer."
    )
    jwt_jwks_url: Annotated[str, AfterValidator(_web_address)] | None = Field(
        None, description="URL of the issuer's keys; unset: the one that its OpenID configuration names."
    )
    jwt_jwks_file: File | None = Field(None, description="A file with the issuer's keys (JWKS); nothing is fetched.")
    jwt_secret: Annotated[SecretStr, AfterValidator(_jwt_secret)] | None = Field(
        None,
        description="Secret of an issuer that signs with HS256, HS384 or HS512, instead of keys: 32 bytes or more.",
    )
    jwt_algorithms: Annotated[tuple[SignedAlgorithm | SharedAlgorithm, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Algorithms that a token may be signed with, comma-separated; unset: RS, PS and ES with 256 to "
        "512, and EdDSA; with a secret HS256 to HS512.",
    )
    jwt_leeway: float = Field(30, ge=0, le=300, description="Seconds that clocks may differ.")
    jwt_subject_claim: str = Field(
        "sub", min_length=1, description="Claim with the subject; a dotted path names one inside another."
    )
    jwt_tenant_claim: str | None = Field(
        None,
        min_length=1,
        description="Claim with the tenant, which a token must then have; unset: all are of `public`.",
    )
    jwt_groups_claim: str = Field("groups", min_length=1, description="Claim with the groups, a list.")
    jwt_scopes_claim: str = Field(
        "scope",
        min_length=1,
        description="Claim with the scopes, a list or a text with spaces between; others' are ignored.",
    )
    jwt_default_scopes: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="Scopes that every token has besides its own, comma-separated: query,documents:read."
    )
    jwt_allow_private: Annotated[
        tuple[Annotated[str, AfterValidator(_private_place)], ...], NoDecode, BeforeValidator(_split)
    ] = Field(
        (), description="Networks and host names that keys may be fetched from though not public, comma-separated."
    )
    login_client_id: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="Client id by which people sign in to the page with the issuer (OIDC's code flow with PKCE). "
        "Unset: they paste an API key.",
    )
    login_client_secret: SecretStr | None = Field(
        None, description="That client's secret; unset: it is a public client, and PKCE alone proves it."
    )
    login_scope: str = Field("openid", min_length=6, description="Scopes to ask the issuer for, with spaces between.")
    jwt_fetch_timeout: float = Field(5, gt=0, le=60, description="Maximum duration of fetching keys in seconds.")
    jwt_refresh: float = Field(3600, ge=10, le=604_800, description="Seconds after which keys are fetched again.")
    jwt_cooldown: float = Field(
        30, ge=1, le=3600, description="Seconds after fetching keys during which an unknown key id fetches none."
    )

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms that tokens may be signed with."""
        return frozenset(self.jwt_algorithms or get_args(SharedAlgorithm if self.jwt_secret else SignedAlgorithm))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if reason := self._misfit():
            raise ValueError(reason)
        return self

    def _misfit(self) -> str | None:
        keys = [self.jwt_jwks_url, self.jwt_jwks_file, self.jwt_secret]
        if self.login_client_id is not None and (self.jwt_issuer is None or self.jwt_secret is not None):
            return "signing in needs JWT_ISSUER, and its keys: LOGIN_CLIENT_ID does not go with JWT_SECRET"
        if self.jwt_issuer is None:
            named = any(keys) or self.jwt_audience or self.jwt_algorithms
            return "tokens need JWT_ISSUER, the issuer that they must be from" if named else None
        if not self.jwt_audience:
            return "tokens need JWT_AUDIENCE, the audience that they must be for: otherwise those made for others pass"
        if sum(key is not None for key in keys) > 1:
            return "set one of JWT_JWKS_URL, JWT_JWKS_FILE and JWT_SECRET"
        fitting = get_args(SharedAlgorithm if self.jwt_secret else SignedAlgorithm)
        if not self.algorithms.issubset(fitting):
            needed = "the RS, PS, ES and EdDSA ones need keys" if self.jwt_secret else "the HS ones need JWT_SECRET"
            return f"JWT_ALGORITHMS and what they are checked with do not go together: {needed}"
        return None


class StreamSettings(_Group):
    """Streaming of answers, and resuming after a dropped connection."""

    grace: float = Field(
        20,
        ge=0,
        le=3600,
        description="Seconds that an answer is continued after its client disconnected; 0: it is cancelled at once.",
    )
    max_unread: int = Field(
        64,
        ge=0,
        le=100_000,
        description="Maximum number of answers of each HTTP worker that are continued after their clients "
        "disconnected; beyond it the one that was left first is cancelled.",
    )
    keep: float = Field(300, ge=0, le=86_400, description="Seconds that a finished stream can still be resumed.")
    total_timeout: float = Field(600, gt=0, le=86_400, description="Maximum duration of a stream in seconds.")
    write_timeout: float = Field(
        60,
        gt=0,
        le=3600,
        description="Seconds without the client reading what waits for it after which its connection is closed, "
        "whatever is sent to it; reading buys time at 16 KiB a second.",
    )
    kept_bytes: int = Field(
        67_108_864,
        ge=65_536,
        description="Maximum memory for finished streams in bytes; the oldest are dropped first.",
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
        2000,
        ge=0,
        le=10_000_000,
        description="Maximum number of tokens of earlier turns in a prompt; the oldest turns are dropped first.",
    )
    summary: bool = Field(False, description="true: the model keeps a summary of the turns that are dropped.")
    lease_seconds: float = Field(
        30,
        ge=2,
        le=3600,
        description="Seconds that a conversation stays locked after the server that was answering in it has died.",
    )


class DatabaseSettings(_Group):
    """The PostgreSQL server and the connection pool."""

    url: Annotated[SecretStr, AfterValidator(_database_url)] | None = Field(
        None,
        description="postgresql://user:password@host:5432/name, with pgvector installed; unset: Footnote runs its own "
        "PostgreSQL. Also DATABASE_URL.",
    )
    direct_url: Annotated[SecretStr, AfterValidator(_database_url)] | None = Field(
        None,
        description="Of the same database past a pooler, for LISTEN, session locks, index builds and upgrades; unset: "
        "`URL`. A pooler in transaction mode makes it necessary.",
    )
    password_file: File | None = Field(
        None,
        description="File with the password, instead of one in the URL. It is read for each new connection, so that a "
        "password can be changed without a restart.",
    )
    pooler: Literal["auto", "none", "session", "transaction"] = Field(
        "auto",
        description="What `URL` leads to: PostgreSQL itself (none), or PgBouncer and its like in one of these modes; "
        "auto finds out at the start.",
    )
    pool_min: int = Field(2, ge=0, le=1000, description="Minimum number of open connections.")
    pool_max: int = Field(12, ge=1, le=1000, description="Maximum number of open connections.")
    acquire_timeout: float = Field(
        10,
        gt=0,
        le=600,
        description="Seconds in which no connection becomes free, after which those waiting for one get 503.",
    )
    connect_timeout: float = Field(30, gt=0, le=600, description="Seconds to wait for the database at startup.")
    statement_timeout: float = Field(30, gt=0, le=3600, description="Maximum duration of a statement in seconds.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.direct_url is not None and self.url is None:
            msg = "DIRECT_URL needs URL beside it"
            raise ValueError(msg)
        if "pool_min" in self.model_fields_set and self.pool_min > self.pool_max:
            msg = f"POOL_MIN ({self.pool_min}) is more than POOL_MAX ({self.pool_max}); lower one or raise the other"
            raise ValueError(msg)
        if self.password_file is not None:
            read_secret(self.password_file, "PASSWORD_FILE")
            if self.url is not None and urlsplit(self.url.get_secret_value()).password:
                msg = "set PASSWORD_FILE or a password in URL, not both"
                raise ValueError(msg)
        return self


class EmbeddingSettings(_Group):
    """The embedding model."""

    model_config = ConfigDict(populate_by_name=True)

    provider: Literal["local", "openai", "openai_like", "ollama"] = Field(
        "local",
        description="Who runs the model: this process, OpenAI, a server that speaks OpenAI's protocol (TEI, vLLM, LM "
        "Studio, llama-server --embeddings), or Ollama.",
    )
    class_: str | None = Field(
        None,
        alias="class",
        min_length=1,
        max_length=500,
        description="Instead of a provider: a LlamaIndex `BaseEmbedding`, package.module.Class, or the name of one "
        "that an installed package offers (entry points footnote.embeddings).",
    )
    arguments: Mapping[str, Any] = Field(
        {}, description="Arguments of the class, as JSON; ${NAME} in a text stands for an environment variable."
    )
    model: str = Field(
        "all-MiniLM-L6-v2",
        min_length=1,
        description="local: a directory, or a name on the Hugging Face hub; the default is installed with Footnote. "
        "Otherwise the name by which the provider knows the model; it has to be set.",
    )
    api_key: SecretStr | None = Field(None, description="API key of the provider, if it wants one.")
    base_url: Annotated[str, AfterValidator(_service_url)] | None = Field(
        None,
        description="URL of the provider: http://host:port/v1 for openai_like; unset: OpenAI's, or Ollama's on this "
        "machine.",
    )
    dimensions: int | None = Field(
        None,
        ge=1,
        le=16_000,
        description="Dimensions of the vectors: asked for where the provider can be asked, checked on each answer. "
        "Unset: those that the model gives. With it a server starts although its provider is down.",
    )
    max_tokens: int | None = Field(
        None,
        ge=16,
        le=1_000_000,
        description="Tokens of one text that a remote model reads; unset: 512. Chunks are no longer.",
    )
    tokenizer: File | None = Field(
        None,
        description="A remote model's tokenizer.json, by which chunks are measured; unset: an estimate by script that "
        "is seldom too low.",
    )
    batch_tokens: int = Field(
        16_384, ge=16, le=10_000_000, description="Maximum number of tokens in one request to a remote model."
    )
    concurrency: int = Field(
        4,
        ge=1,
        le=256,
        description="Maximum number of requests to a remote model at once, of each process, fewer while it is slow; "
        "threads of a class.",
    )
    processes: int = Field(
        0,
        ge=0,
        le=64,
        description="Of a class: processes of its own that it runs in, each for one call at a time, which are killed "
        "when a call does not return; 0: it runs in threads of this process.",
    )
    requests_per_minute: int | None = Field(
        None, ge=1, le=1_000_000, description="Maximum rate of requests to a remote model, of each process."
    )
    timeout: float = Field(
        60, gt=0, le=3600, description="Seconds to wait for a remote model's answer to a request with passages."
    )
    question_timeout: float = Field(
        10, gt=0, le=600, description="Seconds in which a question is embedded remotely, retries included."
    )
    max_retries: int = Field(
        6, ge=0, le=100, description="Retries of a request with passages, where the failure may pass (429, 5xx, cuts)."
    )
    revision: str | None = Field(None, description="Commit or tag of a hub model; unset: the newest.")
    exports: Path | None = Field(
        None,
        description="Folder of ready-made exports, read-only (python -m embedding export FOLDER); rerankers' too.",
    )
    backend: Literal["auto", "onnx", "torch", "openvino"] = Field(
        "auto", description="Inference backend; auto: ONNX if the model can be exported, else torch."
    )
    quantization: Literal["auto", "none", "int8"] = Field(
        "auto",
        description="int8 halves the time of a question and is slightly less accurate (ONNX only). auto: int8 for new "
        "generations of the default model, whose accuracy was measured, and whatever an old one was built with.",
    )
    device: str = Field("cpu", description="Device of the torch backend: cpu, cuda or mps.")
    normalize: bool = Field(True, description="Scale vectors to length one; a remote model's always are.")
    batch_size: int = Field(32, ge=1, le=4096, description="Maximum number of texts in one model call, or request.")
    threads: int | None = Field(None, ge=1, le=1024, description="Threads of one model call; unset: one per core.")
    query_instruction: str | None = Field(
        None, description="Prefix of each question; some models need one, E5 and BGE among them."
    )
    text_instruction: str | None = Field(None, description="Prefix of each passage.")

    @property
    def is_remote(self) -> bool:
        """Whether the model is reached through a provider, or a class, rather than by its files."""
        return self.class_ is not None or self.provider != "local"

    @model_validator(mode="after")
    def _quantized_only_with_onnx(self) -> Self:
        if self.quantization == "int8" and self.backend not in {"auto", "onnx"}:
            msg = f"int8 is run with ONNX only, and backend is {self.backend}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _one_way_to_a_model(self) -> Self:
        problem = self._contradiction()
        if problem is not None:
            raise ValueError(problem)
        return self

    def _contradiction(self) -> str | None:
        if self.class_ is not None and "provider" in self.model_fields_set:
            return "set CLASS or PROVIDER, not both"
        if self.arguments and self.class_ is None:
            return "ARGUMENTS are those of a CLASS, which is not set"
        if self.provider != "local" and "model" not in self.model_fields_set:
            return f"provider {self.provider} needs MODEL, the name by which it knows the model"
        if self.provider == "openai_like" and self.base_url is None:
            return "provider openai_like needs BASE_URL, http://host:port/v1"
        if self.is_remote and not self.normalize:
            return "vectors of a remote model are always scaled to length one; leave NORMALIZE out"
        return None


ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]


def _without_default(named: Mapping[str, EmbeddingSettings]) -> Mapping[str, EmbeddingSettings]:
    if DEFAULT_MODEL in named:
        msg = f"the model {DEFAULT_MODEL!r} is the group EMBEDDING"
        raise ValueError(msg)
    return named


class Price(_Group):
    """What a model costs, in US dollars per million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)


FallbackKind = Literal["unavailable", "rate_limited", "failed", "timeout", "rejected", "filtered", "budget"]
CLASS_PROVIDERS = ("anthropic", "azure", "bedrock", "gemini", "vertex")
"""Providers that are a class of LlamaIndex's integrations."""


class LLMSettings(_Group):
    """The language model that writes the answers."""

    model_config = ConfigDict(populate_by_name=True)

    provider: Literal[
        "auto",
        "openai",
        "openai_like",
        "vllm",
        "ollama",
        "anthropic",
        "azure",
        "bedrock",
        "gemini",
        "vertex",
        "local",
        "extractive",
    ] = Field(
        "auto",
        description="auto: OpenAI if a key is set, else Ollama if it is reachable, else extractive (passages are "
        "quoted, no model is called). local: a small model on this machine; what no passage has of it is not shown. "
        "The others: docs/models/README.md.",
    )
    class_path: str | None = Field(
        None,
        alias="class",
        min_length=1,
        description="Instead of a provider: a LlamaIndex LLM, package.module.Class, or the name of one that an "
        "installed package offers as footnote.llms (docs/models/any-llamaindex-llm.md).",
    )
    arguments: Annotated[Mapping[str, Any], NoDecode, BeforeValidator(_object)] = Field(
        {},
        repr=False,
        description="What that class, or the provider's, is made with, as JSON; ${NAME} in a text is the environment "
        "variable NAME.",
    )
    threads: int = Field(
        16, ge=1, le=256, description="Calls at a time of a class whose methods are not async; each takes a thread."
    )
    processes: int = Field(
        0,
        ge=0,
        le=64,
        description="Of a class: processes of its own that it runs in, each for one call at a time, which are killed "
        "when a call does not return; 0: it runs in this process.",
    )
    in_threads: bool = Field(
        False, description="true: call the class's sync methods, in threads, though it has async ones: they block."
    )
    model: str | None = Field(None, description="Name of the model; unset: the provider's default.")
    api_key: SecretStr | None = Field(
        None, description="API key of the provider; for openai and openai_like also OPENAI_API_KEY."
    )
    base_url: str | None = Field(
        None, description="URL of the provider's server; for openai and openai_like also OPENAI_BASE_URL."
    )
    ollama_base_url: str = Field("http://127.0.0.1:11434", description="URL of Ollama; also OLLAMA_BASE_URL.")
    is_chat_model: bool = Field(
        True, description="openai_like: false for a base model, which is called through /v1/completions."
    )
    context_window: int = Field(
        8192, ge=256, le=10_000_000, description="Context window of the model in tokens, prompt and answer together."
    )
    max_tokens: int = Field(
        512, ge=1, le=1_000_000, description="Maximum length of an answer in tokens, if the request sets none."
    )
    temperature: float = Field(0.1, ge=0, le=2, description="Sampling temperature, if the request sets none.")
    prompt: str = Field(
        "turns",
        min_length=1,
        description="How passages and a question are laid out for a chat model: turns (with two examples), rules "
        "(without), or a TOML file of your own (docs/prompts.md).",
    )
    tokenizer: File | None = Field(
        None,
        description="The model's tokenizer.json, by which prompts are counted to fit its window; unset: an estimate by "
        "script that is seldom too low.",
    )
    constrained: bool = Field(
        False,
        description="true: a chat model writes JSON in which each sentence names its passages, which small models need "
        "to cite at all; for servers that take a JSON schema (OpenAI, llama.cpp, vLLM, Ollama).",
    )
    quote_uncited: bool = Field(
        True,
        description="Behind an answer in which the model cited nothing, and whose words no passage has, quote what the "
        "passages say.",
    )
    reasoning: Literal["hide", "show"] = Field(
        "hide",
        description="show: streams have events `reasoning` with what the model thinks; it is never part of an answer.",
    )
    connect_timeout: float = Field(
        5, gt=0, le=600, description="Seconds to wait for a connection to the model's server."
    )
    token_timeout: float = Field(
        30, gt=0, le=3600, description="Seconds to wait for the first token, and for each next."
    )
    total_timeout: float = Field(120, gt=0, le=3600, description="Maximum duration of an answer in seconds.")
    always_stream: bool = Field(
        False,
        description="Stream from the model's server even where a client gets the answer whole: token_timeout holds "
        "then too, and a proxy in between sees no silence. It costs CPU.",
    )
    local_timeout: float = Field(
        10,
        gt=0,
        le=600,
        description="Seconds that the local model has for its first sentence; then passages are quoted.",
    )
    max_retries: int = Field(2, ge=0, le=10, description="Retries of a call that failed before its first token.")
    breaker_failures: int = Field(
        5, ge=0, le=1000, description="Consecutive failed calls that open the circuit breaker; 0: it never opens."
    )
    breaker_seconds: float = Field(
        10, gt=0, le=3600, description="Seconds that an open circuit breaker refuses calls before it lets one try."
    )
    prices: Annotated[Mapping[str, Price], NoDecode, BeforeValidator(_object)] = Field(
        {},
        description="US dollars per million tokens, by model, embedding models among them, as JSON: "
        '{"gpt-4.1-mini": {"input": 0.4, "output": 1.6}}; answers of other models have no `cost_usd`.',
    )
    local_model: Path | None = Field(
        None, description="provider local: a GGUF file for llama-server; unset: the small Gemma that can be installed."
    )
    fallback: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        (),
        description="Names of FOOTNOTE_LLMS that are asked in this order where the model fails before its first word, "
        "comma-separated or as JSON (docs/models/fallback.md).",
    )
    fallback_on: Annotated[tuple[FallbackKind, ...], NoDecode, BeforeValidator(_listed)] = Field(
        ("unavailable", "rate_limited", "failed", "timeout", "rejected", "budget"),
        description="Failures after which the next one is asked; besides these: filtered, the provider's content "
        "filter stopped the answer.",
    )
    hedge_after: float | None = Field(
        None,
        gt=0,
        le=600,
        description="Seconds without a word after which the next one is asked as well, and the first to write is read; "
        "unset: it is asked only after a failure.",
    )
    residency: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Where the model's data stays, a word of your own (eu, on-premises): what falls back must have "
        "the same.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.class_path and "provider" in self.model_fields_set:
            msg = "set PROVIDER or CLASS, not both"
            raise ValueError(msg)
        if self.arguments and not (self.class_path or self.provider in CLASS_PROVIDERS):
            msg = f"ARGUMENTS are for CLASS and the providers {', '.join(CLASS_PROVIDERS)}"
            raise ValueError(msg)
        if len(set(self.fallback)) < len(self.fallback):
            msg = "FALLBACK names a model twice"
            raise ValueError(msg)
        return self


class RetrievalSettings(_Group):
    """Retrieval of passages."""

    rrf_k: int = Field(
        5, ge=1, le=10_000, description="Constant of reciprocal rank fusion: a chunk scores weight / (rrf_k + rank)."
    )
    dense_weight: float = Field(1.0, ge=0, le=100, description="Weight of the dense leg's ranking in the fusion.")
    lexical_weight: float = Field(1.0, ge=0, le=100, description="Weight of the lexical leg's ranking in the fusion.")
    combined_weight: float = Field(
        4.0,
        ge=0,
        le=100,
        description="Weight in the fusion of a third ranking, by the weighted mean of both legs' scores; 0: unused.",
    )
    combined_dense_share: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Weight of the dense leg in that mean, see docs/retrieval.md.",
    )
    min_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Minimum cosine similarity of a passage, if the request sets none; 0: no minimum. Unset: what was "
        "measured for the collection's model (docs/models/embeddings.md), and none for a model that was not measured.",
    )
    refuse: float = Field(
        0.05,
        ge=0,
        le=0.3,
        description="Share of the questions which the documents answer that may be refused wrongly, so that those are "
        "refused which they do not; 0: none is refused unless nothing is found.",
    )
    max_per_document: int | None = Field(
        None, ge=1, le=100, description="Maximum number of passages from one document; unset: no maximum."
    )
    near_duplicates: Literal["drop", "keep"] = Field(
        "drop", description="drop: passages that repeat a higher-ranked one make way for the next."
    )
    join_neighbours: bool = Field(False, description="true: consecutive chunks of a document become one passage.")
    ef_search: int = Field(
        400, ge=1, le=1000, description="HNSW: size of the candidate list; higher is slower and finds more."
    )


class RerankSettings(_Group):
    """Reranking of the passages that were found (docs/reranking.md)."""

    provider: Literal["none", "local", "cohere", "jina", "llm"] = Field(
        "none",
        description="local: a cross-encoder; cohere, jina: an endpoint with that API; llm: the model that answers.",
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="local: a directory or a hub name; cohere, jina: name of the model, unset: a common one.",
    )
    revision: str | None = Field(None, description="local: commit or tag of a hub model; unset: the newest.")
    url: str | None = Field(
        None,
        description="cohere, jina: URL of the endpoint, including /v2/rerank or /v1/rerank; unset: the provider's own.",
    )
    api_key: SecretStr | None = Field(None, description="cohere, jina: API key.")
    always: bool = Field(True, description="true: rerank unless the request says no; false: only if it says yes.")
    candidates: int = Field(
        30, ge=1, le=1000, description="Number of passages to rerank; at least as many as the request's `k`."
    )
    timeout: float = Field(
        2, gt=0, le=60, description="Maximum duration in seconds; after it, passages keep their original order."
    )
    backend: Literal["auto", "onnx", "torch"] = Field(
        "auto", description="local: inference backend; auto: ONNX if the model can be exported, else torch."
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="local: number of concurrent model calls; unset: one per core."
    )
    breaker_failures: int = Field(
        3, ge=0, le=1000, description="Consecutive failures that open the circuit breaker; 0: it never opens."
    )
    breaker_seconds: float = Field(
        10, gt=0, le=3600, description="Seconds that an open circuit breaker skips reranking before it lets one try."
    )


class CacheSettings(_Group):
    """Caches of question vectors and answers (docs/caching.md)."""

    embedding_bytes: int = Field(
        33_554_432, ge=0, description="Maximum memory for question vectors in bytes; 0: they are not cached."
    )
    answers: bool = Field(
        False, description="true: a repeated question gets the cached answer until something in the collection changes."
    )
    answer_bytes: int = Field(67_108_864, ge=65_536, description="Maximum memory for cached answers in bytes.")
    answer_ttl: float = Field(600, gt=0, le=604_800, description="Seconds that an answer stays cached.")


class EngineSettings(_Group):
    """Limits of the query engines (docs/engines/)."""

    call_timeout: float = Field(
        30,
        gt=0,
        le=600,
        description="Maximum duration in seconds of an auxiliary model call, one that does not write the answer.",
    )
    parallel_calls: int = Field(
        4, ge=1, le=64, description="Maximum number of concurrent auxiliary calls or searches per question."
    )
    fusion_queries: int = Field(
        3, ge=0, le=8, description="fusion: number of paraphrases of the question that the model is asked for."
    )
    window_chunks: int = Field(1, ge=0, le=20, description="window: number of chunks added on either side of a hit.")
    merging_ratio: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="auto_merging: fraction of a section's chunks above which the whole section is returned.",
    )
    merging_characters: int = Field(
        6000, ge=100, le=1_000_000, description="auto_merging: maximum length of such a section in characters."
    )
    sub_questions: int = Field(
        4, ge=2, le=4, description="sub_question: maximum number of questions that a question is split into."
    )
    router_collections: int = Field(
        16,
        ge=1,
        le=100,
        description="router: number of collections to choose from: the requested one, then others by name.",
    )
    summary_documents: int = Field(
        3, ge=1, le=100, description="summary: number of documents to read, if the request names none."
    )
    summary_calls: int = Field(
        8,
        ge=1,
        le=100,
        description="summary: maximum number of model calls for reading; as many again may merge the notes.",
    )
    summary_tokens: int = Field(
        60_000, ge=1000, le=10_000_000, description="summary: maximum number of tokens to read, estimated."
    )


_SHORT_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_FILE_SUFFIX = r"^\.[a-z0-9][a-z0-9_+-]{0,30}$"


class PlugIn(_Group):
    """A class of another package: ``{"class": "package.module.Class", "arguments": {…}}``.

    Attributes:
        path: the class, or the function ``build(parts)``; None: what an installed package offers under the same name.
        arguments: of its constructor; ``${NAME}`` in a text stands for an environment variable.
        threads: how many of its synchronous calls run at a time; None: as the group says.
        timeout: seconds for each call; None: as the group says.
        processes: how many of its own it runs in, each for one call at a time; 0: it runs in the server's.
        blocks: its async methods block, and are left for the synchronous ones, which run in threads.
        brings_passages: passages that are of no document of the caller's are shown as its own; else left out.

    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)

    path: str | None = Field(None, alias="class", max_length=500)
    arguments: dict[str, Any] = Field({}, repr=False)
    threads: int | None = Field(None, ge=1, le=64)
    timeout: float | None = Field(None, gt=0, le=3600)
    processes: int = Field(0, ge=0, le=64)
    blocks: bool = False
    brings_passages: bool = False


def _plug_in(value: object) -> object:
    """Take a text for the class, or for what an installed package offers under that name."""
    return {"class": value} if isinstance(value, str) else value


AnyPlugIn = Annotated[PlugIn, BeforeValidator(_plug_in)]
PlugInName = Annotated[str, StringConstraints(pattern=_SHORT_NAME)]
FileSuffix = Annotated[str, StringConstraints(pattern=_FILE_SUFFIX)]


class PlugInSettings(_Group):
    """Classes of other packages (docs/plug-ins.md)."""

    engines: dict[PlugInName, AnyPlugIn] = Field(
        {}, description="JSON: name → class of a LlamaIndex query engine or retriever; the name is a question's `mode`."
    )
    chat_engines: dict[PlugInName, AnyPlugIn] = Field(
        {}, description="JSON: name → class of a LlamaIndex chat engine; the name is a `mode` of `/chat`."
    )
    postprocessors: tuple[AnyPlugIn, ...] = Field(
        (), description="JSON: list of LlamaIndex node postprocessors, applied in order to the selected passages."
    )
    guards: tuple[AnyPlugIn, ...] = Field(
        (), description="JSON: list of guards, which refuse or change questions and answers, in order."
    )
    threads: int = Field(
        4, ge=1, le=64, description="Number of synchronous calls of one plug-in that run at a time; the others wait."
    )
    timeout: float = Field(
        30, gt=0, le=3600, description="Maximum duration of a call of a plug-in in seconds, waiting included."
    )


class IngestionSettings(_Group):
    """How documents become chunks."""

    chunk_tokens: int | None = Field(
        None,
        ge=16,
        le=100_000,
        description="Maximum size of a chunk in tokens, heading included; unset: the embedding model's input length.",
    )
    chunk_overlap: int = Field(
        32, ge=0, le=10_000, description="Number of tokens that a chunk repeats from the previous one."
    )
    language: str = Field(
        "english",
        pattern=r"^[a-z_]{1,63}$",
        description="Text search configuration of a new collection (psql: \\dF); simple for code and mixed languages.",
    )
    max_file_bytes: int = Field(
        52_428_800, ge=1, description="Maximum size of a file in bytes; larger ones are skipped."
    )
    parse_timeout: float = Field(
        120, gt=0, le=86_400, description="Maximum time to parse a file in seconds; slower ones are skipped."
    )
    parse_memory_bytes: int = Field(
        4_294_967_296,
        ge=268_435_456,
        description="Maximum memory of a process that parses files, in bytes (Linux only).",
    )
    parse_workers: int = Field(
        1, ge=1, le=256, description="Number of files parsed and split in parallel, each in a process of its own."
    )
    ocr: bool = Field(
        True, description="Read pages and images without text by OCR, where the extra `ocr` is installed."
    )
    ocr_pages: int = Field(
        200, ge=0, le=100_000, description="Maximum number of pages of one document that are read by OCR."
    )
    pictures: bool = Field(
        False, description="Read the pictures in documents by OCR, too; slower, and drawings make odd words."
    )
    hidden: bool = Field(
        False, description="Read hidden sheets, rows, columns, slides and text of office files; else they are left out."
    )
    attachments: Annotated[Literal["no", "sections", "documents"], BeforeValidator(_attachments)] = Field(
        "documents",
        description="Attachments of e-mails: documents of their own, sections of their message, or no: only attached "
        "text is read, as sections.",
    )
    readers: dict[FileSuffix, AnyPlugIn] = Field(
        {}, description='JSON: file suffix (".log") → class of a LlamaIndex reader (docs/plug-ins.md).'
    )
    transformations: tuple[AnyPlugIn, ...] = Field(
        (),
        description="JSON: list of LlamaIndex node parsers and transformations, applied in order (docs/plug-ins.md).",
    )
    strict: bool = Field(
        False,
        description="Fail documents of which something could not be read or was guessed; `--strict` of a command.",
    )
    kept_vectors_bytes: int = Field(
        268_435_456,
        ge=0,
        description="Maximum size of vectors of remote models that are kept for a tenant until their documents are "
        "written, so that an ingestion that is killed pays for none twice; 0: none are kept.",
    )
    batch_chunks: int = Field(
        512,
        ge=1,
        le=100_000,
        description="Maximum number of chunks embedded together; larger batches are faster and take more memory.",
    )
    index_chunks: int = Field(
        5000,
        ge=0,
        description="Number of chunks from which a collection gets an HNSW index; smaller ones are searched exactly.",
    )
    index_ef_construction: int = Field(
        400, ge=4, le=1000, description="HNSW: size of the candidate list while the index is built."
    )
    index_m: int = Field(
        16,
        ge=2,
        le=100,
        description="HNSW: maximum number of links per row; at most half of `index_ef_construction`.",
    )
    index_memory_mb: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Memory in MiB that PostgreSQL may use to build an HNSW index; a build that needs more is slower.",
    )
    nice: int = Field(
        10,
        ge=0,
        le=19,
        description="CPU niceness of ingestion while a server with the same data directory is asked: higher leaves it "
        "more; 0: it never gives way.",
    )
    sync_max_deleted: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Fraction of a collection's documents above which `--sync` deletes nothing without `--yes`; up to "
        "five documents are deleted in any case.",
    )


class GenerationSettings(_Group):
    """Generations of a collection."""

    keep: int = Field(
        2, ge=0, le=100, description="Number of earlier generations kept besides the active one, for rollback."
    )
    min_keep_seconds: float = Field(
        3600,
        ge=0,
        le=31_536_000,
        description="Seconds that a generation is kept after it stopped being active, whatever `keep` says.",
    )


class GateSettings(_Group):
    """What a new generation must reach on golden questions to be activated (`--activate if-better`)."""

    k: int = Field(10, ge=1, le=100, description="Rank cut-off of recall@k and MRR.")
    min_recall: float = Field(0.0, ge=0, le=1, description="Minimum recall@k of the new generation.")
    recall_loss: float = Field(0.01, ge=0, le=1, description="Maximum drop in recall@k against the active generation.")
    mrr_loss: float = Field(
        0.02, ge=0, le=1, description="Maximum drop in mean reciprocal rank against the active generation."
    )


class WebSettings(_Group):
    """Fetching of web pages (`ingestion.web.limits` has the details)."""

    user_agent: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z_-]+[\x20-\x7e]*$",
        description="User-Agent header; its first word is matched against robots.txt. Unset: Footnote and its version.",
    )
    allowed_ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65_535)], ...], NoDecode, BeforeValidator(_split)] = (
        Field((80, 443), min_length=1, description="Ports that URLs may use, comma-separated.")
    )
    allow_private: Annotated[
        tuple[Annotated[str, AfterValidator(_private_place)], ...], NoDecode, BeforeValidator(_split)
    ] = Field(
        (), description="Private networks and hosts that may be fetched from, comma-separated: 10.1.0.0/16,wiki.corp."
    )
    ca_file: Path | None = Field(None, description="PEM file with additional trusted certificate authorities.")
    robots: bool = Field(True, description="Obey robots.txt.")
    requests_per_second: float = Field(
        1, gt=0, le=1000, description="Maximum request rate per host; fractions are allowed."
    )
    connect_timeout: float = Field(10, gt=0, le=600, description="Seconds to wait for name resolution and connection.")
    read_timeout: float = Field(30, gt=0, le=3600, description="Idle seconds after which a page fails.")
    total_timeout: float = Field(
        120, gt=0, le=86_400, description="Maximum duration of fetching a page in seconds, redirects included."
    )
    max_bytes: int = Field(
        52_428_800, ge=1, description="Maximum size of a page in bytes, compressed and uncompressed."
    )
    max_feed_bytes: int = Field(
        10_485_760, ge=1, description="Maximum size of a feed or sitemap in bytes, compressed and uncompressed."
    )
    max_entries: int = Field(
        1000, ge=1, le=1_000_000, description="Maximum number of pages taken from a feed or sitemap."
    )


class SourceSettings(_Group):
    """Scheduled sources (`python -m ingestion run sources.yaml`)."""

    retry_seconds: float = Field(
        60,
        gt=0,
        le=86_400,
        description="Seconds before a failed source is retried; doubled with each consecutive failure, up to an hour.",
    )


class JobSettings(_Group):
    """Background jobs: uploads, URLs, maintenance."""

    worker: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether the server starts a worker process; auto: only with its own PostgreSQL. Otherwise run "
        "python -m ingestion worker.",
    )
    concurrency: int = Field(2, ge=1, le=64, description="Maximum number of concurrent jobs per worker.")
    attempts: int = Field(
        5, ge=1, le=100, description="Maximum number of attempts of a job whose failures may be temporary."
    )
    retry_pause: float = Field(
        2,
        gt=0,
        le=3600,
        description="Seconds before the second attempt; doubled with each further one, up to five minutes.",
    )
    timeout: float = Field(3600, gt=0, le=604_800, description="Maximum duration of an attempt in seconds.")
    stalled_after: float = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds without a heartbeat after which another worker takes over a running job.",
    )
    shutdown_timeout: float = Field(
        20,
        ge=0,
        le=3600,
        description="Seconds that running jobs have to finish after SIGTERM before they go back to the queue.",
    )
    keep_days: float = Field(7, gt=0, le=3650, description="Days that succeeded and cancelled jobs are kept.")
    keep_failed_days: float = Field(
        90, gt=0, le=3650, description="Days that failed jobs are kept; until then they can be retried."
    )


class EvidenceSettings(_Group):
    """The record of who was shown which passages: ids, no texts."""

    record: Literal["on", "off"] | None = Field(
        None,
        description="Whether it is recorded which passages of which documents each answer showed, and to whom; unset: "
        "where keys or tokens are required.",
    )
    days: float = Field(
        365, gt=0, le=36_500, description="Days that the record is kept, also of documents that are gone."
    )


class AuditSettings(_Group):
    """The record of who did what."""

    retention_days: int = Field(
        400,
        ge=0,
        le=36_500,
        description="Days after which lines are dropped, by whole months; 0: they are kept for ever.",
    )


class TelemetrySettings(_Group):
    """Traces and metrics (OpenTelemetry)."""

    enabled: bool = Field(True, description="false: no traces, no metrics, no trace ids.")
    endpoint: Annotated[str, AfterValidator(_otlp_endpoint)] | None = Field(
        None,
        description="URL of an OTLP receiver, http://localhost:4318; unset: nothing is exported. Also "
        "OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    protocol: Literal["http/protobuf", "grpc"] = Field(
        "http/protobuf", description="Protocol of the OTLP receiver; also OTEL_EXPORTER_OTLP_PROTOCOL."
    )
    headers: Annotated[SecretStr, AfterValidator(_otlp_headers)] | None = Field(
        None, description="Headers for the OTLP receiver, name=value,name=value; also OTEL_EXPORTER_OTLP_HEADERS."
    )
    service_name: str = Field("footnote", min_length=1, description="Name of the service; also OTEL_SERVICE_NAME.")
    sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Fraction of traces that are exported; for a request with a `traceparent`, its caller decides.",
    )
    content: Literal["none", "redacted", "full"] = Field(
        "none",
        description="Whether traces record questions, passages and answers; redacted: without what looks personal or "
        "secret.",
    )
    metrics_interval: float = Field(15, ge=1, le=3600, description="Seconds between two exports of metrics by OTLP.")


class LogSettings(_Group):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else JSON.")
    file: Path | None = Field(
        None,
        description="File that log lines are added to; standard error gets Footnote's warnings then, for people. At a "
        "start, one of more than 10 MB is renamed to ….1. Unset: standard error.",
    )


class LimitSettings(_Group):
    """Limits of tenants, subjects and API keys; none unless it is set. A tenant or a key may have its own instead."""

    key_requests: int | None = Field(None, ge=1, le=600_000, description="Requests a minute of an API key.")
    subject_requests: int | None = Field(None, ge=1, le=600_000, description="Requests a minute of a subject.")
    tenant_requests: int | None = Field(None, ge=1, le=600_000, description="Requests a minute of a tenant.")
    key_streams: int | None = Field(None, ge=1, le=100_000, description="Concurrent streams of an API key.")
    subject_streams: int | None = Field(None, ge=1, le=100_000, description="Concurrent streams of a subject.")
    tenant_uploads: int | None = Field(None, ge=1, le=1_000_000_000, description="Uploads of a tenant a day (UTC).")
    tenant_upload_bytes: int | None = Field(
        None, ge=1, le=1_000_000_000_000_000, description="Bytes uploaded by a tenant a day (UTC)."
    )
    tenant_documents: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Documents that a tenant stores, those on their way included."
    )
    tenant_chunks: int | None = Field(
        None, ge=1, le=1_000_000_000_000, description="Chunks that a tenant stores, after which it adds no document."
    )
    tenant_tokens_day: int | None = Field(
        None, ge=0, le=1_000_000_000_000_000, description="Tokens of language models for a tenant a day (UTC)."
    )
    tenant_tokens_month: int | None = Field(
        None, ge=0, le=1_000_000_000_000_000, description="Tokens of language models for a tenant a month (UTC)."
    )
    tenant_usd_day: float | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        allow_inf_nan=False,
        description="US dollars of language models for a tenant a day (UTC), by llm.prices.",
    )
    tenant_usd_month: float | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        allow_inf_nan=False,
        description="US dollars of language models for a tenant a month (UTC), by llm.prices.",
    )
    subject_tokens_day: int | None = Field(
        None, ge=0, le=1_000_000_000_000_000, description="Tokens of language models for a subject a day (UTC)."
    )
    subject_tokens_month: int | None = Field(
        None, ge=0, le=1_000_000_000_000_000, description="Tokens of language models for a subject a month (UTC)."
    )
    subject_usd_day: float | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        allow_inf_nan=False,
        description="US dollars of language models for a subject a day (UTC), by llm.prices.",
    )
    subject_usd_month: float | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        allow_inf_nan=False,
        description="US dollars of language models for a subject a month (UTC), by llm.prices.",
    )
    key_tokens_day: int | None = Field(
        None, ge=0, le=1_000_000_000_000_000, description="Tokens of language models for an API key a day (UTC)."
    )
    key_tokens_month: int | None = Field(
        None, ge=0, le=1_000_000_000_000_000, description="Tokens of language models for an API key a month (UTC)."
    )
    key_usd_day: float | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        allow_inf_nan=False,
        description="US dollars of language models for an API key a day (UTC), by llm.prices.",
    )
    key_usd_month: float | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        allow_inf_nan=False,
        description="US dollars of language models for an API key a month (UTC), by llm.prices.",
    )


def overridden(limits: LimitSettings, own: Mapping[str, object]) -> LimitSettings:
    """Return limits of which some are replaced; null stands for none.

    Raises:
        ValueError: there is no such limit, or a value is out of bounds; the message names it.

    """
    try:
        return LimitSettings.model_validate({**limits.model_dump(), **own}, strict=True)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])[:80] if first["loc"] else "limits"
        msg = f"{name}: {'there is no such limit' if first['type'] == 'extra_forbidden' else first['msg']}"
        raise ValueError(msg) from None


def overridden_where_valid(limits: LimitSettings, own: Mapping[str, object]) -> LimitSettings:
    """Return limits of which some are replaced; what is stored and no limit is left out."""
    for name, value in own.items():
        try:
            limits = overridden(limits, {name: value})
        except ValueError:
            continue
    return limits


class Settings(BaseSettings):
    """Footnote's settings: frozen, bounded, secrets hidden. `load_settings` reads them from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",  # it gets the whole environment; _refuse_unknown checks our names
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Annotated[Path, AfterValidator(_folder)] = Field(
        Path(".footnote"), description="Directory of the embedded PostgreSQL, exported models and uploads in progress."
    )
    embeddings: Annotated[Mapping[ModelName, EmbeddingSettings], AfterValidator(_without_default)] = Field(
        {},
        description="Further embedding models, as JSON of names and settings as in the group EMBEDDING, whose model is "
        'called `default`: {"german": {"provider": "ollama", "model": "bge-m3"}}. A collection names its model when it '
        "is made.",
    )
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    streams: StreamSettings = StreamSettings()
    redis: RedisSettings = RedisSettings()
    chat: ChatSettings = ChatSettings()
    database: DatabaseSettings = DatabaseSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    llm: LLMSettings = LLMSettings()
    llms: Annotated[Mapping[ModelName, LLMSettings], NoDecode, BeforeValidator(_object)] = Field(
        {},
        repr=False,
        description="Further language models, as JSON: name to settings as in the group LLM; what falls back names "
        'them: {"spare": {"provider": "ollama", "model": "qwen3:8b"}}.',
    )
    retrieval: RetrievalSettings = RetrievalSettings()
    rerank: RerankSettings = RerankSettings()
    cache: CacheSettings = CacheSettings()
    engines: EngineSettings = EngineSettings()
    plug_ins: PlugInSettings = PlugInSettings()
    ingestion: IngestionSettings = IngestionSettings()
    generations: GenerationSettings = GenerationSettings()
    gate: GateSettings = GateSettings()
    web: WebSettings = WebSettings()
    sources: SourceSettings = SourceSettings()
    jobs: JobSettings = JobSettings()
    limits: LimitSettings = LimitSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    audit: AuditSettings = AuditSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        if reason := self._misnamed():
            raise ValueError(reason)
        return self

    def _misnamed(self) -> str | None:
        if "default" in self.llms:
            return "LLMS: `default` is the model of the group LLM; choose another name"
        if nested := next((name for name, llm in self.llms.items() if llm.fallback), None):
            return f"LLMS: {nested} has a fallback of its own; the list of the group LLM is the only one"
        if unknown := next((name for name in self.llm.fallback if name not in self.llms), None):
            return f"LLM__FALLBACK: {unknown!r} is none of the models in LLMS ({', '.join(self.llms) or 'it is empty'})"
        return None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's signature)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence; see the module's docstring."""
        for source in (env_settings, dotenv_settings):
            assert isinstance(source, EnvSettingsSource)  # noqa: S101 (pydantic's signature says less)
            source.env_vars = {name: value for name, value in source.env_vars.items() if not is_old_name(name)}
        return init_settings, env_settings, dotenv_settings, OldNames(settings_cls), FallbackNames(settings_cls)


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a name under ``FOOTNOTE_`` is unknown, or a value is invalid.

    """
    _refuse_unknown(environment())
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        path = "__".join(str(part) for part in first["loc"] if isinstance(part, str))
        reason = first["msg"].removeprefix("Value error, ")
        others = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
        name = f"{PREFIX}{path.upper()}"
        if path and name + FILE.upper() in given_settings():  # the secret is the file's
            name += FILE.upper()
        name = f"{name}: " if path else PREFIX  # a reason about several names itself which
        msg = f"{name}{reason}{others}; config/example.env lists every setting"
        raise SettingsError(msg) from None
    except (NotParsed, RecursionError) as exc:
        raise SettingsError(_not_json()) from exc


def _not_json() -> str:
    """Say which setting is no JSON where JSON is due; its value, which may hold a secret, is not repeated."""
    for name, (*_, default) in ((name, rest) for name, *rest in setting_keys() if name in given_settings()):
        if isinstance(default, dict | tuple) and (reason := _json_error(given_settings()[name])):
            return f"{name}: is not valid JSON ({reason})"
    return "a setting is not valid JSON"


def _json_error(value: str) -> str | None:
    try:
        json.loads(value)
    except ValueError as exc:
        return str(exc)
    except RecursionError:
        return "it is nested too deep"
    return None


def _refuse_unknown(given: Mapping[str, str]) -> None:
    known = {name for name, *_ in setting_keys()}
    for name in sorted(given):
        if name.upper().startswith(PREFIX) and name.upper() not in known and not is_old_name(name):
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else "; config/example.env lists every setting"
            msg = f"{name}: no such setting{hint}"
            raise SettingsError(msg)


def setting_keys() -> Iterator[tuple[str, tuple[str, ...], str, object]]:
    """Yield (environment name, path in `Settings`, description, default) of every setting."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, _Group):
            secrets = secrets_of(type(field.default))
            for inner, leaf in type(field.default).model_fields.items():
                env = f"{PREFIX}{name}__{leaf.alias or inner}".upper()
                yield env, (name, inner), leaf.description or "", leaf.default
                if inner in secrets:
                    told = f"A file that holds {env.rpartition('__')[2]} instead; setting both is refused."
                    yield env + FILE.upper(), (name, inner + FILE), told, None
        else:
            yield f"{PREFIX}{name}".upper(), (name,), field.description or "", field.default
