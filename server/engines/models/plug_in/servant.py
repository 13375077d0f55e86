"""A LlamaIndex `LLM` in a process of its own: the end that is there."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from server.engines.models.plug_in.asking import Method, Variants, method_for
from server.engines.models.plug_in.opening import open_model
from server.engines.models.plug_in.tools import calls_in, has_calls

if TYPE_CHECKING:
    from config.settings import LLMSettings
    from server.engines.models.plug_in.asking import Said
    from server.engines.models.plug_in.responses import Response
    from server.engines.models.provider import Request


class LLMServant:
    """Makes the model that settings name, and answers one request at a time.

    Attributes:
        told: what is known of it.

    """

    def __init__(self, settings: LLMSettings) -> None:
        """Make the model; raises what `open_model` raises."""
        self._llm, self.told = open_model(settings)
        self._variants = Variants(self._llm)
        self._loop = asyncio.new_event_loop()  # one for all calls: the class's connections belong to it

    def responses(self, request: Request, streams: bool) -> Iterator[Said]:  # noqa: FBT001 (called from elsewhere)
        """Answer as `InThisProcess.responses` does."""
        asked = method_for(request, is_chat=self.told.abilities.is_chat, streams=streams)
        calling: Response | None = None
        for response in self._answered(asked, request, streams=streams):
            if request.tools is not None and has_calls(response):
                calling = response
            yield _portable(response)
        if calling is not None:
            yield calls_in(self._llm, calling)

    def _answered(self, asked: Method, request: Request, *, streams: bool) -> Iterator[Response]:
        llm = self._variants.of(request)
        if self.told.abilities.is_async:
            answered = self._loop.run_until_complete(getattr(llm, f"a{asked.name}")(asked.given, **asked.options))
            return self._read(answered) if streams else iter((answered,))
        answered = getattr(llm, asked.name)(asked.given, **asked.options)
        return iter(answered) if streams else iter((answered,))

    def _read(self, pieces: AsyncIterator[Response]) -> Iterator[Response]:
        try:
            while (piece := self._loop.run_until_complete(anext(pieces, None))) is not None:
                yield piece
        finally:
            if callable(close := getattr(pieces, "aclose", None)):
                self._loop.run_until_complete(close())


def _portable(response: Response) -> Response:
    """Return a response that can be sent: what an SDK adds to it may hold sockets and locks."""
    try:
        pickle.dumps(response)
    except Exception:  # noqa: BLE001 (whatever is in it)
        return response.model_copy(update={"raw": _plain(response.raw)})
    return response


def _plain(raw: Any) -> Any:  # noqa: ANN401 (whatever a class keeps)
    dump = getattr(raw, "model_dump", None)
    try:
        plain = dump() if callable(dump) else raw
        pickle.dumps(plain)
    except Exception:  # noqa: BLE001
        return None
    return plain
