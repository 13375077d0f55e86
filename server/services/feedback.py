"""Ratings of answers: stored, counted, and added to the answer's trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.telemetry import metrics, spans

if TYPE_CHECKING:
    from storage.chat.feedback import FeedbackStore, KeptRating, NewFeedback

REMARK = "footnote.feedback"


async def rate(store: FeedbackStore, given: NewFeedback) -> KeptRating:
    """Store a rating in place of the trace's earlier one.

    The metric and the trace hold the rating alone, and only where it is the first or differs from the earlier one: a
    comment that follows is not counted again.
    """
    kept = await store.put(given)
    if kept.is_news:
        labels = {"footnote.rating": kept.rating}
        metrics.FEEDBACK.add(1, labels)
        spans.remark(kept.trace_id, REMARK, labels)
    return kept
