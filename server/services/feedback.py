"""What people think of answers: kept, counted, and told on the answer's trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.telemetry import metrics, spans
from storage.chat.feedback import KeptRating, NewFeedback, RatedAnswer, Rating
from storage.cursors import Page

if TYPE_CHECKING:
    from storage.chat.feedback import FeedbackStore

REMARK = "footnote.feedback"


class Feedback:
    """Ratings of answers. Every method raises `FootnoteError`s only, apart from defects."""

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store

    async def give(self, given: NewFeedback, /) -> KeptRating:
        """Keep a rating in place of the trace's earlier one.

        It is counted, and told on the trace, where it is the first or another one: not when a comment follows it.
        Neither says more than the rating.
        """
        kept = await self._store.put(given)
        if kept.is_news:
            labels = {"footnote.rating": kept.rating}
            metrics.FEEDBACK.add(1, labels)
            spans.remark(kept.trace_id, REMARK, labels)
        return kept

    async def list(self, *, limit: int, cursor: str | None, rating: Rating | None) -> Page[RatedAnswer]:
        """List ratings with their answers, the newest first."""
        return await self._store.list(limit=limit, cursor=cursor, rating=rating)

    async def delete(self, feedback_id: str, /) -> None:
        """Delete a rating with all that was told with it."""
        await self._store.delete(feedback_id)
