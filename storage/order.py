"""The order of a list, and where a page of it begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

from storage.cursors import decode_cursor, encode_cursor
from storage.errors import InvalidCursor

TEXT, MOMENT, NUMBER, OWN_UUID = "text", "timestamptz", "bigint", "uuid"
TITLE = "title"
"""The column whose order is that of people, who do not tell capital letters from small ones."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """A column, with ``-`` before it from the last to the first; then by id.

    Texts are in the order of their characters' numbers (collation ``C``), which is the same on each server; titles
    in that of their small letters.

    Attributes:
        types: SQL types of the columns that the list can be in the order of, and of its ``id``.

    """

    types: ClassVar[Mapping[str, str]]
    sort: str = "id"

    @property
    def column(self) -> str:
        """The column's name."""
        return self.sort.removeprefix("-")

    def clause(self, table: str) -> str:
        """Return SQL: ``ORDER BY …``."""
        direction = "DESC" if self._is_descending else "ASC"
        return f"ORDER BY {self._expression(table)} {direction}, {table}.id {direction}"

    def after(self, table: str, value: int, own_id: int) -> str:
        """Return SQL: a condition on rows behind the place in the parameters of these numbers; null: all are."""
        sign = "<" if self._is_descending else ">"
        begin = f"lower(${value}::text)" if self.column == TITLE else f"${value}::text::{self.types[self.column]}"
        place = f"({begin}, ${own_id}::text::{self.types['id']})"
        return f"(${own_id}::text IS NULL OR ({self._expression(table)}, {table}.id) {sign} {place})"

    def cursor_of(self, item: object) -> str:
        """Return the cursor of the page after an item, which has the columns as its members."""
        own_id = str(getattr(item, "id"))  # noqa: B009 (an item of any list)
        if self.sort == "id":
            return encode_cursor(own_id)
        value = getattr(item, self.column)
        said = value.isoformat() if isinstance(value, datetime) else str(value)
        return encode_cursor(json.dumps([self.sort, said, own_id]))

    def place(self, cursor: str | None) -> tuple[str | None, str | None]:
        """Return the value and the id that a page begins after; None for the first page.

        Raises:
            InvalidCursor: it is none of ours, or of a list in another order.

        """
        key = decode_cursor(cursor)
        if not key:
            return None, None
        if self.sort == "id":
            return key, key
        try:
            sort, value, own_id = json.loads(key)
            if sort != self.sort:
                raise InvalidCursor
            return _read(value, self.types[self.column]), _read(own_id, self.types["id"])
        except (ValueError, TypeError, RecursionError, OverflowError):
            raise InvalidCursor from None

    @property
    def _is_descending(self) -> bool:
        return self.sort.startswith("-")

    def _expression(self, table: str) -> str:
        collation = ' COLLATE "C"' if self.types[self.column] == TEXT and self.column != "id" else ""
        if self.column == TITLE:
            return f"lower({table}.{self.column}){collation}"
        return f"{table}.{self.column}{collation}"


def containing(text: str) -> str:
    """Return the pattern of `ILIKE … ESCAPE '!'` for what has a text in it, whatever its characters."""
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return f"%{text}%"


def _read(value: object, kind: str) -> str:
    """Return a cursor's value as the database reads it; raises `ValueError` or `InvalidCursor` for what is none."""
    if not isinstance(value, str):
        raise InvalidCursor
    if kind == MOMENT:
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    if kind == OWN_UUID:
        return str(UUID(value))
    if kind == NUMBER:
        if not 0 <= int(value) < 2**63:
            raise InvalidCursor
        return str(int(value))
    value.encode()  # JSON can name halves of characters, and characters that PostgreSQL cannot keep
    if "\0" in value:
        raise InvalidCursor
    return value
