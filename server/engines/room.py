"""Fitting passages into the context window."""

from __future__ import annotations

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.engines.record import Record

CHARACTERS_A_TOKEN = 3.0  # fewer than any tokenizer has for prose, so that a prompt never overflows
PROMPT_TOKENS = 400  # instructions, question and the frame around the passages
FRAME_CHARACTERS = 100  # number and place of a passage


class FitContextWindow(BaseNodePostprocessor):
    """Drops the last passages if all of them would overflow the model's context window, and notes how many.

    It runs before the sources are sent, so that they are exactly what the model reads. `reserved` tokens of the window
    are for the answer and the conversation; `message` is the length in characters of the message in the prompt, if it
    differs from the query.
    """

    context_window: int
    reserved: int
    message: int = 0
    _record: Record = PrivateAttr()

    def __init__(self, *, context_window: int, reserved: int, message: int, record: Record) -> None:
        super().__init__(context_window=context_window, reserved=reserved, message=message)
        self._record = record

    def room(self, query: str) -> float:
        """Return how many characters of passages fit into the prompt, their framing included; possibly none."""
        question = max(self.message, len(query))
        return (self.context_window - self.reserved - PROMPT_TOKENS) * CHARACTERS_A_TOKEN - question

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        room = self.room(query_bundle.query_str if query_bundle else "")
        kept: list[NodeWithScore] = []
        for node in nodes:
            room -= len(node.node.get_content()) + FRAME_CHARACTERS
            if (
                room < 0 and kept
            ):  # at least one passage is kept; the provider reports an error if even that is too long
                break
            kept.append(node)
        if left_out := len(nodes) - len(kept):
            self._record.note(
                f"The model reads {len(kept)} of {len(nodes)} passages found: there is no room for {left_out} more."
            )
        return kept

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return self._postprocess_nodes(nodes, query_bundle)  # LlamaIndex's own starts a thread for it
