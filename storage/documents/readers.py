"""Who may read a document: its readers, changed without indexing it again, and why somebody may or may not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.caller import WHOLE_TENANT, Caller, current_tenant, in_whole_tenant
from storage.conflicts import rerun_on_conflict
from storage.deletions import lock_documents
from storage.errors import CollectionNotFound, DocumentAttached, DocumentNotFound, InvalidReaders
from storage.generation import ACTIVE
from storage.reach import require_reachable

if TYPE_CHECKING:
    from storage.database import Connection, Database

MAX_READERS = 100
MAX_READER_BYTES = 400
_READER = re.compile(r"\*|(?:user|group):[^\x00-\x1f\x7f]+")

STORED = "d.access[2:]"
"""SQL of a document's readers: the first entry is `WHOLE_TENANT`."""

_DOCUMENT = f"""
    SELECT c.id AS collection_id, d.parent, {STORED} AS readers
    FROM {ACTIVE} JOIN footnote.documents d ON d.generation_id = g.id
    WHERE c.tenant_id = $1 AND c.name = $2 AND d.id = $3"""
_PUT = """
    UPDATE footnote.documents d SET access = $3 FROM footnote.generations g
    WHERE g.id = d.generation_id AND g.collection_id = $1 AND (d.id = $2 OR d.parent = $2)"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why somebody may read a document, or not.

    Attributes:
        matched: those of the readers that let the subject in.

    """

    document_id: str
    collection: str
    subject: str
    groups: tuple[str, ...]
    readers: tuple[str, ...]
    matched: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """Whether the document may be read."""
        return bool(self.matched)


def checked_readers(readers: Sequence[str]) -> tuple[str, ...]:
    """Return readers as they are stored, each once.

    Raises:
        InvalidReaders: one is neither ``*`` nor ``user:…`` nor ``group:…``, or too long, or there are too many.

    """
    found = tuple(dict.fromkeys(readers))
    if len(found) > MAX_READERS:
        msg = f"a document has {MAX_READERS} readers at most; put people into groups"
        raise InvalidReaders(msg)
    for reader in found:
        if not _READER.fullmatch(reader) or not _is_storable(reader):
            msg = f"{reader[:80]!r} is no reader: * is everybody, user:NAME a person, group:NAME a group"
            raise InvalidReaders(msg.encode("utf-8", "replace").decode())
    return found


def access_of(readers: Sequence[str]) -> list[str]:
    """Return what ``documents.access`` is for readers."""
    return [WHOLE_TENANT, *checked_readers(readers)]


class DocumentReaders:
    """The readers of documents in active generations, and the collections' defaults."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, document_id: str, readers: Sequence[str], *, collection: str) -> tuple[str, ...]:
        """Let others read a document, and its attachments, from the next question on; return its readers.

        Raises:
            DocumentNotFound: there is no such document, or the caller may not read it.
            DocumentAttached: it is an attachment, which has its mail's readers.
            InvalidReaders: see `checked_readers`.

        """
        checked = checked_readers(readers)
        async with self._database.connection() as connection:
            # as the caller, who must not learn of others
            _, parent, _ = await _found(connection, document_id, collection)
        if parent is not None:
            raise DocumentAttached(document_id, parent=parent)
        await self._put(document_id, checked, collection=collection)
        return checked

    async def explain(self, document_id: str, *, collection: str, subject: str, groups: Sequence[str]) -> Explanation:
        """Tell why a subject may read a document, or not.

        Raises:
            DocumentNotFound: there is no such document, or the caller may not read it.

        """
        async with self._database.connection() as connection:
            _, _, readers = await _found(connection, document_id, collection)
        asked = Caller(current_tenant(), subject, tuple(groups))
        matched = tuple(reader for reader in readers if reader in asked.readers)
        return Explanation(document_id, collection, subject, tuple(groups), readers, matched)

    async def put_default(self, collection: str, readers: Sequence[str]) -> tuple[str, ...]:
        """Set what new documents of a collection have where they bring none.

        Raises:
            CollectionNotFound: there is no such collection.
            InvalidReaders: see `checked_readers`.

        """
        checked = checked_readers(readers)
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                """UPDATE footnote.collections SET readers = $3
                   WHERE tenant_id = $1 AND name = $2 AND deleted_at IS NULL RETURNING true""",
                current_tenant(),
                collection,
                list(checked),
            )
        if not found:
            raise CollectionNotFound(collection)
        return checked

    @rerun_on_conflict
    @in_whole_tenant
    async def _put(self, document_id: str, readers: Sequence[str], *, collection: str) -> None:
        async with self._database.transaction() as connection:
            collection_id, _, _ = await _found(connection, document_id, collection)
            # a copy into another generation, which takes its readers from this one, is before or after
            await lock_documents(connection, collection_id, ids={document_id})
            await connection.execute(_PUT, collection_id, document_id, access_of(readers))


async def _found(connection: Connection, document_id: str, collection: str) -> tuple[int, str | None, tuple[str, ...]]:
    require_reachable(collection)
    row = await connection.fetchrow(_DOCUMENT, current_tenant(), collection, document_id)
    if row is None:
        raise DocumentNotFound(document_id)
    return row["collection_id"], row["parent"], tuple(row["readers"])


def _is_storable(reader: str) -> bool:
    try:
        return len(reader.encode()) <= MAX_READER_BYTES
    except UnicodeEncodeError:
        return False
