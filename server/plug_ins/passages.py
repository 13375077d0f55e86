"""What a plug-in's passages are to their reader: passages of documents, the plug-in's own, or nothing.

A node counts as a passage of a document if the caller may read a stored chunk of its id in the question's collection,
within the question's filters. It is shown as it is stored, whatever the plug-in made of it, so that its footnote can be
checked; only what Footnote itself has joined or widened for this question stays as it is. Every other node is left out,
or, where the operator says that the plug-in brings passages of its own, shown as the plug-in's.

Of the passages that a plug-in was given it may change texts, order and scores, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from llama_index.core.schema import NodeWithScore, TextNode

from server.answers import is_blank
from server.engines.node_fields import plain, well_formed
from server.engines.parts import EngineParts
from server.plug_ins.calls import Calls

MOST = 1000
LONGEST = 100_000  # characters of a passage of a plug-in's own
NONE_GIVEN: Mapping[str, NodeWithScore] = MappingProxyType({})


async def shown_to_caller(
    nodes: Any,  # noqa: ANN401 (whatever the plug-in returned)
    parts: EngineParts,
    calls: Calls,
    *,
    given: Mapping[str, NodeWithScore] = NONE_GIVEN,
    numbered: bool = False,
) -> list[NodeWithScore]:
    """Return a plug-in's nodes as the caller may see them, in order, at most `MOST`.

    Each counts once, and those without a word not at all, unless they are `numbered`: an answer of the plug-in's own
    points at them by their places. `given` are the passages that the plug-in got, by id, as they were before.

    Raises:
        PlugInFailed: these are no nodes, or cannot be read.

    """
    found = checked_nodes(nodes, calls)[:MOST]
    with calls.named():
        ids = [each.node_id for each in found]
    stored = await _readable([each for each in ids if each not in given], parts)
    kept: list[NodeWithScore] = []
    unreadable, blank, taken = 0, 0, set[str]()
    with calls.named():
        for number, (id_, each) in enumerate(zip(ids, found, strict=True), 1):
            if id_ in given:
                shown = _changed(given[id_], each)
            elif id_ in stored:
                is_widened = len(parts.record.chunks.get(id_, ())) > 1
                shown = each if is_widened else NodeWithScore(node=stored[id_], score=_score(each))
            elif calls.brings_passages:
                shown = _own(each, number, calls)
            else:
                unreadable += 1
                continue
            if not numbered and is_blank(shown.node.get_content()):
                blank += 1
            elif numbered or shown.node_id not in taken:
                taken.add(shown.node_id)
                kept.append(shown)
    _note(unreadable, "of no document that may be read here", parts, calls)
    _note(blank, "without a word", parts, calls)
    return kept


def checked_nodes(nodes: Any, calls: Calls) -> list[NodeWithScore]:  # noqa: ANN401 (see above)
    """Return a plug-in's nodes.

    Raises:
        PlugInFailed: they are none.

    """
    if not isinstance(nodes, list | tuple):
        raise calls.unfit(nodes, "a list of NodeWithScore")
    if strange := next((each for each in nodes if not isinstance(each, NodeWithScore)), None):
        raise calls.unfit(strange, "NodeWithScore in a list")
    return list(nodes)


async def _readable(node_ids: Sequence[str], parts: EngineParts) -> dict[str, Any]:
    if not node_ids:
        return {}
    question = parts.question
    found = await parts.store.readable_nodes(node_ids, filters=question.filters)
    documents = None if question.document_ids is None else set(question.document_ids)
    return {node.node_id: node for node in found if documents is None or node.ref_doc_id in documents}


def _changed(before: NodeWithScore, after: NodeWithScore) -> NodeWithScore:
    """Return a passage with the text and the score that a plug-in gave it, and all else as it was.

    Its offsets are those of its text where that is a part of what it was; else it stands nowhere: both are the same.
    """
    node, text = before.node, well_formed(after.node.get_content())[:LONGEST]
    was = node.get_content()
    if text == was or after.node.get_content() == was:
        return NodeWithScore(node=node, score=_score(after))
    start, end = getattr(node, "start_char_idx", None) or 0, getattr(node, "end_char_idx", None)
    place = was.find(text) if end is not None and end - start == len(was) else -1
    offsets = (start, start) if place < 0 else (start + place, start + place + len(text))
    changes = {"text": text, "start_char_idx": offsets[0], "end_char_idx": offsets[1]}
    return NodeWithScore(node=node.model_copy(update=changes), score=_score(after))


def _own(found: NodeWithScore, number: int, calls: Calls) -> NodeWithScore:
    """Return a node as the plug-in's own passage, without ids that could be those of documents."""
    metadata = {well_formed(str(key)): plain(value) for key, value in found.node.metadata.items()}
    if origin := metadata.pop("source", None):
        metadata["origin"] = origin
    node = TextNode(
        id_=f"plug-in:{calls.name}:{number}",
        text=well_formed(found.node.get_content())[:LONGEST],
        metadata={**metadata, "source": f"plug-in:{calls.name}"},
    )
    return NodeWithScore(node=node, score=_score(found))


def _score(found: NodeWithScore) -> float:
    score = found.score
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else 0.0


def _note(left_out: int, why: str, parts: EngineParts, calls: Calls) -> None:
    if left_out:
        parts.record.note(
            f"{left_out} passage{'s' if left_out > 1 else ''} of the plug-in {calls.name!r} left out: {why}"
        )
