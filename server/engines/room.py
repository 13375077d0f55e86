"""Fitting passages into the context window."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from config.settings import SettingsError
from embedding.tokenizer import load_tokenizer
from server.engines.models.estimates import CHARACTERS_A_TOKEN
from server.engines.record import Record

FRAME_TOKENS = 100  # what a chat's own frame around the messages may take
FRAME_CHARACTERS = 100  # number and place of a passage
SAMPLE = 300  # characters
COUNTED = 20_000  # characters; the tokens of longer texts are estimated from so many


class TokenCounter:
    """Counts tokens with a model's ``tokenizer.json``: the language model's, or one like it."""

    def __init__(self, tokenizer_file: Path) -> None:
        self._file = str(tokenizer_file)

    def count(self, text: str) -> int:
        """Return the number of tokens of a text; an estimate where it is long."""
        counted = len(load_tokenizer(self._file).encode(text[:COUNTED], add_special_tokens=False).ids)
        return counted if len(text) <= COUNTED else int(counted * len(text) / COUNTED)


def check_tokenizer(file: Path) -> None:
    """Check that a file is a tokenizer.

    Raises:
        SettingsError: it is none.

    """
    try:
        TokenCounter(file).count("word")
    except Exception as exc:  # noqa: BLE001 (tokenizers raises nothing more precise)
        msg = f"FOOTNOTE_LLM__TOKENIZER={file} is no tokenizer.json: {exc}"
        raise SettingsError(msg) from None


class FitContextWindow(BaseNodePostprocessor):
    """Drops the last passages if all of them would overflow the model's context window, and notes how many.

    It runs before the sources are sent, so that they are exactly what the model reads. `reserved` tokens of the window
    are for the answer, the conversation and the instructions; `message` is the message in the prompt, where it differs
    from the query. `count` counts tokens.
    """

    context_window: int
    reserved: int
    message: str = ""
    _record: Record = PrivateAttr()
    _count: Callable[[str], int] = PrivateAttr()

    def __init__(
        self, *, context_window: int, reserved: int, message: str, record: Record, count: Callable[[str], int]
    ) -> None:
        super().__init__(context_window=context_window, reserved=reserved, message=message)
        self._record = record
        self._count = count

    def room(self, query: str) -> float:
        """Return how many characters of passages fit into the prompt, their framing included; possibly none.

        Passages are taken to be written as the question is.
        """
        sample = f"{query} " * ceil(SAMPLE / (len(query) + 1))
        return self._tokens_left(query) * min(CHARACTERS_A_TOKEN, len(sample) / self._count(sample))

    def _tokens_left(self, query: str) -> int:
        question = max(self._count(self.message), self._count(query))
        return self.context_window - self.reserved - FRAME_TOKENS - question

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        room = float(self._tokens_left(query_bundle.query_str if query_bundle else ""))
        kept: list[NodeWithScore] = []
        for node in nodes:
            room -= self._count(node.node.get_content()) + FRAME_CHARACTERS / CHARACTERS_A_TOKEN
            if (
                room < 0 and kept
            ):  # at least one passage is kept; the provider reports an error if even that is too long
                break
            kept.append(node)
        if (trail := self._record.trail) is not None:
            for node in nodes[len(kept) :]:
                trail.tell(node.node.node_id, "no_room")
        if left_out := len(nodes) - len(kept):
            self._record.note(
                f"The model reads {len(kept)} of {len(nodes)} passages found: there is no room for {left_out} more."
            )
        return kept

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return self._postprocess_nodes(nodes, query_bundle)  # LlamaIndex's own starts a thread for it
