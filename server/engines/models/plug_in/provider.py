"""A LlamaIndex `LLM` of any class as a `Provider`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from config.own_process.processes import ProcessDied
from config.threads import ThreadsLost
from server.answers import Usage
from server.engines.models.errors import ModelError, ModelFailed, ModelUnavailable
from server.engines.models.estimates import estimated_tokens
from server.engines.models.failures import Hints
from server.engines.models.plug_in.abilities import Abilities
from server.engines.models.plug_in.failures import failure_of
from server.engines.models.plug_in.responses import model_of, piece_of, reason_of, reasoning_of, text_of, usage_of
from server.engines.models.plug_in.stops import StopText
from server.engines.models.provider import Chunk, Request
from server.tool_calls import CallPiece, Tools

if TYPE_CHECKING:
    from server.engines.models.plug_in.asking import Asking
    from server.engines.models.plug_in.responses import Response


class PlugIn:
    """A LlamaIndex `LLM`, wherever its object is; see `Asking`.

    A request's temperature and limit are the fields of those names in a copy of the model, for classes that have them;
    its stop sequences are looked for in the text. Where the class does not tell the tokens, they are estimated.
    """

    def __init__(
        self,
        asking: Asking,
        *,
        abilities: Abilities,
        name: str,
        model: str,
        hints: Hints,
        secrets: Sequence[str] = (),
        says_why: bool = False,
        calls_functions: bool = False,
    ) -> None:
        """Take a model; `says_why`: its class tells why each answer ended, so that one without a reason was cut."""
        self.name = name
        self.doubt: str | None = None
        self.model = model
        self.is_chat = abilities.is_chat
        self._asking = asking
        self._abilities = abilities
        self._hints = hints
        self._secrets = [secret for secret in secrets if secret]
        self._says_why = says_why
        self._calls_functions = calls_functions

    async def chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Ask once; see `Provider.chunks`."""
        streams = self._abilities.streams and not request.whole
        answer = _Answer(request)
        try:
            async with contextlib.aclosing(self._asking.responses(request, streams=streams)) as responses:
                async for response in responses:
                    if isinstance(response, tuple):
                        answer.calls = response
                        continue
                    yield answer.chunk(response, streams=streams)
                    if answer.is_over:
                        break
        except ThreadsLost as exc:
            raise ModelUnavailable(str(exc)) from None
        except ProcessDied as exc:
            msg = f"{self._abilities.name}, the class that calls the model, failed: {exc}"
            raise ModelFailed(msg) from None
        except (Exception, SystemExit) as exc:  # noqa: BLE001 (another's code raises anything)
            raise self._failure(exc, begun=answer.has_begun) from None  # its text may quote the prompt
        if answer.reason is not None or not self._says_why:
            self._says_why = self._says_why or (answer.has_said_why and streams)
            yield answer.last()

    def why_no_tools(self, tools: Tools) -> str:  # noqa: ARG002 (another provider's answer depends on them)
        """Tell whether its class, and the model, call functions."""
        if self._calls_functions:
            return ""
        return f"cannot be used: {self._abilities.name}, the class that calls the model, calls no functions"

    async def probe(self) -> str | None:
        """Tell whether a call can be made; a class of LlamaIndex's has nothing that could be asked for free."""
        return self._asking.trouble

    async def close(self) -> None:
        """Close what the class keeps, as far as it can be found; end its processes."""
        await self._asking.close()

    def _failure(self, error: BaseException, *, begun: bool) -> ModelError:
        name, hints = self._abilities.name, self._hints
        return failure_of(error, name=name, hints=hints, begun=begun, secrets=self._secrets)


class _Answer:
    """One answer as it comes."""

    def __init__(self, request: Request) -> None:
        self.has_begun = False
        self.has_said_why = False
        self.reason: str | None = None
        self._request = request
        self._stop = StopText(request.stop)
        self._text = ""
        self._usage: Usage | None = None
        self._model: str | None = None
        self.calls: tuple[CallPiece, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether a stop sequence has come."""
        return self._stop.is_over

    def chunk(self, response: Response, *, streams: bool) -> Chunk:
        self.has_begun = True
        piece = piece_of(response, self._text) if streams else text_of(response)
        self._text += piece
        self._usage = usage_of(response) or self._usage
        self._model = model_of(response) or self._model
        if reason := reason_of(response):
            self.reason, self.has_said_why = reason, True
        return Chunk(self._stop.feed(piece), reasoning=reasoning_of(response), model=self._model)

    def last(self) -> Chunk:
        """Return the end; a class that says nothing of it has come to it."""
        rest = self._stop.end()
        reason = "stop" if self.is_over else self.reason or "stop"
        written = "".join(call.name + call.arguments for call in self.calls)
        return Chunk(rest, finish_reason=reason, usage=self._counted(written), model=self._model, calls=self.calls)

    def _counted(self, calls: str) -> Usage:
        """Return the provider's count, unless the answer was cut before it could tell it all."""
        if self._usage is not None and not self.is_over:
            return self._usage
        read, written = estimated_tokens(self._request.read), estimated_tokens(self._text + calls)
        return Usage(read, written, read + written, is_estimate=True)
