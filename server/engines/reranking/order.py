"""Validating a ranking: no passage unknown, missing or repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from llama_index.core.schema import NodeWithScore

from server.engines.reranking.troubles import RerankNonsense


def in_order(ranked: Sequence[NodeWithScore], *, of: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """Return the passages `of` a search in the order of `ranked`, with scores that never increase.

    Omitted passages come last, in their original order, with the lowest score. If the ranking has an order but no
    matching scores, as a permutation by a language model, the scores are 1, 1/2, 1/3, ….

    Raises:
        RerankNonsense: it is empty, has an unknown passage, one twice, or a score that is no number.

    """
    given = {each.node.node_id: each for each in of}
    ids = [each.node.node_id for each in ranked]
    if given and not ids:
        msg = "the reranker ranked nothing"
        raise RerankNonsense(msg)
    if len(set(ids)) < len(ids) or not given.keys() >= set(ids):
        msg = "the reranker named a passage twice, or one that it was not given"
        raise RerankNonsense(msg)
    scores = _scores(ranked)
    left_out = [node_id for node_id in given if node_id not in set(ids)]
    least = min(scores, default=0.0)
    return [
        NodeWithScore(node=given[node_id].node, score=score)
        for node_id, score in zip([*ids, *left_out], [*scores, *[least] * len(left_out)], strict=True)
    ]


def _scores(ranked: Sequence[NodeWithScore]) -> list[float]:
    scores = [None if each.score is None else float(each.score) for each in ranked]
    known = [score for score in scores if score is not None]
    if not all(map(math.isfinite, known)):
        msg = "the reranker gave a score that is no number"
        raise RerankNonsense(msg)
    if len(known) < len(scores) or any(one < other for one, other in pairwise(known)):
        return [1 / rank for rank in range(1, len(scores) + 1)]
    return known
