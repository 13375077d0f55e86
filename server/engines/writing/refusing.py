"""A model's own refusal: the sentence that it is asked to write where the passages hold no answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from server.engines.writing.citations import uncited

if TYPE_CHECKING:
    from server.engines.record import Record

NO_ANSWER = "The passages do not hold the answer."
_KEY = NO_ANSWER.rstrip(".").casefold()


async def without_refusal(pieces: AsyncGenerator[str, None], *, record: Record) -> AsyncGenerator[str, None]:
    """Yield what a model writes, unless it is `NO_ANSWER` alone: then nothing, and the record says that it refused.

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
            if _KEY.startswith(said) or (said.startswith(_KEY) and len(said) < 2 * len(_KEY)):
                continue
            is_decided = True
            yield held
    if not is_decided and held:
        if uncited(held).strip(' \n"”“*.').casefold() == _KEY:
            record.refused = True
        else:
            yield held
