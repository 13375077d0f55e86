"""Which documents of a generation a caller may read, so that a search looks for passages in those only.

The gate that every passage leaves by (`storage.chunk_tables.readable`) keeps back what must not be seen. That alone
would lose what may be seen, behind nearer passages that may not; so both legs of a search have the condition, too:

- A caller who sees the whole tenant has none, nor has anybody where all documents are everybody's.
- Who may read few documents, and few of all, searches these by their ids: where they have few chunks, these are
  compared one by one.
- Who may read more has each candidate's document looked up, by its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from cachetools import TTLCache

from storage.caller import for_all_tenants

if TYPE_CHECKING:
    from storage.caller import Caller
    from storage.database import Connection, Database
    from storage.generation import Generation
    from storage.search.breadth import BroadFilters, Key

MANY = 3000
"""Documents that are looked up one by one instead of being named; each has a chunk at least, see `most_exact`."""

MUCH = 0.2
"""Share of a generation's documents from which on they are not named either: most candidates may be read then."""

COUNTED_SECONDS = 300.0
"""For so long a number of documents is believed; it decides how a search is done, not what it may find."""
GENERATIONS = 1000

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
    connection: Connection, generation: Generation, who: Caller | None, *, known: BroadFilters, documents: int
) -> Readable:
    """Return the ids of what a caller may read, or that it is all of the tenant's, or too many to name.

    `documents` are those of the generation, whoever may read them, see `count_documents`.
    """
    if who is None or who.sees_all:  # without a caller no row leaves
        return "all"
    key, was_open = _key(generation, who), _open_key(generation)
    # to ask takes ten times as long as to list a few documents; where all are everybody's, one may read many
    if (key in known or was_open in known) and await connection.fetchval(_IS_OPEN, generation.id):
        return "all"
    if key in known:
        return "many"
    rows = await connection.fetch(_READABLE, generation.id, MANY + 1)
    if len(rows) <= MANY and len(rows) < MUCH * documents:
        return [row["id"] for row in rows]
    is_open = await connection.fetchval(_IS_OPEN, generation.id)
    known.add(was_open if is_open else key)
    return "all" if is_open else "many"


async def count_documents(
    database: Database, generation: Generation, who: Caller | None, *, known: BroadFilters
) -> int:
    """Return how many documents a generation has, of very many fewer; 0 where `readable_documents` needs it not."""
    if who is None or who.sees_all or _key(generation, who) in known:
        return 0
    counts = _COUNTS.setdefault(database, TTLCache(GENERATIONS, COUNTED_SECONDS))
    if (count := counts.get(generation.id)) is None:
        count = counts[generation.id] = await _counted(database, generation)
    return count


@for_all_tenants
async def _counted(database: Database, generation: Generation) -> int:
    async with database.transaction(readonly=True) as connection:
        found: int = await connection.fetchval(_COUNT, generation.id, int(MANY / MUCH) + 1)
    return found


def _key(generation: Generation, who: Caller) -> Key:
    return (generation.id, None, None, None, who.access)


def _open_key(generation: Generation) -> Key:
    return (generation.id, "open", None, None, None)


def readable_condition(readable: Readable, generation: Generation, *, ids: str) -> str | None:
    """Return SQL that a chunk may be read, or None where all may; `ids` is SQL of the named documents, as an array.

    Many names are hashed, not compared one by one.
    """
    if readable == "all":
        return None
    if readable == "many":
        return many_documents(generation).exact
    return f"coalesce(document_id IN (SELECT unnest({ids})), false)"


def many_documents(generation: Generation) -> ReadableCondition:
    """Return the conditions where there are too many to name; the documents' policy decides in both."""
    of_generation = f"SELECT {{}} FROM footnote.documents r WHERE r.generation_id = {int(generation.id)}"
    return ReadableCondition(
        # a scalar sub-select is never turned into a join, which would read all documents
        exact=f"coalesce(({of_generation.format('true')} AND r.id = document_id), false)",
        joined=f"document_id IN ({of_generation.format('r.id')})",
    )


_IS_OPEN = "SELECT footnote.is_open($1)"
_COUNT = "SELECT count(*) FROM (SELECT FROM footnote.documents WHERE generation_id = $1 LIMIT $2) d"
_COUNTS: WeakKeyDictionary[Database, TTLCache[int, int]] = WeakKeyDictionary()
_READABLE = "SELECT id FROM footnote.documents WHERE generation_id = $1 LIMIT $2"
