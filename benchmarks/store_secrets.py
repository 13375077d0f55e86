"""What the time of a search tells of documents that one may not read: their words, their ids.

A limited caller asks for things that only hidden documents have and for things that none has, in turns, over the
store's made-up chunks. The effect is the chance that the hidden one of two takes longer than the other: 0.5 tells
nothing, 1 all. It is given by the clock, as a caller may take it, and by the database's processor time, which is what a
caller could find out at the best, with many questions on a machine that is idle.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from benchmarks.figures import median, table
from benchmarks.store_access import Side, open_side
from config.settings import Settings
from storage import chunk_tables
from storage.caller import LOCAL, Caller, acting_as
from storage.documents.catalog import DocumentCatalog
from storage.errors import DocumentNotFound
from storage.generation import DEFAULT_TENANT, Generation
from storage.search.lexical_leg import TOLD_FROM
from storage.search.search import SearchRequest

ASKED = 200
READERS = "half_clustered", "four_hundredth_clustered"
_HIDDEN_WORDS = """
    SELECT lexeme FROM (
        SELECT x.lexeme FROM footnote.lexicon x
        WHERE x.generation_id = $1 AND x.chunks BETWEEN $2 AND $3 AND x.lexeme ~ '^[a-z]{{6,}}$' ORDER BY md5(lexeme)
        LIMIT 3000) x
    WHERE NOT EXISTS (SELECT FROM {table} c JOIN footnote.documents d ON d.generation_id = $1 AND d.id = c.document_id
        WHERE c.text_search_tsv @@ lexeme::tsquery AND d.access @> $4) LIMIT $5"""
_UNKNOWN = "SELECT word FROM unnest($1::text[]) word WHERE word NOT IN (SELECT lexeme FROM footnote.lexicon)"
_HIDDEN_IDS = (
    "SELECT id FROM footnote.documents WHERE generation_id = $1 AND NOT access @> $2 ORDER BY md5(id) LIMIT $3"
)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Things that only hidden documents have, and others of the same length that none has."""

    name: str
    hidden: Sequence[str]
    absent: Sequence[str]


async def measure_secrets(url: str, *, settings: Settings, generation: Generation) -> dict[str, dict[str, float]]:
    """Ask for words and ids as two groups of readers; return medians in ms and effects."""
    figures = {}
    async with open_side(url, settings, generation) as side:
        for group in READERS:
            who = Caller(DEFAULT_TENANT, "reader", groups=(group,))
            for pair in await _pairs(side, generation, who):
                if len(pair.hidden) < ASKED // 10:
                    continue
                look = _searched if pair.name.startswith("word") else _got
                figures[f"{group}, {pair.name}"] = await _in_turns(look(side, generation), pair, who, side)
                print(f"{group}, {pair.name}: {figures[f'{group}, {pair.name}']}", flush=True)
    return figures


async def _pairs(side: Side, generation: Generation, who: Caller) -> list[_Pair]:
    access = [f"group:{who.groups[0]}"]
    words = _HIDDEN_WORDS.format(table=chunk_tables.qualified(generation.id))
    with acting_as(LOCAL):
        async with side.database.transaction(local={"statement_timeout": 0}) as connection:
            pairs = []
            for name, bounds in (("rare", (1, TOLD_FROM)), ("common", (TOLD_FROM + 1, 10**9))):
                rows = await connection.fetch(words, generation.id, *bounds, access, ASKED)
                hidden = [row["lexeme"] for row in rows]
                # of the same letters: what is looked for is as long, and as much like a word
                turned = [word[::-1] for word in hidden]
                absent = [row["word"] for row in await connection.fetch(_UNKNOWN, turned)]
                pairs.append(_Pair(f"word, {name}", hidden, absent))
            rows = await connection.fetch(_HIDDEN_IDS, generation.id, access, ASKED)
    hidden = [row["id"] for row in rows]
    return [*pairs, _Pair("id", hidden, [f"{each[:-1]}x" for each in hidden])]


_Look = Callable[[str], Awaitable[object]]


def _searched(side: Side, generation: Generation) -> _Look:
    del generation

    async def look(word: str) -> object:
        return await side.search.search(SearchRequest("keyword", limit=10, text=word))

    return look


def _got(side: Side, generation: Generation) -> _Look:
    catalog = DocumentCatalog(side.database)

    async def look(document_id: str) -> object:
        with suppress(DocumentNotFound):
            return await catalog.get(document_id, collection=generation.collection)
        return None

    return look


async def _in_turns(look: _Look, pair: _Pair, who: Caller, side: Side) -> dict[str, float]:
    took: dict[str, list[tuple[float, float]]] = {"hidden": [], "absent": []}
    for number in range(-20, ASKED):
        for kind, things in (("hidden", pair.hidden), ("absent", pair.absent))[:: 1 if number % 2 else -1]:
            began, started = side.cpu(), time.perf_counter()
            with acting_as(who):
                await look(things[number % len(things)])
            if number >= 0:
                took[kind].append(((time.perf_counter() - started) * 1000, side.cpu() - began))
    figures = {}
    for place, what in enumerate(("ms", "cpu")):
        hidden, absent = ([each[place] for each in took[kind]] for kind in ("hidden", "absent"))
        figures |= {f"{what}_hidden": median(hidden), f"{what}_absent": median(absent)}
        figures[f"{what}_effect"] = _longer(hidden, absent)
    return figures


def _longer(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the chance that one of the left is more than one of the right; half of what is equal counts."""
    difference = np.asarray(left)[:, None] - np.asarray(right)[None, :]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def secrets_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return the figures as a table."""
    names = [f"{what}_{which}" for what in ("ms", "cpu") for which in ("hidden", "absent", "effect")]
    return table(
        ["asked for", "p50 ms, hidden", "absent", "effect", "CPU ms, hidden", "absent", "effect"],
        [[name, *(one[each] for each in names)] for name, one in figures.items()],
    )
