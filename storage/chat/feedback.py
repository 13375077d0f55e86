"""What people think of answers: one rating a trace, and, where a conversation had the answer, what was said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from storage.caller import current_tenant
from storage.cursors import Page, decode_moment, encode_moment
from storage.database import storable
from storage.errors import FeedbackNotFound

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Database

Rating = Literal["up", "down"]
EXPORT_PAGE = 50


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """What somebody thinks of an answer.

    Attributes:
        trace_id: of the answer, 32 lowercase hex digits.
        question, answer, document_ids, collection: what the client knows of an answer that no conversation keeps.

    """

    trace_id: str
    rating: Rating
    comment: str | None = None
    question: str | None = None
    answer: str | None = None
    document_ids: tuple[str, ...] | None = None
    collection: str | None = None


@dataclass(frozen=True, slots=True)
class KeptRating:
    """A rating as it was kept.

    Attributes:
        created_at: when the trace was first rated.
        updated_at: when its rating was last given.
        is_news: whether the trace had no rating before, or another one.

    """

    id: str
    trace_id: str
    rating: Rating
    created_at: datetime
    updated_at: datetime
    is_news: bool


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """A rating and the answer that it is about, as far as either is known: a line of the evaluation set.

    A conversation's turn of the same trace is believed before what the client said.

    Attributes:
        question: as it was searched for, so that it can be understood alone.
        document_ids: of the cited documents, in the order of their citations; None: nobody told.
        conversation_id: None where no conversation keeps the answer.

    """

    id: str
    trace_id: str
    rating: Rating
    comment: str | None
    created_at: datetime
    updated_at: datetime
    question: str | None
    answer: str | None
    document_ids: tuple[str, ...] | None
    conversation_id: str | None
    collection: str | None
    generation: str | None
    model: str | None

    def json_line(self) -> str:
        """Return it as a line of JSON Lines, in ASCII: no encoding and no exotic line end can break it."""
        return json.dumps(asdict(self), default=datetime.isoformat)


class FeedbackStore:
    """Ratings of one tenant's answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, given: NewFeedback) -> KeptRating:
        """Keep a rating; it takes the place of the trace's earlier one, and of its comment.

        What is known of the answer stays where the new rating does not tell it.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                _PUT,
                uuid4(),
                current_tenant(),
                given.trace_id,
                given.rating,
                _text(given.comment),
                _text(given.question),
                _text(given.answer),
                None if given.document_ids is None else [storable(each) for each in given.document_ids],
                given.collection,
            )
        assert row is not None  # noqa: S101 (RETURNING)
        return KeptRating(
            id=str(row["id"]),
            trace_id=given.trace_id,
            rating=given.rating,
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            is_news=row["rating_before"] != given.rating,
        )

    async def list(self, *, limit: int, cursor: str | None, rating: Rating | None = None) -> Page[RatedAnswer]:
        """List ratings with their answers, the newest first; a rating that is changed keeps its place.

        Raises:
            InvalidCursor: the cursor is none of ours.

        """
        before, before_id = decode_moment(cursor)
        async with self._database.connection() as connection:
            rows = await connection.fetch(_RATED, current_tenant(), before, before_id, rating, limit + 1)
        items = tuple(_rated(row) for row in rows[:limit])
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(items, encode_moment(last["created_at"], last["id"]) if last else None)

    async def every(self, *, rating: Rating | None = None) -> AsyncIterator[RatedAnswer]:
        """Give every rating with its answer, the newest first, in memory for a page of them.

        No transaction lasts from page to page: whoever reads may take hours.
        """
        cursor: str | None = None
        while True:
            page = await self.list(limit=EXPORT_PAGE, cursor=cursor, rating=rating)
            for item in page.items:
                yield item
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    async def delete(self, feedback_id: str) -> None:
        """Delete a rating with all that was told with it.

        Raises:
            FeedbackNotFound: there is none.

        """
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                "DELETE FROM footnote.feedback WHERE tenant_id = $1 AND id = $2 RETURNING true",
                current_tenant(),
                _feedback_uuid(feedback_id),
            )
        if not found:
            raise FeedbackNotFound(feedback_id)


# the subquery reads the table as it was before the statement
_PUT = """
    INSERT INTO footnote.feedback AS f
        (id, tenant_id, trace_id, rating, comment, question, answer, document_ids, collection)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (tenant_id, trace_id, subject) DO UPDATE SET rating = excluded.rating, comment = excluded.comment,
        question = coalesce(excluded.question, f.question), answer = coalesce(excluded.answer, f.answer),
        document_ids = coalesce(excluded.document_ids, f.document_ids),
        collection = coalesce(excluded.collection, f.collection), updated_at = now()
    RETURNING id, created_at, updated_at,
        (SELECT rating FROM footnote.feedback WHERE tenant_id = $2 AND trace_id = $3
            AND subject = current_setting('footnote.subject')) AS rating_before"""

# the page is cut before its answers are looked up; a trace with several answers tells of the last
_RATED = """
    SELECT f.id, f.trace_id, f.rating, f.comment, f.created_at, f.updated_at, t.conversation_id, t.generation, t.model,
        coalesce(t.question, f.question) AS question, coalesce(nullif(t.answer, ''), f.answer) AS answer,
        coalesce(t.document_ids, f.document_ids) AS document_ids, coalesce(t.collection, f.collection) AS collection
    FROM (
        SELECT * FROM footnote.feedback
        WHERE tenant_id = $1 AND (created_at, id) < (coalesce($2::timestamptz, 'infinity'), $3::uuid)
            AND ($4::text IS NULL OR rating = $4)
        ORDER BY created_at DESC, id DESC LIMIT $5
    ) f LEFT JOIN LATERAL (
        SELECT conversation_id, coalesce(standalone_question, question) AS question, answer, generation, model,
            c.collection, ARRAY(
                SELECT citation ->> 'document_id'
                FROM jsonb_array_elements(citations) WITH ORDINALITY AS cited (citation, place)
                WHERE (citation ->> 'cited')::boolean GROUP BY 1 ORDER BY min(place)
            ) AS document_ids
        FROM footnote.turns JOIN footnote.conversations c ON c.id = conversation_id
        WHERE turns.tenant_id = f.tenant_id AND turns.trace_id = f.trace_id ORDER BY asked_at DESC LIMIT 1
    ) t ON true
    ORDER BY f.created_at DESC, f.id DESC"""


def _rated(row: asyncpg.Record) -> RatedAnswer:
    documents, conversation = row["document_ids"], row["conversation_id"]
    return RatedAnswer(
        id=str(row["id"]),
        trace_id=row["trace_id"],
        rating=row["rating"],
        comment=row["comment"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        question=row["question"],
        answer=row["answer"],
        document_ids=None if documents is None else tuple(documents),
        conversation_id=None if conversation is None else str(conversation),
        collection=row["collection"],
        generation=row["generation"],
        model=row["model"],
    )


def _text(text: str | None) -> str | None:
    """Return what is kept of a text; an empty one says nothing."""
    return storable(text or "") or None


def _feedback_uuid(feedback_id: str) -> UUID:
    try:
        return UUID(feedback_id)
    except ValueError:
        raise FeedbackNotFound(feedback_id[:80]) from None
