"""A model's own refusal: the sentence that it is asked to write where the passages hold no answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from server.engines.quoting.questions import language_of
from server.engines.writing.citations import uncited

if TYPE_CHECKING:
    from server.engines.record import Record

NO_ANSWER = "The passages do not hold the answer."
REFUSALS = {
    "english": NO_ANSWER,
    "french": "Les passages ne contiennent pas la réponse.",
    "german": "Die Textstellen enthalten die Antwort nicht.",
    "spanish": "Los pasajes no contienen la respuesta.",
}
_KEYS = tuple(sentence.rstrip(".").casefold() for sentence in REFUSALS.values())


def refusal(question: str) -> str:
    """Return the sentence that a model is asked to write where the passages do not answer, in the question's language.

    That is English where the question's words do not tell.
    """
    return REFUSALS[language_of(question) or "english"]


async def without_refusal(pieces: AsyncGenerator[str, None], *, record: Record) -> AsyncGenerator[str, None]:
    """Yield what a model writes, unless it is one of `REFUSALS` alone: then nothing, and the record says so.

    The text is held back only while it may still become that sentence.
    """
    held, is_decided = "", False
    async with aclosing(pieces):
        async for piece in pieces:
            if any(thought.retracts for thought in record.thoughts):  # what was held was reasoning
                held, is_decided = "", False
            if is_decided or not piece:  # an empty piece tells of new reasoning
                yield piece
                continue
            held += piece
            said = held.lstrip(' \n"“*').casefold()
            if any(key.startswith(said) or (said.startswith(key) and len(said) < 2 * len(key)) for key in _KEYS):
                continue
            is_decided = True
            yield held
    if not is_decided and held:
        if uncited(held).strip(' \n"”“*.').casefold() in _KEYS:
            record.refused = True
        else:
            yield held
