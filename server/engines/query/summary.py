"""Summaries: whole documents, read from beginning to end in a bounded number of model calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import ChatMessage
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import BaseSynthesizer

from server.engines.abilities import conversational
from server.engines.assembly import plugged_in
from server.engines.models.model import LanguageModel
from server.engines.parts import Conversation, EngineParts
from server.engines.query.summary_overview import overview
from server.engines.query.summary_reading import Shortfall, WholeDocuments, bounds_of, calls_of
from server.engines.room import FRAME_CHARACTERS
from server.engines.writing.consulting import all_of, consult
from server.engines.writing.prompts import (
    MERGING_SYSTEM,
    READING_SYSTEM,
    Passage,
    combining_messages,
    numbered_messages,
)
from server.engines.writing.synthesis import CitingSynthesizer, ExtractiveSynthesizer, quoted, written

NOTES_TOKENS = 350  # of one call that reads
LEAST_NOTES = 100  # characters that are left of them
_NO_CONVERSATION = Conversation()


class ReadingSynthesizer(CitingSynthesizer):
    """Lets the model take notes on the passages, call by call, merge the notes, and stream the answer.

    What fits into one call is answered directly. Notes that do not fit are merged in groups, level by level, as in
    LlamaIndex's `TreeSummarize`; that one starts all calls at once, repacks texts on the event loop, and has no
    citations. Passages have the same numbers in all calls.
    """

    def __init__(self, parts: EngineParts, *, model: LanguageModel, shortfall: Shortfall) -> None:
        super().__init__(parts, model=model)
        self._shortfall = shortfall

    async def _pieces(self, question: str, passages: Sequence[Passage]) -> AsyncGenerator[str, None]:
        room = bounds_of(self._parts, self._standalone(question)).room
        calls = calls_of([len(passage.text) for passage in passages], room)
        if len(calls) == 1:
            pieces = self._written(question, passages)
        else:
            notes = await self._merged(question, await self._notes(question, passages, calls), room=room)
            messages = combining_messages(MERGING_SYSTEM, question, notes, self._parts.conversation)
            pieces = written(self._parts, self._model, messages)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
        yield _told(self._shortfall)

    async def _notes(self, question: str, passages: Sequence[Passage], calls: Sequence[range]) -> list[str]:
        task = self._standalone(question)
        reads = [
            partial(self._asked, numbered_messages(READING_SYSTEM, task, [(n + 1, passages[n]) for n in places]))
            for places in calls
        ]
        return await all_of(reads, at_once=self._parts.settings.engines.parallel_calls)

    async def _merged(self, question: str, notes: Sequence[str], *, room: float) -> list[tuple[str, str]]:
        """Return notes that fit into one call."""
        task = self._standalone(question)
        while len(groups := calls_of([len(note) for note in notes], room)) > 1:
            if 2 * len(groups) > len(notes):  # so long that merging them would take too many calls
                notes = [note[: max(LEAST_NOTES, int(room / len(notes)) - FRAME_CHARACTERS)] for note in notes]
                self._parts.record.notes.append("The notes of what was read were too long, and have lost their ends.")
                break
            merges = [
                partial(self._asked, combining_messages(MERGING_SYSTEM, task, _parts(notes, places), _NO_CONVERSATION))
                for places in groups
            ]
            notes = await all_of(merges, at_once=self._parts.settings.engines.parallel_calls)
        return _parts(notes, range(len(notes)))

    async def _asked(self, messages: Sequence[ChatMessage]) -> str:
        return await consult(self._parts, self._model, messages, max_tokens=NOTES_TOKENS)


class OverviewSynthesizer(ExtractiveSynthesizer):
    """Quotes representative sentences; no model is called."""

    def __init__(self, parts: EngineParts, *, shortfall: Shortfall) -> None:
        super().__init__(parts)
        self._shortfall = shortfall

    async def _pieces(self, question: str, passages: Sequence[Passage]) -> AsyncGenerator[str, None]:
        quotes = await overview(self._standalone(question), passages, embedder=self._parts.embedder)
        if not quotes:
            async for piece in super()._pieces(question, passages):
                yield piece
            return
        for piece in quoted("\n\n".join(quotes) + _told(self._shortfall), parts=self._parts):
            yield piece


def _parts(notes: Sequence[str], places: range) -> list[tuple[str, str]]:
    return [(f"Notes {place + 1} of {len(notes)}:", notes[place]) for place in places]


def _told(shortfall: Shortfall) -> str:
    return "\n\n" + " ".join(shortfall.sentences) if shortfall.sentences else ""


def build(parts: EngineParts) -> BaseQueryEngine:
    """Return the engine for one request."""
    shortfall, model = Shortfall([]), conversational(parts.model)
    synthesizer: BaseSynthesizer = OverviewSynthesizer(parts, shortfall=shortfall)
    if model is not None:
        synthesizer = ReadingSynthesizer(parts, model=model, shortfall=shortfall)
    return RetrieverQueryEngine(
        WholeDocuments(parts, shortfall=shortfall),
        response_synthesizer=synthesizer,
        node_postprocessors=[*plugged_in(parts)],
        callback_manager=CallbackManager([]),
    )
