"""Response synthesizers: LlamaIndex's interface with our prompts, streaming throughout."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cache, partial
from typing import Any

from llama_index.core.base.response.schema import RESPONSE_TYPE, AsyncStreamingResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.prompt_helper import ChatPromptHelper, PromptHelper
from llama_index.core.llms import LLM, ChatMessage, MockLLM
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.response_synthesizers.base import QueryTextType
from llama_index.core.schema import NodeWithScore

from config.errors import FootnoteError
from server.answers import Reasoning
from server.engines.models.events import Delta, Finish, Retraction
from server.engines.models.guarded import GuardedLLM
from server.engines.models.model import LanguageModel
from server.engines.models.provider import LOCAL
from server.engines.parts import EngineParts
from server.engines.quoting.finding import Finder
from server.engines.record import Quotation
from server.engines.writing.attribution import Attribution
from server.engines.writing.constrained import answer_schema, decoded
from server.engines.writing.extraction import bounded, cited
from server.engines.writing.grounding import grounded
from server.engines.writing.prompts import (
    COMPLETION_STOPS,
    Passage,
    chat_messages,
    completion_messages,
    passage_of,
    structured_messages,
)
from server.engines.writing.refusing import refusal, without_refusal
from server.engines.writing.remarks import remarks_of
from server.engines.writing.stopping import until_stop
from server.engines.writing.structured import by_schema
from server.engines.writing.templates import template
from server.tool_calls import CallPiece

JUDGED_SHARE = 0.4
"""Of the rate of wrong refusals, where a model judges the passages itself."""
QUOTE_SECONDS = 2.0
TOO_SLOW = "The local model took too long to write a sentence: the passages are quoted."
UNSUPPORTED = "The local model wrote nothing that the passages support: they are quoted."


class StreamingSynthesizer(BaseSynthesizer):
    """Answers with an async generator, which starts with its first piece."""

    def __init__(self, parts: EngineParts, *, llm: LLM) -> None:
        helper, chat_helper = _prompt_helpers()
        super().__init__(
            llm=llm,
            callback_manager=CallbackManager([]),
            prompt_helper=helper,
            chat_prompt_helper=chat_helper,
            streaming=True,
        )
        self._parts = parts
        self._nodes: list[NodeWithScore] = []
        self._passages: list[Passage] = []

    async def asynthesize(
        self,
        query: QueryTextType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Return a response whose generator writes the answer."""
        # LlamaIndex passes aget_response texts with their metadata prepended; we need the two apart
        self._nodes = nodes
        self._passages = [passage_of(found.node) for found in nodes]
        return await super().asynthesize(query, nodes, additional_source_nodes, **response_kwargs)

    def response(self, question: str, nodes: list[NodeWithScore]) -> AsyncStreamingResponse:
        """Return the response that `asynthesize` gives to a question, without LlamaIndex's instrumentation."""
        self._nodes = nodes
        self._passages = [passage_of(found.node) for found in nodes]
        return AsyncStreamingResponse(self._pieces(question, self._passages), source_nodes=nodes)

    def get_response(self, query_str: str, text_chunks: Sequence[str], **_: Any) -> str:
        """Refuse: see `aget_response`."""
        msg = "Footnote's synthesizers are async: await aget_response()"
        raise NotImplementedError(msg, query_str[:0], text_chunks[:0])

    async def aget_response(self, query_str: str, text_chunks: Sequence[str], **_: Any) -> AsyncGenerator[str, None]:
        """Return the generator of the answer's pieces."""
        return self._pieces(query_str, self._passages or [Passage("", text) for text in text_chunks])

    def _pieces(self, question: str, passages: Sequence[Passage]) -> AsyncGenerator[str, None]:
        raise NotImplementedError

    def _finder(self, question: str) -> Finder:
        """Return what looks at the nodes, which are let go: they take more than all the rest of a stream."""
        nodes, self._nodes, self._passages = self._nodes, [], []
        return Finder(self._standalone(question), nodes, parts=self._parts)

    def _standalone(self, question: str) -> str:
        """Return the standalone question, for models that do not get the conversation."""
        return self._parts.record.standalone_question or question

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        """Nothing to update: the prompts are code."""


class CitingSynthesizer(StreamingSynthesizer):
    """Lets the model write an answer that cites passages by number."""

    def __init__(self, parts: EngineParts, *, model: LanguageModel) -> None:
        super().__init__(parts, llm=GuardedLLM(model))
        self._model = model

    async def _pieces(self, question: str, passages: Sequence[Passage]) -> AsyncGenerator[str, None]:
        record, finder = self._parts.record, self._finder(question)
        if self._model.provider == LOCAL:
            if await finder.refuses():
                record.refused = True
                return
            pieces = self._checked(question, passages, finder)
        else:
            if self._parts.settings.llm.quote_uncited and self._parts.question.json_schema is None:
                record.quote = partial(best_quotation, finder)
            writing = self._written(question, passages)
            if self._parts.question.json_schema is None:
                writing = without_refusal(writing, record=record)
            pieces = self._judged(writing, finder)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _judged(self, pieces: AsyncGenerator[str, None], finder: Finder) -> AsyncGenerator[str, None]:
        """Yield what the model writes, unless the passages do not answer: that is found out while it reads them."""
        verdict = asyncio.create_task(finder.refuses(share=JUDGED_SHARE))
        remarks = asyncio.create_task(_remarks_after(verdict, finder))
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    if piece and await verdict:
                        self._parts.record.refused = True
                        return
                    yield piece
            if not self._parts.record.refused:
                self._parts.record.remarks += await remarks
        finally:
            verdict.cancel()
            remarks.cancel()

    async def _checked(self, question: str, passages: Sequence[Passage], finder: Finder) -> AsyncGenerator[str, None]:
        written = self._written(question, passages)
        said, note = False, UNSUPPORTED
        async with (
            aclosing(written),
            aclosing(grounded(written, [passage.quoted() for passage in passages])) as sentences,
        ):
            try:
                async with asyncio.timeout(self._parts.settings.llm.local_timeout):
                    first = await anext(sentences)
                said = True
                yield first
                async for sentence in sentences:
                    yield sentence
            except StopAsyncIteration:
                pass
            except TimeoutError:
                note = TOO_SLOW
        if not said:
            self._parts.record.note(note)
            async for piece in quotations(finder, parts=self._parts):
                yield piece
        if not self._parts.record.refused:
            self._parts.record.remarks += await remarks_of(finder)

    async def _written(self, question: str, passages: Sequence[Passage]) -> AsyncGenerator[str, None]:
        if self._model.is_chat:
            pieces = self._answered(question, passages)
        else:
            messages = completion_messages(self._standalone(question), passages)
            pieces = written(self._parts, self._model, messages, stops=COMPLETION_STOPS)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    def _answered(self, question: str, passages: Sequence[Passage]) -> AsyncGenerator[str, None]:
        """Return the pieces of a chat model's answer."""
        settings, conversation = self._parts.settings.llm, self._parts.conversation
        if (schema := self._parts.question.json_schema) is not None:
            asked = structured_messages(question, passages, conversation, schema=schema)
            pieces = written(self._parts, self._model, asked, schema=self._parts.question.schema)
            return by_schema(pieces, schema=schema, record=self._parts.record)
        messages = chat_messages(
            question, passages, conversation, layout=template(settings.prompt), constrained=settings.constrained
        )
        if not settings.constrained:
            return written(self._parts, self._model, messages)
        pieces = written(self._parts, self._model, messages, schema=answer_schema(len(passages)))
        texts = [f"{passage.label}\n{passage.text}" for passage in passages]
        language = self._parts.store.generation.chunking.language

        checked = Attribution(texts, language=language, question=question).checked
        answer = decoded(pieces, record=self._parts.record, no_answer=refusal(question), checked=checked)
        return until_stop(answer, self._parts.question.stop, record=self._parts.record)


class ExtractiveSynthesizer(StreamingSynthesizer):
    """Quotes what answers the question, with its citations; no model is called."""

    def __init__(self, parts: EngineParts) -> None:
        super().__init__(parts, llm=_no_llm())

    async def _pieces(self, question: str, _passages: Sequence[Passage]) -> AsyncGenerator[str, None]:
        finder, record = self._finder(question), self._parts.record
        if finder.names_nothing or await finder.refuses():
            record.refused = True
            return
        async for piece in quotations(finder, parts=self._parts):
            yield piece
        if not record.refused:
            record.remarks += await remarks_of(finder)


async def _remarks_after(verdict: asyncio.Task[bool], finder: Finder) -> list[str]:
    """Return what to remark of an answer that is not refused; the answer is complete without it."""
    try:
        return [] if await verdict else await remarks_of(finder)
    except FootnoteError:
        return []
    finally:
        finder.put_away()


async def written(
    parts: EngineParts,
    model: LanguageModel,
    messages: Sequence[ChatMessage],
    *,
    stops: tuple[str, ...] = (),
    schema: Mapping[str, object] | None = None,
) -> AsyncGenerator[str, None]:
    """Yield what the model writes with the question's options; record how it ended, and its reasoning.

    An empty piece tells whoever reads them that there is new reasoning. With a schema, the question's `stop` texts are
    not sent: they would cut JSON rather than what it says.
    """
    asked = parts.question
    ends = () if schema else asked.stop
    stream = model.stream(
        messages,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
        stop=(*stops, *ends),
        schema=schema,
        whole=asked.whole,
    )
    async with aclosing(stream):
        async for event in stream:
            if isinstance(event, Finish):
                parts.record.finish = event
                if event.note:
                    parts.record.note(event.note)
            elif isinstance(event, Delta):
                yield event.text
            elif not isinstance(event, CallPiece):  # no tools are offered with passages
                thought = Reasoning("", retracts=True) if isinstance(event, Retraction) else Reasoning(event.text)
                parts.record.thoughts.append(thought)
                yield ""


async def quotations(finder: Finder, *, parts: EngineParts) -> AsyncGenerator[str, None]:
    """Yield what is quoted; passages without a word are no answer."""
    units = await finder.quotations()
    parts.record.refused = not units
    for piece in quoted("\n\n".join(map(cited, units)), parts=parts):
        yield piece


async def best_quotation(finder: Finder) -> Quotation | None:
    """Return what answers the question best, with its citation; None of small talk, and where nothing does.

    The answer is complete without it: None, too, where the database or the embedding model does not give it soon.
    """
    try:
        async with asyncio.timeout(QUOTE_SECONDS):
            if finder.is_small_talk or await finder.refuses():
                return None
            units = await finder.quotations()
    except (FootnoteError, TimeoutError):
        return None
    return Quotation(cited(units[0]), units[0].number) if units else None


def quoted(text: str, *, parts: EngineParts) -> Iterator[str]:
    """Yield an extractive answer in small pieces, like a model's stream, within the question's limits."""
    record, asked = parts.record, parts.question
    record.extracted = True
    text, record.cut = bounded(text, stop=asked.stop, max_tokens=asked.max_tokens, embedder=parts.embedder)
    yield from re.findall(r"\S*\s*", text)


def synthesizer_for(parts: EngineParts) -> BaseSynthesizer:
    """Return the model's synthesizer, or the extractive one if there is no model."""
    if parts.model is None:
        return ExtractiveSynthesizer(parts)
    return CitingSynthesizer(parts, model=parts.model)


@cache
def _prompt_helpers() -> tuple[PromptHelper, ChatPromptHelper]:
    # unused, but LlamaIndex's base class would create them (with tiktoken)
    return PromptHelper(tokenizer=str.split), ChatPromptHelper(tokenizer=str.split)


@cache
def _no_llm() -> LLM:
    return MockLLM()  # never called; without it, LlamaIndex's base class would resolve its global setting, OpenAI
