"""Timestamps in metadata: stored in UTC, so that comparing their text compares the instants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MAX_LENGTH = 40
# What `datetime.fromisoformat` is asked about. It takes any character between date and time, and so would read an
# offset into ``2026-01-02-08-05``; without a T, hours alone may be a span of them, as in ``2026-01-02 08-17``.
_TIMESTAMP = re.compile(r"([\dW-]{7,10}(?:T\d\d| \d\d:?\d\d)[\d:.,]*) ?(Z|[+-]\d\d[\d:.,]*)", re.ASCII | re.IGNORECASE)


def utc(text: str) -> str:
    """Return a timestamp (ISO 8601) with an offset in UTC, to the microsecond; any other text as it is.

    The offset may be of hours alone, and a blank may be before it, as PostgreSQL and git write them. What has no offset
    is a date, or a time of a place that is not told, and names no instant.
    """
    match = _TIMESTAMP.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        return text
    try:
        return datetime.fromisoformat("".join(match.groups()).upper()).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):  # the 31st of February; a moment before the year 1 in UTC
        return text


def with_utc(value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Return JSON values with the timestamps in them in UTC."""
    if isinstance(value, str):
        return utc(value)
    if isinstance(value, list | tuple):
        return [with_utc(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: with_utc(inner) for key, inner in value.items()}
    return value


def spellings(value: Any) -> list[Any]:  # noqa: ANN401 (see above)
    """Return a timestamp in UTC, and as it is given, which older rows may have; of any other value only that."""
    return [value] if not isinstance(value, str) or utc(value) == value else [utc(value), value]
