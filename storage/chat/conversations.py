"""Conversations, to list, read, rename and delete; `storage.chat.turns` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal
from uuid import UUID

from storage.caller import caller, current_tenant
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.errors import ConversationNotFound, InvalidCursor
from storage.order import MOMENT, OWN_UUID, TEXT, Ordering, containing

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database

EXTRACTIVE = "extractive"
"""How an answer ends that is quoted, not written: it is the passage itself."""

STOPPED = "stream-stopped"
"""The problem of a turn that whoever asked has stopped. It is stored as abandoned, which earlier versions know."""

WITHHELD = "This answer quoted documents that you may not read."
TurnState = Literal["running", "complete", "failed", "abandoned", "stopped"]
Sort = Literal["updated_at", "-updated_at", "created_at", "-created_at", "title", "-title"]


@dataclass(frozen=True, slots=True)
class ConversationOrder(Ordering):
    """The order of a list of conversations."""

    types: ClassVar[Mapping[str, str]] = {"id": OWN_UUID, "title": TEXT, "created_at": MOMENT, "updated_at": MOMENT}
    sort: Sort = "-updated_at"


LATEST = ConversationOrder()


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as clients see it; an answer's `state` says what became of it, `problem` is a problem's slug."""

    id: str
    role: Literal["user", "assistant"]
    content: str
    state: TurnState
    created_at: datetime
    citations: Sequence[Mapping[str, object]] = ()
    finish_reason: str | None = None
    problem: str | None = None
    standalone_question: str | None = None
    model: str | None = None
    usage: Mapping[str, int] | None = None
    generation: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """A conversation as clients see it."""

    id: str
    title: str
    collection: str
    created_at: datetime
    updated_at: datetime


class ConversationCatalog:
    """Conversations of one tenant. Every id that is none of its own is a `ConversationNotFound`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, *, limit: int, cursor: str | None, contains: str | None = None, order: ConversationOrder = LATEST
    ) -> Page[ConversationInfo]:
        """List conversations in an order.

        `contains` leaves those that have it in their title or in one of their questions, in whatever case. Answers are
        not looked into: they may quote documents that the caller may no longer read.

        Raises:
            InvalidCursor: the cursor is none of ours, or of another order.

        """
        value, own_id = order.place(cursor)
        who = caller()
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT id, title, collection, created_at, updated_at FROM footnote.conversations v
                    WHERE tenant_id = $1 AND {_ALL if who is None or who.sees_all else _OWN} AND {_CONTAINS}
                        AND {order.after("v", 4, 5)} {order.clause("v")} LIMIT $6""",
                current_tenant(),
                None if who is None or who.sees_all else who.subject,
                None if contains is None else containing(contains),
                value,
                own_id,
                limit + 1,
            )
        items = tuple(_info(row) for row in rows[:limit])
        return Page(items, order.cursor_of(items[-1]) if len(rows) > limit else None)

    async def get(self, conversation_id: str) -> ConversationInfo:
        """Describe a conversation.

        Raises:
            ConversationNotFound: there is none.

        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """SELECT id, title, collection, created_at, updated_at FROM footnote.conversations
                   WHERE tenant_id = $1 AND id = $2""",
                current_tenant(),
                conversation_uuid(conversation_id),
            )
        if row is None:
            raise ConversationNotFound(conversation_id)
        return _info(row)

    async def messages(self, conversation_id: str, *, turns: int, cursor: str | None) -> Page[StoredMessage]:
        """List the messages of a conversation, `turns` questions with their answers a page, the oldest first.

        Citations of documents that the caller may not read, or no longer, are blank and marked as ``withheld``.

        Raises:
            InvalidCursor: the cursor is none of ours.

        """
        after = decode_cursor(cursor)
        if not (after.isascii() and after.isdigit() and len(after) < 10) and after:  # noqa: PLR2004 (an integer of SQL)
            raise InvalidCursor
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _TURNS, current_tenant(), conversation_uuid(conversation_id), int(after or 0), turns + 1
            )
            readable = await _readable(connection, conversation_uuid(conversation_id), rows)
        more = len(rows) > turns
        items = tuple(message for row in rows[:turns] for message in _messages(row, readable))
        return Page(items, encode_cursor(str(rows[turns - 1]["number"])) if more else None)

    async def rename(self, conversation_id: str, *, title: str) -> None:
        """Give a conversation another title.

        Raises:
            ConversationNotFound: there is none.

        """
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                """UPDATE footnote.conversations SET title = $3 WHERE tenant_id = $1 AND id = $2 RETURNING true""",
                current_tenant(),
                conversation_uuid(conversation_id),
                title,
            )
        if not found:
            raise ConversationNotFound(conversation_id)

    @rerun_on_conflict
    async def delete(self, conversation_id: str) -> tuple[str, ...]:
        """Delete a conversation with all that was said in it and of its answers; return the ids of its streams.

        A turn that is being answered finds no row to write to.

        Raises:
            ConversationNotFound: there is none.

        """
        own = conversation_uuid(conversation_id)
        async with self._database.transaction() as connection:
            found = await connection.fetchval(
                "SELECT true FROM footnote.conversations WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
                current_tenant(),
                own,
            )
            if not found:
                raise ConversationNotFound(conversation_id)
            await connection.execute("DELETE FROM footnote.leases WHERE name = $1", lease_name(own))
            streams = await connection.fetch(
                """SELECT stream_id FROM footnote.turns
                   WHERE tenant_id = $1 AND conversation_id = $2 AND stream_id IS NOT NULL
                   ORDER BY number DESC LIMIT 100""",  # older streams are forgotten already
                current_tenant(),
                own,
            )
            await connection.execute(
                "DELETE FROM footnote.idempotency_keys WHERE tenant_id = $1 AND conversation_id = $2",
                current_tenant(),
                own,
            )
            await connection.execute(_DELETE_FEEDBACK, current_tenant(), own)
            await connection.execute(
                "DELETE FROM footnote.conversations WHERE tenant_id = $1 AND id = $2", current_tenant(), own
            )
        return tuple(row["stream_id"] for row in streams)


def conversation_uuid(conversation_id: str) -> UUID:
    """Return a conversation's id as the database has it.

    Raises:
        ConversationNotFound: no conversation has such an id.

    """
    try:
        return UUID(conversation_id)
    except ValueError:
        raise ConversationNotFound(conversation_id[:80]) from None


def lease_name(conversation_id: UUID) -> str:
    """Return the name of the lease that the writer of a conversation holds."""
    return f"conversation {conversation_id}"


# the policy says so, too, but not in a way that an index helps with
_OWN, _ALL = "subject = $2::text", "$2::text IS NULL"
_CONTAINS = """($3::text IS NULL OR title ILIKE $3 ESCAPE '!' OR EXISTS (
    SELECT FROM footnote.turns t
    WHERE t.tenant_id = $1 AND t.conversation_id = v.id AND t.question ILIKE $3 ESCAPE '!'))"""

_TURNS = """
    SELECT number, state, question_id, answer_id, question, standalone_question, answer, citations, finish_reason,
        problem, model, usage, generation, trace_id, asked_at, answered_at,
        EXISTS (SELECT FROM footnote.leases
                WHERE name = 'conversation ' || conversation_id AND expires_at >= clock_timestamp()) AS at_work
    FROM footnote.turns
    WHERE tenant_id = $1 AND conversation_id = $2 AND number > $3 ORDER BY number LIMIT $4"""

# in one order, so that two deletions of one trace's conversations do not wait for each other
_DELETE_FEEDBACK = """
    DELETE FROM footnote.feedback WHERE id IN (
        SELECT id FROM footnote.feedback WHERE tenant_id = $1 AND trace_id IN (
            SELECT trace_id FROM footnote.turns WHERE tenant_id = $1 AND conversation_id = $2)
            AND subject = (SELECT subject FROM footnote.conversations WHERE tenant_id = $1 AND id = $2)
        ORDER BY id FOR UPDATE)"""


_READABLE = """
    SELECT d.id FROM footnote.conversations v
        JOIN footnote.collections c ON c.tenant_id = v.tenant_id AND c.name = v.collection AND c.deleted_at IS NULL
        JOIN footnote.generations g ON g.collection_id = c.id AND g.state = 'active'
        JOIN footnote.documents d ON d.generation_id = g.id
    WHERE v.id = $1 AND d.id = ANY($2)"""


async def _readable(connection: Connection, conversation: UUID, rows: Sequence[asyncpg.Record]) -> set[str] | None:
    """Return the ids of cited documents that the caller may read today; None: whoever asks sees all of the tenant."""
    who = caller()
    if who is None or who.sees_all:
        return None
    cited = {str(each.get("document_id")) for row in rows for each in json.loads(row["citations"])}
    return {row["id"] for row in await connection.fetch(_READABLE, conversation, list(cited))}


def _shown(citation: Mapping[str, object], readable: set[str] | None) -> Mapping[str, object]:
    """Return a citation as it may be shown now: of a document that may not be read, only that it was there."""
    if readable is None or citation.get("document_id") in readable:
        return citation
    blank = {key: None if value is None else type(value)() for key, value in citation.items()}
    return {**blank, "id": citation.get("id"), "cited": citation.get("cited"), "withheld": True}


def _messages(row: asyncpg.Record, readable: set[str] | None) -> tuple[StoredMessage, StoredMessage]:
    state = _state(row)
    asked = StoredMessage(
        id=str(row["question_id"]), role="user", content=row["question"], state=state, created_at=row["asked_at"]
    )
    citations = [_shown(citation, readable) for citation in json.loads(row["citations"])]
    # of one that was broken off nobody knows whether it would have been quoted
    is_quoted = row["finish_reason"] in {EXTRACTIVE, None} and any(each.get("withheld") for each in citations)
    answered = StoredMessage(
        id=str(row["answer_id"]),
        role="assistant",
        content=WITHHELD if is_quoted else row["answer"],
        state=state,
        created_at=row["answered_at"] or row["asked_at"],
        citations=citations,
        finish_reason=row["finish_reason"],
        problem=row["problem"],
        standalone_question=row["standalone_question"],
        model=row["model"],
        usage=json.loads(row["usage"]) if row["usage"] else None,
        generation=row["generation"],
        trace_id=row["trace_id"],
    )
    return asked, answered


def _state(row: asyncpg.Record) -> TurnState:
    if row["state"] == "running" and not row["at_work"]:
        return "abandoned"
    state: TurnState = "stopped" if row["problem"] == STOPPED else row["state"]
    return state


def _info(row: asyncpg.Record) -> ConversationInfo:
    return ConversationInfo(
        id=str(row["id"]),
        title=row["title"],
        collection=row["collection"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
