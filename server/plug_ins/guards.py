"""Guards: what is asked, and what is answered, passes them one after the other; each may change it or refuse it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from server.answers import Answer, Done, Event, Reasoning, Sources, Token, Transcript
from server.engines.node_fields import well_formed
from server.engines.writing.citations import CitationFilter
from server.errors import GuardRefused
from server.plug_ins.abilities import way_of_function
from server.plug_ins.calls import Calls, Refusal, driven

LONGEST_REASON = 300


class ChecksQuestions(Protocol):
    """A guard of questions; the method may be async."""

    def check_question(self, text: str) -> str | None:
        """Return the text to ask instead, or None to let it pass; raise `Refused`."""
        ...


class ChecksAnswers(Protocol):
    """A guard of answers; the method may be async."""

    def check_answer(self, text: str) -> str | None:
        """Return the text to show instead, or None to let it pass; raise `Refused`."""
        ...


class Refused(Refusal):
    """Raise it to refuse a question or an answer; the reason is shown to whoever asked."""

    def __init__(self, reason: str = "it may not be asked, or answered") -> None:
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard of a plug-in, and how it is called."""

    inner: Any
    calls: Calls

    async def passed(self, text: str, what: str) -> str:
        """Return a question or an answer as it passes.

        Raises:
            GuardRefused: it does not.
            FootnoteError: the guard failed; what it would have said is not known.

        """
        check = getattr(self.inner, f"check_{what}", None)
        if check is None:
            return text
        try:
            found = await self._checked(check, text)
        except Refusal as exc:
            raise GuardRefused(self.calls.name, what, str(exc)[:LONGEST_REASON]) from None
        if found is not None and not isinstance(found, str):
            raise self.calls.unfit(found, "text or None")
        return text if found is None else well_formed(found)

    async def _checked(self, check: Callable[..., Any], text: str) -> object:
        way = way_of_function(check)
        if way == "sync":
            return await self.calls.threaded(check, text)
        if way == "driven" or self.calls.blocks:
            return await self.calls.threaded(driven, check, text)
        return await self.calls.awaited(check, text)


class Guards:
    """All guards, in the order in which they are asked."""

    def __init__(self, guards: Sequence[Guard] = ()) -> None:
        self._guards = guards
        self.check_answers = any(hasattr(each.inner, "check_answer") for each in guards)

    def __bool__(self) -> bool:
        return bool(self._guards)

    async def question(self, text: str) -> str:
        """Return a question as it passes all of them; see `Guard.passed`."""
        return await self._passed(text, "question")

    async def events(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """Yield an answer's events; where answers are checked, its text in one piece, and nothing of its reasoning."""
        async with aclosing(events):
            if not self.check_answers:
                async for event in events:
                    yield event
                return
            transcript = Transcript()
            async for event in events:
                answer = transcript.add(event)
                if answer is not None:
                    for each in await self._checked(answer):
                        yield each
                elif not isinstance(event, Token | Reasoning):
                    yield event

    async def _checked(self, answer: Answer) -> tuple[Event, ...]:
        text = await self._passed(answer.answer, "answer")
        if text == answer.answer:
            return (*_token(text), answer.done)
        markers = CitationFilter([each.text for each in answer.done.citations])
        shown = (markers.feed(text) + markers.end()).rstrip()
        return (*_token(shown), _cited(answer.done, answer.sources, markers.cited))

    async def _passed(self, text: str, what: str) -> str:
        for guard in self._guards:
            text = await guard.passed(text, what)
        return text


def _token(text: str) -> tuple[Token, ...]:
    return (Token(text),) if text else ()


def _cited(done: Done, sources: Sources, cited: set[int]) -> Done:
    """Return the end of an answer whose text was changed: footnotes that are gone do not count as cited."""
    marked = tuple(replace(each, cited=each.cited and each.id in cited) for each in done.citations)
    shown = tuple(dict.fromkeys(each.source for each in marked if each.cited)) or sources.sources
    return replace(done, citations=marked, sources=shown)
