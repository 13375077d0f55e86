"""Who was shown which passages: a row for each document of an answer, with ids and no text."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from storage.caller import current_tenant, for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_moment, encode_moment
from storage.database import storable

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Database

Operation = Literal["query", "chat", "retrieve"]
PAGE = 500
FORGOTTEN_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Shown:
    """The passages of one document in one answer.

    Attributes:
        chunk_ids: ids of the passages' nodes, in the order of their citations.
        chunks: indexes of all chunks that they are made of, ascending.
        cited: whether the answer points at one of them.

    """

    document_id: str
    chunk_ids: tuple[str, ...]
    chunks: tuple[int, ...]
    cited: bool


@dataclass(frozen=True, slots=True)
class AnswerEvidence:
    """An answer, to whom it was given, and what it showed.

    Attributes:
        key_id: of the API key that it was asked with; None: it came without one.
        outcome: how it ended: a finish reason, the slug of an error, ``cancelled`` where nobody waited for its end.
        conversation_id: None where no conversation keeps it.

    """

    id: UUID
    at: datetime
    tenant: str
    subject: str
    key_id: str | None
    operation: Operation
    outcome: str
    collection: str
    generation: str
    shown: tuple[Shown, ...]
    request_id: str | None = None
    trace_id: str | None = None
    conversation_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class DocumentAnswer:
    """An answer as a document's list has it: with that document's passages, and its rating by whom it was given to."""

    id: UUID
    at: datetime
    subject: str
    key_id: str | None
    operation: Operation
    outcome: str
    document_id: str
    collection: str
    generation: str
    chunk_ids: Sequence[str]
    chunks: Sequence[int]
    cited: bool
    request_id: str | None
    trace_id: str | None
    conversation_id: UUID | None
    rating: str | None = None
    rated_at: datetime | None = None

    def json_line(self) -> str:
        """Return it as a line of JSON Lines, without the rating, which `EvidenceStore.every` does not look up."""
        members = asdict(self) | {"at": self.at.isoformat()}
        return json.dumps({name: members[name] for name in members if name not in {"rating", "rated_at"}}, default=str)


class EvidenceStore:
    """The record of one tenant's answers; who does not see the whole tenant sees his own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @rerun_on_conflict
    @for_all_tenants
    async def write(self, answers: Sequence[AnswerEvidence]) -> None:
        """Keep answers, also those of several tenants; what is kept already stays, what no tenant has is left out."""
        rows = [row for answer in answers for row in _rows(answer)]
        async with self._database.connection() as connection:
            await connection.execute(_WRITE, json.dumps(rows))

    async def list(
        self, document_id: str, *, collection: str, limit: int, cursor: str | None = None, cited: bool | None = None
    ) -> Page[DocumentAnswer]:
        """List the answers that showed passages of a document, the latest first; also of one that was deleted.

        Raises:
            InvalidCursor: Footnote did not issue the cursor.

        """
        before, before_id = decode_moment(cursor)
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _LIST, current_tenant(), collection, document_id, before, before_id, cited, limit + 1
            )
        items = tuple(map(_answer, rows[:limit]))
        last = items[-1] if len(rows) > limit else None
        return Page(items, encode_moment(last.at, last.id) if last else None)

    async def every(self) -> AsyncIterator[DocumentAnswer]:
        """Give all that is kept of the tenant, by answer; no transaction lasts from page to page."""
        last: tuple[UUID | None, str] = (None, "")
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(_EVERY, current_tenant(), *last, PAGE)
            for row in rows:
                yield _answer(row)
            if len(rows) < PAGE:
                return
            last = rows[-1]["id"], rows[-1]["document_id"]

    @for_all_tenants
    async def forget_old(self, *, days: float) -> int:
        """Delete a bounded number of rows of all tenants that are older than `days`; return how many."""
        async with self._database.connection() as connection:
            done = await connection.execute(_FORGET, timedelta(days=days), FORGOTTEN_AT_ONCE)
        return int(done.split()[-1])


# a tenant may be gone by now
_WRITE = """
    INSERT INTO footnote.evidence (tenant_id, answer_id, document_id, at, subject, key_id, operation, outcome,
        collection, generation, chunk_ids, chunks, cited, request_id, trace_id, conversation_id)
    SELECT r.* FROM jsonb_to_recordset($1::jsonb) AS r (tenant_id text, answer_id uuid, document_id text,
        at timestamptz, subject text, key_id text, operation text, outcome text, collection text, generation text,
        chunk_ids text[], chunks integer[], cited boolean, request_id text, trace_id text, conversation_id uuid)
    JOIN footnote.tenants t ON t.id = r.tenant_id AND t.status <> 'deleting'
    ORDER BY r.tenant_id, r.answer_id, r.document_id ON CONFLICT DO NOTHING"""
_COLUMNS = """e.answer_id AS id, e.at, e.subject, e.key_id, e.operation, e.outcome, e.document_id, e.collection,
    e.generation, e.chunk_ids, e.chunks, e.cited, e.request_id, e.trace_id, e.conversation_id"""
_LIST = f"""
    SELECT {_COLUMNS}, f.rating, f.updated_at AS rated_at FROM (
        SELECT * FROM footnote.evidence
        WHERE tenant_id = $1 AND collection = $2 AND document_id = $3
            AND (at, answer_id) < (coalesce($4::timestamptz, 'infinity'), $5::uuid)
            AND ($6::boolean IS NULL OR cited = $6)
        ORDER BY at DESC, answer_id DESC LIMIT $7
    ) e LEFT JOIN LATERAL (
        SELECT rating, updated_at FROM footnote.feedback
        WHERE tenant_id = e.tenant_id AND trace_id = e.trace_id AND subject = e.subject
    ) f ON true
    ORDER BY e.at DESC, e.answer_id DESC"""
_EVERY = f"""
    SELECT {_COLUMNS} FROM footnote.evidence e
    WHERE tenant_id = $1 AND ($2::uuid IS NULL OR (answer_id, document_id) > ($2, $3))
    ORDER BY answer_id, document_id LIMIT $4"""
_FORGET = """
    DELETE FROM footnote.evidence e USING (
        SELECT tenant_id, answer_id, document_id FROM footnote.evidence
        WHERE at < clock_timestamp() - $1::interval ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) old
    WHERE (e.tenant_id, e.answer_id, e.document_id) = (old.tenant_id, old.answer_id, old.document_id)"""


def _rows(answer: AnswerEvidence) -> list[dict[str, object]]:
    shared = {
        "tenant_id": answer.tenant,
        "answer_id": str(answer.id),
        "at": answer.at.isoformat(),
        "subject": answer.subject,
        "key_id": answer.key_id,
        "operation": answer.operation,
        "outcome": answer.outcome,
        "collection": answer.collection,
        "generation": answer.generation,
        "request_id": answer.request_id,
        "trace_id": answer.trace_id,
        "conversation_id": None if answer.conversation_id is None else str(answer.conversation_id),
    }
    return [shared | _of_document(shown) for shown in answer.shown]


def _of_document(shown: Shown) -> dict[str, object]:
    return {
        "document_id": storable(shown.document_id),
        "chunk_ids": [storable(each) for each in shown.chunk_ids],
        "chunks": list(shown.chunks),
        "cited": shown.cited,
    }


def _answer(row: asyncpg.Record) -> DocumentAnswer:
    return DocumentAnswer(**row)
