"""Asking a LlamaIndex `LLM`: in this process, async where its class is, else in bounded threads; or in its own."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cachetools import LRUCache

from config.own_process.processes import PATIENCE
from config.threads import Threads
from server.engines.models.plug_in.abilities import Abilities
from server.engines.models.plug_in.tools import calls_in, has_calls, tool_options
from server.engines.models.provider import Request
from server.tool_calls import CallPiece

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from config.own_process.processes import Processes
    from server.engines.models.plug_in.responses import Response

    Said = Response | tuple[CallPiece, ...]
    """A response, or in the end the calls of tools in it."""

_VARIANTS = 16
CLOSING = 1.0
"""Seconds that a call has to end after it was cancelled."""
GRACE = 5.0
"""Seconds that a stream in a thread has to notice that nobody reads it, before its thread is lost."""
_CLIENTS = ("_aclient", "_async_client", "_client")


class Asking(Protocol):
    """A model that is asked somewhere."""

    def responses(self, request: Request, *, streams: bool) -> AsyncGenerator[Said, None]:
        """Ask once; yield what its class returns, and the calls of tools in it. Raises whatever the class raises."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why it cannot be asked at the moment."""
        ...

    async def close(self) -> None:
        """Close its connections, or end its processes."""
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a model's for one request, without ``a`` before its name, and what it is given."""

    name: str
    given: object
    options: dict[str, Any]


def method_for(request: Request, *, is_chat: bool, streams: bool) -> Method:
    """Return the method that answers a request."""
    name = ("stream_" if streams else "") + ("chat" if is_chat else "complete")
    if not is_chat:
        return Method(name, request.prompt, {"formatted": True})
    messages = list(request.messages)
    if request.tools is None or request.tools.choice == "none":
        return Method(name, messages, {})
    options = {"chat_history": messages, **tool_options(request.tools)}
    return Method(f"{name}_with_tools", options.pop("tools"), options)


class Variants:
    """A model with the temperatures and limits of requests, as far as its class knows such fields."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._made: LRUCache[tuple[float, int], LLM] = LRUCache(_VARIANTS)

    @property
    def every(self) -> tuple[LLM, ...]:
        """All that are kept."""
        return (self._llm, *self._made.values())

    def of(self, request: Request) -> LLM:
        """Return the model for a request."""
        fields = type(self._llm).model_fields
        asked = {"temperature": request.temperature, "max_tokens": request.max_tokens}
        changed = {
            name: value for name, value in asked.items() if name in fields and value != getattr(self._llm, name, None)
        }
        if not changed:
            return self._llm
        key = (request.temperature, request.max_tokens)
        if key not in self._made:
            self._made[key] = self._llm.model_copy(update=changed)
        return self._made[key]


class InThisProcess:
    """A model that is an object here."""

    def __init__(self, llm: LLM, *, abilities: Abilities, threads: int) -> None:
        self._llm = llm
        self._abilities = abilities
        self._variants = Variants(llm)
        self._threads = Threads(abilities.name, most=threads, grace=GRACE)

    async def responses(self, request: Request, *, streams: bool) -> AsyncGenerator[Said, None]:
        """Ask once; see `Asking`."""
        calling: Response | None = None
        async with contextlib.aclosing(self._answered(request, streams=streams)) as responses:
            async for response in responses:
                if request.tools is not None and has_calls(response):
                    calling = response
                yield response
        if calling is not None:
            yield calls_in(self._llm, calling)

    @property
    def trouble(self) -> str | None:
        """Why no thread is left."""
        return self._threads.trouble

    async def close(self) -> None:
        """Close the clients that the class keeps, as far as they can be found."""
        for llm in self._variants.every:
            private = getattr(llm, "__pydantic_private__", None) or {}
            for client in filter(None, map(private.get, _CLIENTS)):
                with contextlib.suppress(Exception):
                    await _closed(client)

    def _answered(self, request: Request, *, streams: bool) -> AsyncGenerator[Response, None]:
        asked = method_for(request, is_chat=self._abilities.is_chat, streams=streams)
        llm = self._variants.of(request)
        if self._abilities.is_async:
            return _awaited(getattr(llm, f"a{asked.name}"), asked.given, asked.options)
        method = getattr(llm, asked.name)

        def work() -> Iterator[Response]:
            answered = method(asked.given, **asked.options)
            return answered if streams else iter((answered,))

        return self._threads.items(work)


class InItsProcess:
    """A model that is an object in processes of its own: `server.engines.models.plug_in.servant.LLMServant`."""

    def __init__(self, processes: Processes, *, token_timeout: float, total_timeout: float) -> None:
        self._processes = processes
        self._token_timeout, self._total_timeout = token_timeout, total_timeout

    def responses(self, request: Request, *, streams: bool) -> AsyncGenerator[Said, None]:
        """Ask once; see `Asking`."""
        silence = self._total_timeout if request.whole else min(self._token_timeout, self._total_timeout)
        return self._processes.items("responses", request, streams, wait=PATIENCE * silence)

    @property
    def trouble(self) -> str | None:
        """Why no process can be started."""
        return self._processes.trouble

    async def close(self) -> None:
        """End the processes."""
        await self._processes.close()


async def _awaited(
    method: Callable[..., Awaitable[Any]], given: object, options: dict[str, Any]
) -> AsyncGenerator[Response, None]:
    """Yield what an async method gives; closing this closes its connection.

    The method runs in a task of its own, ahead of its reader: to cancel that reaches whatever it waits for, while
    closing LlamaIndex's generators leaves the connection to the garbage collector.
    """
    made: asyncio.Queue[Response | None] = asyncio.Queue()
    task = asyncio.create_task(_made(method(given, **options), made))
    try:
        while (response := await made.get()) is not None:
            yield response
        await task
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=CLOSING)
        if task.done() and not task.cancelled():
            task.exception()  # or asyncio complains that nobody looked


async def _made(answering: Awaitable[Any], made: asyncio.Queue[Response | None]) -> None:
    try:
        answered = await answering
        if hasattr(answered, "__aiter__"):
            async for response in answered:
                made.put_nowait(response)
        else:
            made.put_nowait(answered)
    except SystemExit as exc:  # it would end the event loop
        msg = "a class called sys.exit"
        raise RuntimeError(msg) from exc
    finally:
        made.put_nowait(None)


async def _closed(client: object) -> None:
    for name in ("aclose", "close"):
        if callable(close := getattr(client, name, None)):
            if inspect.isawaitable(done := close()):
                await done
            return
