"""Golden questions as clients write them, and evaluations with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from config.extras import ExtraMissing, require_extra
from relevance.errors import InvalidGolden
from relevance.lines import InvalidLine, parse_question
from relevance.reading import parse_golden
from server.errors import InvalidGoldenQuestion
from storage.errors import NothingToEvaluate, TooManyGoldenQuestions
from storage.quality.golden import NewGolden

if TYPE_CHECKING:
    from relevance.golden import GoldenQuestion
    from storage.quality.evaluations import Evaluation, EvaluationStore, Options
    from storage.quality.golden import GoldenInfo, GoldenStore, Imported

MOST_QUESTIONS = 2000
"""Of an evaluation."""


class Golden:
    """Golden questions: read strictly, kept, and written as files that `python -m evaluation` takes."""

    def __init__(self, store: GoldenStore) -> None:
        self.store = store

    async def add(self, collection: str, members: Mapping[str, object], /) -> GoldenInfo:
        """Keep a golden question.

        Raises:
            InvalidGoldenQuestion: its members do not go together.
            FootnoteError: as `storage.quality.golden.GoldenStore.add`.

        """
        return await self.store.add(collection, _read(members))

    async def replace(self, golden_id: str, members: Mapping[str, object], /) -> GoldenInfo:
        """Change a golden question; raises as `add`."""
        return await self.store.replace(golden_id, _read(members))

    async def import_lines(self, collection: str, data: bytes, /) -> tuple[int, Imported]:
        """Keep the questions of a file in JSON Lines, or of an export of feedback; return how many came, too.

        Raises:
            InvalidGoldenQuestion: a line cannot be used; the message names it, and nothing was kept.

        """
        try:
            golden = parse_golden(data, name="golden.jsonl")
        except InvalidGolden as exc:
            raise InvalidGoldenQuestion(str(exc)) from None
        imported = await self.store.import_(collection, map(_new, golden.questions))
        return len(golden.questions) + golden.skipped, imported

    async def lines(self, collection: str, /) -> str:
        """Return a collection's golden questions in JSON Lines, the oldest first."""
        found = [parse_question(dict(each.members)) for each in await self.store.every(collection)]
        return "".join(f"{each.json_line()}\n" for each in found)


class Evaluations:
    """Begins evaluations; `store` lists them."""

    def __init__(self, store: EvaluationStore, *, golden: GoldenStore) -> None:
        self.store = store
        self._golden = golden

    @property
    def unavailable(self) -> str | None:
        """Why none can be run here, and what to install; None where they can."""
        try:
            require_extra("evaluation", purpose="an evaluation")
        except ExtraMissing as exc:
            return str(exc)
        return None

    async def begin(self, collection: str, options: Options, /, *, name: str, request_id: str | None) -> Evaluation:
        """Submit an evaluation of the golden questions that the caller may see.

        Raises:
            ExtraMissing: the extra `evaluation` is not installed.
            NothingToEvaluate: there are none.
            TooManyGoldenQuestions: there are more than `MOST_QUESTIONS`.
            CollectionNotFound: there is no such collection.

        """
        require_extra("evaluation", purpose="an evaluation")
        golden = await self._golden.every(collection)
        if not golden:
            raise NothingToEvaluate(collection)
        if len(golden) > MOST_QUESTIONS:
            raise TooManyGoldenQuestions(MOST_QUESTIONS)
        return await self.store.begin(collection, options, name=name, questions=len(golden), request_id=request_id)


def _read(members: Mapping[str, object]) -> NewGolden:
    try:
        return _new(parse_question(dict(members)))
    except InvalidLine as exc:
        raise InvalidGoldenQuestion(str(exc)) from None


def _new(golden: GoldenQuestion) -> NewGolden:
    return NewGolden(golden.asked, tuple(sorted(golden.named_documents)), golden.members())
