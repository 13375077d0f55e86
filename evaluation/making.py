"""Generating golden questions from a collection's chunks, with LlamaIndex's generator and the configured model."""

from __future__ import annotations

import random
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluation.errors import EvaluationRefused
from relevance.golden import GoldenPassage, GoldenQuestion
from server.engines.models.errors import ModelError
from storage.search.search import ChunkSearch, Hit, SearchRequest

if TYPE_CHECKING:
    from server.engines.models.model import LanguageModel
    from server.engines.pinned import Pinned
    from server.runtime import Runtime

SHORTEST = 200  # minimum length of a chunk in characters
MAX_CHUNKS = 100  # chunks per document to choose from
PAGE = 100
TRIES = 3  # chunks tried per question
MAX_FAILURES = 3  # of the model, one after the other
MAX_QUESTION_LENGTH = 400
MAX_TOKENS = 200  # a base model would not stop by itself
DIRECTION = (
    "Write one question that a reader could ask and that the context answers. Ask about a particular fact of it. The "
    "question must be understood without the context: do not speak of a context, a passage or a document. Write the "
    "question alone, in the language of the context."
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What to generate; with `answers`, the model also writes a reference answer for each question."""

    collection: str
    questions: int
    answers: bool = False
    seed: int = 0


async def make_golden(
    wish: Wish, runtime: Runtime, model: LanguageModel, *, progress: Progress = lambda _done, _total: None
) -> list[GoldenQuestion]:
    """Generate questions, each about one chunk; chunks are spread over the documents, chosen by the seed.

    Raises:
        FootnoteError: the collection or the model cannot be used, or no question was generated.

    """
    made: dict[str, GoldenQuestion] = {}
    tries, failures, reason = 0, 0, "it may be empty, or the model unfit"
    async with runtime.generations.pinned(wish.collection) as pinned:
        async for hit in _chunks(wish, runtime, pinned):
            if len(made) == wish.questions or tries == TRIES * wish.questions or failures == MAX_FAILURES:
                break
            tries += 1
            try:
                golden = await _question(hit, model, answers=wish.answers)
            except ModelError as exc:  # keep what was generated, and paid for, so far
                failures, reason = failures + 1, str(exc)
                continue
            failures = 0
            if golden is not None:
                made.setdefault(golden.asked, golden)
            progress(len(made), wish.questions)
    if not made:
        msg = f"no question came out of {tries} passages of {wish.collection!r}: {reason}"
        raise EvaluationRefused(msg)
    return list(made.values())


async def _chunks(wish: Wish, runtime: Runtime, pinned: Pinned) -> AsyncIterator[Hit]:
    """Yield chunks, one of each document in turn, none twice."""
    search = ChunkSearch(runtime.database, generation=pinned.generation, settings=runtime.settings.retrieval)
    chosen = await _documents(wish, runtime)
    dice = random.Random(wish.seed)  # noqa: S311 (a sample, no secret)
    seen: set[str] = set()
    while chosen:
        fruitful = []
        for document_id, title in chosen:
            hits = await _of_document(search, pinned, document_id, title)
            left = [hit for hit in hits if hit.node_id not in seen and len(hit.text) >= SHORTEST]
            if left:
                hit = dice.choice(left)
                seen.add(hit.node_id)
                fruitful.append((document_id, title))
                yield hit
        chosen = fruitful


async def _documents(wish: Wish, runtime: Runtime) -> list[tuple[str, str]]:
    """Return ids and titles of documents, at most as many as questions are tried, chosen by the seed."""
    dice = random.Random(wish.seed)  # noqa: S311 (a sample, no secret)
    most, seen, cursor = TRIES * wish.questions, 0, None
    chosen: list[tuple[str, str]] = []
    while True:
        page = await runtime.document_catalog.list(collection=wish.collection, limit=PAGE, cursor=cursor)
        for document in page.items:  # reservoir sampling (Vitter, ACM TOMS 11(1), 1985)
            seen += 1
            if len(chosen) < most:
                chosen.append((document.id, document.title))
            elif (place := dice.randrange(seen)) < most:
                chosen[place] = (document.id, document.title)
        cursor = page.next_cursor
        if cursor is None:
            dice.shuffle(chosen)
            return chosen


async def _of_document(search: ChunkSearch, pinned: Pinned, document_id: str, title: str) -> Sequence[Hit]:
    embedding = await pinned.require_embedder().query(title or document_id)
    request = SearchRequest(mode="vector", limit=MAX_CHUNKS, embedding=embedding, document_ids=[document_id])
    return sorted(await search.search(request), key=lambda hit: hit.chunk_index)


async def _question(hit: Hit, model: LanguageModel, *, answers: bool) -> GoldenQuestion | None:
    """Let the model write a question about a chunk; None if it writes none."""
    with warnings.catch_warnings(
        record=True
    ):  # it warns that it is deprecated, in favour of a class that this release does not have
        generator = _generator(hit, model)
        if answers:
            dataset = await generator.agenerate_dataset_from_nodes(num=1)
            said, answer = next(iter(dataset.qr_pairs), ("", ""))
        else:
            said, answer = next(iter(await generator.agenerate_questions_from_nodes(num=1)), ""), ""
    question = " ".join(said.replace("\0", " ").split()).lstrip("-*• ").strip("\"'*“” ")
    if not question.endswith(("?", "？", "؟")) or len(question) > MAX_QUESTION_LENGTH:  # noqa: RUF001 (of other scripts)
        return None
    source = str(hit.metadata.get("source") or hit.document_id)
    return GoldenQuestion(
        question=question,
        documents=frozenset([source]),
        passages=(GoldenPassage(document=source, start=hit.start, end=hit.end),),
        answer=answer.replace("\0", " ").strip() or None,
        kind="made",
    )


def _generator(hit: Hit, model: LanguageModel) -> Any:  # noqa: ANN401 (LlamaIndex's)
    from llama_index.core.evaluation import DatasetGenerator
    from llama_index.core.schema import TextNode

    from server.engines.models.guarded import GuardedLLM

    node, llm = TextNode(text=hit.text), GuardedLLM(model, options={"max_tokens": MAX_TOKENS})
    return DatasetGenerator(nodes=[node], llm=llm, num_questions_per_chunk=1, question_gen_query=DIRECTION)
