"""Which documents of a generation a caller may read, so that a search looks for passages in those only.

The gate that every passage leaves by (`storage.chunk_tables.readable`) keeps back what must not be seen. That alone
would lose what may be seen, behind nearer passages that may not; so both legs of a search have the condition, too:

- A caller who sees the whole tenant has none.
- Who may read few documents searches these by their ids: where they have few chunks, these are compared one by one.
- Who may read more has each candidate's document looked up, by its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from storage.caller import Caller
    from storage.database import Connection
    from storage.generation import Generation
    from storage.search.breadth import BroadFilters

MANY = 3000
"""Documents that are looked up one by one instead of being named; each has a chunk at least, see `EXACT_ROWS`."""

Readable = Sequence[str] | Literal["all", "many"]


@dataclass(frozen=True, slots=True)
class ReadableCondition:
    """SQL conditions on a chunk.

    Attributes:
        exact: of a row that is looked at anyway.
        joined: the same, for reading a whole table.

    """

    exact: str
    joined: str


async def readable_documents(
    connection: Connection, generation: Generation, who: Caller | None, *, known: BroadFilters
) -> Readable:
    """Return the ids of what a caller may read, or that it is all of the tenant's, or too many to name."""
    if who is None or who.sees_all:  # without a caller no row leaves
        return "all"
    key = (generation.id, None, None, None, who.access)
    if key in known:
        return "many"
    rows = await connection.fetch(_READABLE, generation.id, MANY + 1)
    if len(rows) <= MANY:
        return [row["id"] for row in rows]
    known.add(key)
    return "many"


def many_documents(generation: Generation) -> ReadableCondition:
    """Return the conditions where there are too many to name; the documents' policy decides in both."""
    of_generation = f"SELECT {{}} FROM footnote.documents r WHERE r.generation_id = {int(generation.id)}"
    return ReadableCondition(
        # a scalar sub-select is never turned into a join, which would read all documents
        exact=f"coalesce(({of_generation.format('true')} AND r.id = document_id), false)",
        joined=f"document_id IN ({of_generation.format('r.id')})",
    )


_READABLE = "SELECT id FROM footnote.documents WHERE generation_id = $1 LIMIT $2"
