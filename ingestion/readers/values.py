"""Values of metadata as JSON types."""

from __future__ import annotations

import math
from datetime import date, datetime, time

from ingestion.readers.cleaning import clean
from ingestion.types import Json

MAX_DEPTH = 20
MAX_DIGITS = 300  # of whole numbers; those that no double reaches stay text


class WrittenNumber(str):
    """A number as it is written, which may be longer than Python parses."""

    __slots__ = ()

    @property
    def value(self) -> Json:
        """The number; its text if it is too large for one."""
        if self.lstrip("-").isdigit():
            return as_json(int(self)) if len(self) <= MAX_DIGITS else str(self)
        return number if math.isfinite(number := float(self)) else str(self)


def as_json(value: object, *, depth: int = 0) -> Json:  # noqa: PLR0911 (a table of types)
    """Convert a value to JSON types; dates become ISO 8601 strings, other types strings.

    Raises:
        ValueError: it is nested deeper than 20 levels.

    """
    if depth > MAX_DEPTH:
        msg = "nested too deeply"
        raise ValueError(msg)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, WrittenNumber):
        return value.value
    if isinstance(value, int):
        return value if abs(value) < 10**MAX_DIGITS else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {clean(str(key)): as_json(inner, depth=depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [as_json(inner, depth=depth + 1) for inner in value]
    return clean(str(value))
