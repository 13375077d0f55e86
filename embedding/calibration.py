"""Cosines below which a model's passages say nothing of a question, by model, as they were measured."""

from __future__ import annotations

from embedding.files import BUNDLED

LEAST_SCORES = {BUNDLED: 0.15}
"""What was measured: docs/models/embeddings.md. Each model has a scale of its own: a bar of another's hides passages,
or bars none."""


def least_score(model: str) -> float:
    """Return the bar for a model's passages; 0, which is none, where its scale is not known."""
    return LEAST_SCORES.get(model.rpartition("/")[2], 0.0)
