"""Keyset pagination: pages of a list, and opaque cursors that hold the last key of a page."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

from storage.errors import InvalidCursor

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page; `next_cursor` is None on the last one."""

    items: tuple[Item, ...]
    next_cursor: str | None


def encode_cursor(key: str) -> str:
    """Return the cursor of the page after `key`."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str:
    """Return the key that a page begins after, ``""`` for the first page.

    Raises:
        InvalidCursor: Footnote did not issue it.

    """
    if cursor is None:
        return ""
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise InvalidCursor from None
    if "\0" in key:
        raise InvalidCursor
    return key


def encode_moment(moment: datetime, own_id: UUID) -> str:
    """Return the cursor of the page after an item of a list that is ordered by time, then id."""
    return encode_cursor(f"{moment.isoformat()} {own_id}")


def decode_moment(cursor: str | None) -> tuple[datetime | None, UUID | None]:
    """Return the time and id that a page begins after, None for the first page.

    Raises:
        InvalidCursor: it is none of ours.

    """
    key = decode_cursor(cursor)
    if not key:
        return None, None
    moment, _, own_id = key.partition(" ")
    try:
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(own_id)
    except (ValueError, OverflowError):
        raise InvalidCursor from None
