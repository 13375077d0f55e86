"""What people think of answers: one rating a trace, and, where a conversation had the answer, what was said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from storage.caller import caller, current_tenant
from storage.chat.conversations import EXTRACTIVE, WITHHELD
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_moment, encode_moment
from storage.database import storable
from storage.errors import AnswerNotFound, FeedbackNotFound
from storage.reach import is_reachable, reachable_collections

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database

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
        answer_id: of the answer in the record of what was shown; None: it is not there.

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
    answer_id: str | None = None

    def json_line(self) -> str:
        """Return it as a line of JSON Lines, in ASCII: no encoding and no exotic line end can break it."""
        return json.dumps(asdict(self), default=datetime.isoformat)


class FeedbackStore:
    """Ratings of one tenant's answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @rerun_on_conflict
    async def put(self, given: NewFeedback) -> KeptRating:
        """Keep a rating; it takes the place of the trace's earlier one, and of its comment.

        What is known of the answer stays where the new rating does not tell it.

        Raises:
            AnswerNotFound: the answer is known to be about a collection that the caller may not reach.

        """
        async with self._database.transaction() as connection:
            if not await _is_within_reach(connection, given.trace_id):
                raise AnswerNotFound(given.trace_id)
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

        Of documents that the caller may not read, or no longer, it has no id, and no answer that was quoted from them.

        Raises:
            InvalidCursor: the cursor is none of ours.

        """
        before, before_id = decode_moment(cursor)
        async with self._database.connection() as connection:
            rows = await connection.fetch(_RATED, current_tenant(), before, before_id, rating, limit + 1)
            readable = await _readable(connection, rows)
        items = tuple(_rated(row, readable) for row in rows[:limit])
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

    @rerun_on_conflict
    async def delete(self, feedback_id: str) -> None:
        """Delete a rating with all that was told with it.

        Raises:
            FeedbackNotFound: there is none, or it is about a collection that the caller may not reach.

        """
        own = _feedback_uuid(feedback_id)
        async with self._database.transaction() as connection:
            rated = await connection.fetchrow(
                "SELECT trace_id, subject FROM footnote.feedback WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
                current_tenant(),
                own,
            )
            if rated is None or not await _is_within_reach(connection, rated["trace_id"], subject=rated["subject"]):
                raise FeedbackNotFound(feedback_id)
            await connection.execute(
                "DELETE FROM footnote.feedback WHERE tenant_id = $1 AND id = $2", current_tenant(), own
            )


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

# the page is cut before its answers are looked up; a trace with several answers tells of the last. A client may begin
# its answer in another's trace: only answers to whoever rated are meant
_RATED = """
    SELECT f.id, f.trace_id, f.rating, f.comment, f.created_at, f.updated_at, t.conversation_id,
        coalesce(t.generation, e.generation) AS generation, t.model, e.answer_id,
        coalesce(t.question, f.question) AS question, coalesce(nullif(t.answer, ''), f.answer) AS answer,
        coalesce(t.document_ids, f.document_ids, e.document_ids) AS document_ids,
        coalesce(t.collection, f.collection, e.collection) AS collection,
        coalesce(t.finish_reason, e.outcome) AS finish_reason, coalesce(t.shown, e.shown) AS shown
    FROM (
        SELECT * FROM footnote.feedback
        WHERE tenant_id = $1 AND (created_at, id) < (coalesce($2::timestamptz, 'infinity'), $3::uuid)
            AND ($4::text IS NULL OR rating = $4)
        ORDER BY created_at DESC, id DESC LIMIT $5
    ) f LEFT JOIN LATERAL (
        SELECT conversation_id, coalesce(standalone_question, question) AS question, answer, generation, model,
            c.collection, finish_reason,
            ARRAY(SELECT citation ->> 'document_id' FROM jsonb_array_elements(citations) AS citation) AS shown, ARRAY(
                SELECT citation ->> 'document_id'
                FROM jsonb_array_elements(citations) WITH ORDINALITY AS cited (citation, place)
                WHERE (citation ->> 'cited')::boolean GROUP BY 1 ORDER BY min(place)
            ) AS document_ids
        FROM footnote.turns JOIN footnote.conversations c ON c.id = conversation_id
        WHERE turns.tenant_id = f.tenant_id AND turns.trace_id = f.trace_id AND c.subject = f.subject
        ORDER BY asked_at DESC LIMIT 1
    ) t ON true LEFT JOIN LATERAL (
        SELECT answer_id, min(generation) AS generation, min(collection) AS collection,
            min(outcome) AS outcome, array_agg(document_id) AS shown,
            array_agg(document_id ORDER BY document_id) FILTER (WHERE cited) AS document_ids
        FROM footnote.evidence
        WHERE tenant_id = f.tenant_id AND trace_id = f.trace_id AND subject = f.subject
        GROUP BY answer_id ORDER BY max(at) DESC LIMIT 1
    ) e ON true
    ORDER BY f.created_at DESC, f.id DESC"""


# everything that says what a subject's answers of a trace are about
_ABOUT = """
    SELECT collection FROM footnote.feedback WHERE tenant_id = $1 AND trace_id = $2 AND collection IS NOT NULL
        AND subject = coalesce($3, current_setting('footnote.subject'))
    UNION SELECT c.collection FROM footnote.turns t JOIN footnote.conversations c ON c.id = t.conversation_id
        WHERE t.tenant_id = $1 AND t.trace_id = $2 AND c.subject = coalesce($3, current_setting('footnote.subject'))
    UNION SELECT collection FROM footnote.evidence WHERE tenant_id = $1 AND trace_id = $2
        AND subject = coalesce($3, current_setting('footnote.subject'))"""


async def _is_within_reach(connection: Connection, trace_id: str, *, subject: str | None = None) -> bool:
    """Tell whether all that is known of a subject's answers of a trace may be reached; None: of the caller's own."""
    if reachable_collections() is None:
        return True
    about = await connection.fetch(_ABOUT, current_tenant(), trace_id, subject)
    return all(is_reachable(row["collection"]) for row in about)


_READABLE = """
    SELECT c.name, d.id FROM footnote.collections c
        JOIN footnote.generations g ON g.collection_id = c.id AND g.state = 'active'
        JOIN footnote.documents d ON d.generation_id = g.id
    WHERE c.tenant_id = $1 AND c.deleted_at IS NULL AND d.id = ANY($2)"""


async def _readable(connection: Connection, rows: Sequence[asyncpg.Record]) -> set[tuple[str, str]] | None:
    """Return the collections and ids of documents that the caller may read today; None: he sees all of the tenant."""
    who = caller()
    if who is None or who.sees_all:
        return None
    named = {each for row in rows for each in (*(row["document_ids"] or ()), *(row["shown"] or ()))}
    found = await connection.fetch(_READABLE, current_tenant(), list(named))
    return {(each["name"], each["id"]) for each in found}


def _rated(row: asyncpg.Record, readable: set[tuple[str, str]] | None) -> RatedAnswer:
    documents, conversation, answer = row["document_ids"], row["conversation_id"], row["answer_id"]
    text, collection = row["answer"], row["collection"]
    if readable is not None:
        if documents is not None and collection is not None:
            documents = [each for each in documents if (collection, each) in readable]
        hides = any((collection, each) not in readable for each in row["shown"] or ())
        if text and row["finish_reason"] == EXTRACTIVE and hides:
            text = WITHHELD
    return RatedAnswer(
        id=str(row["id"]),
        trace_id=row["trace_id"],
        rating=row["rating"],
        comment=row["comment"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        question=row["question"],
        answer=text,
        document_ids=None if documents is None else tuple(documents),
        conversation_id=None if conversation is None else str(conversation),
        collection=collection,
        generation=row["generation"],
        model=row["model"],
        answer_id=None if answer is None else str(answer),
    )


def _text(text: str | None) -> str | None:
    """Return what is kept of a text; an empty one says nothing."""
    return storable(text or "") or None


def _feedback_uuid(feedback_id: str) -> UUID:
    try:
        return UUID(feedback_id)
    except ValueError:
        raise FeedbackNotFound(feedback_id[:80]) from None
