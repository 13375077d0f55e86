"""The golden questions of a collection: questions whose right documents, passages or answers are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from storage.caller import current_tenant
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_moment, encode_moment
from storage.database import storable
from storage.documents.titles import titles_of
from storage.errors import (
    CollectionNotFound,
    GoldenDocumentNotFound,
    GoldenQuestionExists,
    GoldenQuestionNotFound,
    TooManyGoldenQuestions,
)
from storage.generation import ACTIVE
from storage.jobs.rows import storable_json
from storage.reach import reachable_collections, require_reachable

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database

MOST = 10_000
"""Golden questions of a collection."""


@dataclass(frozen=True, slots=True)
class NewGolden:
    """A golden question to be kept.

    Attributes:
        asked: what identifies it: its words and filters.
        documents: every document that it names, by id or source.
        members: those of a line of a file, as `relevance.golden` has them.

    """

    asked: str
    documents: tuple[str, ...]
    members: Mapping[str, object]

    @property
    def right_documents(self) -> frozenset[str]:
        """Those that it names as right, rather than a passage of them."""
        named = self.members.get("documents", ())
        return frozenset(named if isinstance(named, list) else ())

    @property
    def digest(self) -> bytes:
        """SHA-256 of `asked`."""
        return hashlib.sha256(self.asked.encode(errors="surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class GoldenInfo:
    """A golden question that is kept.

    Attributes:
        subject: who wrote it.
        documents: every document that it names, by id or source.
        titles: of those of its documents that are there for the caller, by the name that it has for them.

    """

    id: str
    collection: str
    subject: str
    members: Mapping[str, object]
    created_at: datetime
    updated_at: datetime
    documents: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of many: how many were new, and which documents they name that are not there for the caller."""

    added: int
    missing: tuple[str, ...]


class GoldenStore:
    """The golden questions that the caller may see: his own, and those of the tenant that name what he may read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, collection: str, /, *, limit: int, cursor: str | None = None) -> Page[GoldenInfo]:
        """List a collection's golden questions, the newest first.

        Raises:
            CollectionNotFound: there is no such collection.
            InvalidCursor: the cursor is none of ours.

        """
        before, before_id = decode_moment(cursor)
        async with self._database.connection() as connection:
            collection_id = await collection_id_of(connection, collection)
            rows = await connection.fetch(_LIST, collection_id, collection, before, before_id, limit + 1)
            items = await _titled(connection, tuple(map(_info, rows[:limit])))
        last = items[-1] if len(rows) > limit else None
        return Page(items, encode_moment(last.created_at, UUID(last.id)) if last else None)

    async def every(self, collection: str, /) -> tuple[GoldenInfo, ...]:
        """Return all of them, the oldest first; of several that ask the same, the oldest.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        async with self._database.connection() as connection:
            collection_id = await collection_id_of(connection, collection)
            rows = await connection.fetch(_EVERY, collection_id, collection)
        return tuple(map(_info, rows))

    @rerun_on_conflict
    async def add(self, collection: str, new: NewGolden, /) -> GoldenInfo:
        """Keep a golden question.

        Raises:
            CollectionNotFound: there is no such collection.
            GoldenDocumentNotFound: it names a document that is not there for the caller.
            GoldenQuestionExists: the caller has one that asks the same.
            TooManyGoldenQuestions: the collection has `MOST`.

        """
        async with self._database.transaction() as connection:
            collection_id = await collection_id_of(connection, collection)
            await _require_room(connection, collection_id, 1)
            await _require_documents(connection, collection, new)
            own_id = uuid4()
            if not await _insert(connection, collection_id, own_id, new):
                raise GoldenQuestionExists
            return await _get(connection, own_id)

    @rerun_on_conflict
    async def import_(self, collection: str, golden: Iterable[NewGolden], /) -> Imported:
        """Keep many; those that ask what the caller's own ask already are left out.

        A file may come before the documents that it names: they need not be there.

        Raises:
            CollectionNotFound: there is no such collection.
            TooManyGoldenQuestions: the collection would have more than `MOST`; none was kept.

        """
        golden = list(golden)
        async with self._database.transaction() as connection:
            collection_id = await collection_id_of(connection, collection)
            await _require_room(connection, collection_id, len(golden))
            added = sum([await _insert(connection, collection_id, uuid4(), each) for each in golden])
            missing = await _missing(connection, collection, (name for each in golden for name in each.documents))
            return Imported(added, missing)

    @rerun_on_conflict
    async def replace(self, golden_id: str, new: NewGolden, /) -> GoldenInfo:
        """Change a golden question. What it has named before it may go on naming, be it there or not.

        Raises:
            GoldenQuestionNotFound: there is none.
            GoldenDocumentNotFound: it names another document, which is not there for the caller.
            GoldenQuestionExists: another one of the same subject asks the same.

        """
        own = _uuid(golden_id)
        async with self._database.transaction() as connection:
            known = await _get(connection, own)
            await _require_documents(connection, known.collection, new, but=known.documents)
            taken = await connection.fetchval(_TAKEN, own, known.subject, new.digest)
            if taken:
                raise GoldenQuestionExists
            await connection.execute(
                """UPDATE footnote.golden_questions SET asked = $2, documents = $3, members = $4,
                   updated_at = clock_timestamp() WHERE id = $1""",
                own,
                *_values(new),
            )
            return await _get(connection, own)

    @rerun_on_conflict
    async def delete(self, golden_id: str, /) -> None:
        """Delete a golden question.

        Raises:
            GoldenQuestionNotFound: there is none.

        """
        own = _uuid(golden_id)
        async with self._database.transaction() as connection:
            await _get(connection, own)
            await connection.execute("DELETE FROM footnote.golden_questions WHERE id = $1", own)


async def collection_id_of(connection: Connection, collection: str) -> int:
    """Return a collection's id.

    Raises:
        CollectionNotFound: there is none, or it is out of reach.

    """
    require_reachable(collection)
    found = await connection.fetchval(
        f"SELECT c.id FROM {ACTIVE} WHERE c.tenant_id = $1 AND c.name = $2", current_tenant(), collection
    )
    if found is None:
        raise CollectionNotFound(collection)
    return int(found)


_LIST = """
    SELECT id, $2::text AS collection, subject, documents, members, created_at, updated_at
    FROM footnote.golden_questions
    WHERE collection_id = $1 AND (created_at, id) < (coalesce($3::timestamptz, 'infinity'), $4::uuid)
    ORDER BY created_at DESC, id DESC LIMIT $5"""
_EVERY = """
    SELECT * FROM (SELECT DISTINCT ON (asked) id, $2::text AS collection, subject, documents, members, created_at,
        updated_at FROM footnote.golden_questions WHERE collection_id = $1 ORDER BY asked, created_at, id) each
    ORDER BY created_at, id"""
_TAKEN = """
    SELECT true FROM footnote.golden_questions other JOIN footnote.golden_questions own USING (collection_id)
    WHERE own.id = $1 AND other.id <> own.id AND other.subject = $2 AND other.asked = $3"""


async def _insert(connection: Connection, collection_id: int, own_id: UUID, new: NewGolden) -> bool:
    """Insert a golden question; tell whether it is new."""
    done = await connection.execute(
        """INSERT INTO footnote.golden_questions (id, tenant_id, collection_id, asked, documents, members)
           VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (collection_id, subject, asked) DO NOTHING""",
        own_id,
        current_tenant(),
        collection_id,
        *_values(new),
    )
    return bool(done.endswith(" 1"))


async def _get(connection: Connection, own_id: UUID) -> GoldenInfo:
    row = await connection.fetchrow(
        """SELECT q.id, c.name AS collection, q.subject, q.documents, q.members, q.created_at, q.updated_at
           FROM footnote.golden_questions q JOIN footnote.collections c ON c.id = q.collection_id
           WHERE q.id = $1 AND q.tenant_id = $2 AND c.deleted_at IS NULL
               AND ($3::text[] IS NULL OR c.name = ANY($3)) FOR UPDATE OF q""",
        own_id,
        current_tenant(),
        reachable_collections(),
    )
    if row is None:
        raise GoldenQuestionNotFound(str(own_id))
    (found,) = await _titled(connection, (_info(row),))
    return found


async def _titled(connection: Connection, golden: tuple[GoldenInfo, ...]) -> tuple[GoldenInfo, ...]:
    """Return golden questions with the titles of their documents."""
    titles = await titles_of(connection, ((each.collection, name) for each in golden for name in each.documents))
    return tuple(
        replace(
            each,
            titles={
                name: titles[each.collection, name] for name in each.documents if (each.collection, name) in titles
            },
        )
        for each in golden
    )


async def _missing(connection: Connection, collection: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the documents that are not there for the caller."""
    wanted = sorted(set(names))
    there = await titles_of(connection, ((collection, name) for name in wanted))
    return tuple(name for name in wanted if (collection, name) not in there)


async def _require_documents(
    connection: Connection, collection: str, new: NewGolden, *, but: tuple[str, ...] = ()
) -> None:
    missing = await _missing(connection, collection, set(new.documents).difference(but))
    if missing:
        named = [name for name in missing if name in new.right_documents]
        raise GoldenDocumentNotFound(named or missing, field="documents" if named else "passages")


async def _require_room(connection: Connection, collection_id: int, more: int) -> None:
    there = await connection.fetchval(
        "SELECT count(*) FROM footnote.golden_questions WHERE collection_id = $1", collection_id
    )
    if there + more > MOST:
        raise TooManyGoldenQuestions(MOST)


def _values(new: NewGolden) -> tuple[bytes, list[str], str]:
    return new.digest, [storable(each) for each in new.documents], storable_json(dict(new.members))


def _info(row: asyncpg.Record) -> GoldenInfo:
    return GoldenInfo(
        id=str(row["id"]),
        collection=row["collection"],
        subject=row["subject"],
        members=json.loads(row["members"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        documents=tuple(row["documents"]),
    )


def _uuid(golden_id: str) -> UUID:
    try:
        return UUID(golden_id)
    except ValueError:
        raise GoldenQuestionNotFound(golden_id[:80]) from None
