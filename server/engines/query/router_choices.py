"""How the router chooses: by the model, through LlamaIndex's selectors, or by searching the collections."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import structlog
from llama_index.core.base.base_selector import SingleSelection
from llama_index.core.output_parsers.base import StructuredOutput
from llama_index.core.output_parsers.selection import Answer
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import ToolMetadata
from llama_index.core.types import BaseOutputParser

from config.errors import FootnoteError
from server.engines.models.errors import ModelError
from server.engines.models.guarded import GuardedLLM
from server.engines.models.model import LanguageModel
from server.engines.parts import EngineParts
from server.engines.record import Record
from server.engines.retrieval import StoreRetriever
from server.engines.writing.consulting import all_of
from storage.errors import TableGone

CHOICE_TOKENS = 120
LOOKED_AT = 3  # passages of each collection
WORDS_WEIGHT = (
    0.3  # weight of the fraction of the question's content words that a passage holds; its cosine has weight 1
)
_CHOICE = re.compile(r'"?choice"?\s*[:=]\s*"?(\d{1,4})|\A\W*(\d{1,4})\b', re.IGNORECASE)
_WORD = re.compile(r"[^\W_][\w.-]*[^\W_]|\w")
_TELLING = 4  # minimum length of a content word; numbers may be shorter
_log = structlog.get_logger(__name__)


class OneChoice(BaseOutputParser):
    """Parses the number of a choice and nothing else; LlamaIndex's parser loads the model's text as YAML.

    Raises:
        ValueError: there is no such choice.

    """

    def __init__(self, choices: int) -> None:
        self._choices = choices

    def parse(self, output: str) -> StructuredOutput:
        """Return the choice."""
        found = _CHOICE.search(output)
        number = int(found.group(1) or found.group(2)) if found else 0
        if not 1 <= number <= self._choices:
            msg = "the model chose none of the choices"
            raise ValueError(msg)
        return StructuredOutput(raw_output="", parsed_output=[Answer(choice=number, reason="")])

    def format(self, query: str) -> str:
        """Return the prompt with the reply format."""
        return query + '\nReply with JSON alone, like {"choice": 1}.'


async def selected(parts: EngineParts, model: LanguageModel, *, choices: Sequence[str], question: str) -> int | None:
    """Return the index of the model's choice; None if it chooses none, or fails."""
    llm = GuardedLLM(model, options={"temperature": 0.0, "max_tokens": CHOICE_TOKENS}, on_finish=parts.record.add_call)
    selector = LLMSingleSelector.from_defaults(llm, output_parser=OneChoice(len(choices)))
    tools = [ToolMetadata(description=choice) for choice in choices]
    try:
        async with asyncio.timeout(parts.settings.engines.call_timeout):
            result = await selector.aselect(tools, QueryBundle(question))
    except (ModelError, TimeoutError, ValueError) as error:
        _log.info("the model made no choice", error=type(error).__name__)
        return None
    selections: list[SingleSelection] = result.selections
    return selections[0].index


async def likeliest(parts: EngineParts, collections: Sequence[str], *, question: str) -> str:
    """Return the collection whose passages are nearest to the question; the first one of a tie.

    Collections that cannot be searched are skipped.
    """
    looks = [partial(_promise, parts, name, question) for name in collections]
    promises = await all_of(looks, at_once=parts.settings.engines.parallel_calls)
    return max(zip(collections, promises, strict=True), key=lambda look: look[1])[0]


@dataclass(frozen=True, slots=True)
class _Look:
    texts: list[str]
    cosines: list[float]


async def _promise(parts: EngineParts, collection: str, question: str) -> float:
    """Return the score of a collection's best passage: its cosine, and the fraction of the question's words in it."""
    try:
        look = await _look(parts, collection, question)
    except TableGone:
        raise  # another generation is active now: the whole request starts again
    except FootnoteError as error:
        _log.info("a collection was not looked at", collection=collection, error=type(error).__name__)
        return -1.0
    shares = [_share(question, text) for text in look.texts]
    return max((cosine + WORDS_WEIGHT * share for cosine, share in zip(look.cosines, shares, strict=True)), default=-1)


async def _look(parts: EngineParts, collection: str, question: str) -> _Look:
    assert parts.elsewhere is not None  # noqa: S101 (the router looks only where there is an elsewhere)
    async with parts.elsewhere.visit(parts, collection) as there:
        # a record of its own: these hits are not shown
        glance = replace(there, question=replace(there.question, k=LOOKED_AT), record=Record())
        found = (await StoreRetriever(glance, mode="hybrid").unselected().aretrieve(QueryBundle(question)))[:LOOKED_AT]
        texts = [hit.node.get_content() for hit in found]
        if found and there.embedder.identity.fingerprint != parts.embedder.identity.fingerprint:
            return _Look(
                texts, await _cosines(parts, question, texts)
            )  # cosines of different models are not comparable
        return _Look(texts, [glance.record.scores[hit.node.node_id].get("dense", 0.0) for hit in found])


async def _cosines(parts: EngineParts, question: str, texts: Sequence[str]) -> list[float]:
    asked = await parts.embedder.query(question)
    made = await parts.embedder.texts(texts)
    lengths = np.linalg.norm(made, axis=1) * np.linalg.norm(asked)  # not every model's vectors are of length one
    cosines: list[float] = (made @ asked / np.maximum(lengths, 1e-12)).tolist()
    return cosines


def _share(question: str, text: str) -> float:
    words, there = _telling(question), _telling(text)
    return len(words & there) / len(words) if words else 0.0


def _telling(text: str) -> set[str]:
    words = {word.casefold() for word in _WORD.findall(text)}
    return {word for word in words if len(word) >= _TELLING or any(character.isdigit() for character in word)}
