"""The only reader of the environment and of the file ``.env``: names, and where a value comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

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
OPENAI_S = frozenset({"auto", "openai", "openai_like", "vllm"})
"""Providers for which OpenAI's own names stand in."""
OLD_NAMES: Mapping[str, str | None] = {
    "SERVER__UPLOAD_SILENCE": "SERVER__UPLOAD_IDLE_TIMEOUT",
    "STREAMS__WINDOW_BYTES": None,
    "STREAMS__MOST_BYTES": None,
    "STREAMS__REDIS_URL": "REDIS__URL",
    "CACHE__REDIS_URL": "REDIS__URL",
    "CACHE__REDIS_TIMEOUT": "REDIS__LOOKUP_TIMEOUT",
    "CACHE__REDIS_TTL": None,
    "RETRIEVAL__CANDIDATES": None,
    "RETRIEVAL__NEAR_DUPLICATE_SHARE": None,
    "RETRIEVAL__PASSAGE_CHARS": None,
    "RETRIEVAL__MAX_SCAN_TUPLES": None,
    "RERANK__BATCH_SIZE": None,
    "RERANK__MAX_TOKENS": None,
    "ENGINES__FUSION_OWN_WEIGHT": None,
    "ENGINES__WINDOW_CHARACTERS": None,
    "ENGINES__MERGING_GROUP": None,
    "INGESTION__SYNC_SHARE": "INGESTION__SYNC_MAX_DELETED",
    "GENERATIONS__SPARE_SECONDS": "GENERATIONS__MIN_KEEP_SECONDS",
    "GENERATIONS__FOLLOW_SECONDS": None,
    "WEB__LONGEST_WAIT": None,
    "SOURCES__RETRY_MOST_SECONDS": None,
    "JOBS__LONGEST_PAUSE": None,
    "JOBS__POLL_INTERVAL": None,
    "TELEMETRY__CONTENT_BYTES": None,
    "TELEMETRY__QUEUE_SPANS": None,
}
"""Names of the last release, without prefix, and what they are called now; None: the setting is gone. One release on,
an entry is removed, and the name is refused like any unknown one."""


class _AllAtOnce(PydanticBaseSettingsSource):
    """A source whose `__call__` returns all values; pydantic wants to be able to ask for each."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:  # noqa: ARG002 (pydantic's)
        """Return nothing."""
        return None, field_name, False


class FallbackNames(_AllAtOnce):
    """Values of names that other programs use too."""

    def __call__(self) -> dict[str, dict[str, str]]:
        """Return the values by group and key."""
        given, ours = environment(), given_settings()
        values: dict[str, dict[str, str]] = {}
        for name, (group, key) in FALLBACKS.items():
            is_in_file = f"{PREFIX}{group}__{key}_FILE".upper() in ours
            if given.get(name) and not is_in_file and not (name.startswith("OPENAI_") and _is_of_another(ours)):
                values.setdefault(group, {})[key] = given[name]
        return values


def _is_of_another(ours: Mapping[str, str]) -> bool:
    """Tell whether the language model is of another provider, which must not be sent OpenAI's key."""
    provider = ours.get(f"{PREFIX}LLM__PROVIDER", "auto").lower()
    return f"{PREFIX}LLM__CLASS" in ours or provider not in OPENAI_S


class OldNames(_AllAtOnce):
    """Values of names of the last release."""

    def __call__(self) -> dict[str, dict[str, str]]:
        """Return the values by group and key."""
        given = given_settings()
        values: dict[str, dict[str, str]] = {}
        for old, new in OLD_NAMES.items():
            if new is not None and PREFIX + old in given:
                group, key = new.lower().split("__")
                values.setdefault(group, {}).setdefault(key, given[PREFIX + old])
        return values


def old_names_in_use() -> list[str]:
    """Return a sentence for each name of the last release that is set."""
    given = given_settings()
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
    """Return the trace context of the process that started this one, as W3C headers; empty if there is none.

    It is read from ``TRACEPARENT`` and ``TRACESTATE``: https://opentelemetry.io/docs/specs/otel/context/env-carriers/.
    """
    return {name.lower(): os.environ[name] for name in ("TRACEPARENT", "TRACESTATE") if name in os.environ}


def environment() -> dict[str, str]:
    """Return what is set in the environment or, failing that, in the ``.env`` file; empty counts as not set."""
    from_file = {name: value for name, value in dotenv_values(ENV_FILE).items() if value is not None}
    return from_file | {name: value for name, value in os.environ.items() if value or name not in from_file}


def given_settings() -> dict[str, str]:
    """Return what is set under our prefix, by upper-case name."""
    return {name.upper(): value for name, value in environment().items() if value and name.upper().startswith(PREFIX)}


def is_old_name(name: str) -> bool:
    """Tell whether a setting was called this in the last release."""
    return name.upper().removeprefix(PREFIX) in OLD_NAMES


def keep_libraries_quiet() -> None:
    """Switch off what libraries tell their makers: ONNX Runtime's wheels for Linux send models' file names, and more.

    Call it before any of them is imported. Who has set such a variable has decided, and is obeyed. Source: ONNX
    Runtime's ``Privacy.md``, Hugging Face Hub's list of environment variables.
    """
    for name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")
