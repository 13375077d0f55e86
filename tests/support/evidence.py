"""The record of what was shown, in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from storage.access.evidence import DocumentAnswer
from storage.cursors import Page, decode_moment, encode_moment

ANSWER = DocumentAnswer(
    id=UUID(int=1),
    at=datetime(2026, 1, 2, tzinfo=UTC),
    subject="ada",
    key_id=None,
    operation="query",
    outcome="stop",
    document_id="doc-1",
    collection="default",
    generation="g1",
    chunk_ids=("c1",),
    chunks=(0,),
    cited=True,
    request_id="r",
    trace_id=None,
    conversation_id=None,
    rating="up",
    rated_at=datetime(2026, 1, 3, tzinfo=UTC),
)


class EvidenceInMemory:
    """One answer, which showed one document."""

    async def written(self) -> None:
        """Return at once."""

    async def answers_of(
        self, document_id: str, *, collection: str, limit: int, cursor: str | None = None, cited: bool | None = None
    ) -> Page[DocumentAnswer]:
        decode_moment(cursor)
        is_there = (document_id, collection) == (ANSWER.document_id, ANSWER.collection) and cited in {None, True}
        items = (ANSWER,) if is_there and cursor is None else ()
        return Page(items, encode_moment(ANSWER.at, ANSWER.id) if items and limit == 1 else None)
