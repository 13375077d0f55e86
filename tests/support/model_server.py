"""A scripted language model over real TCP: OpenAI's protocol and Ollama's, right answers and every fault.

    with start_model_server() as server:
        server.script(Reply(fault="rate-limited"), Reply(text="All is well [1]."))
        ...  # server.openai_url, server.ollama_url
        assert len(server.requests) == 2

Each request takes the next scripted reply; after the last one, `ModelServer.default`. A request without ``stream`` gets
its reply in one piece, with the same faults. The server is written on bare
streams, in a thread with a loop of its own, because its faults are below what an HTTP framework lets one do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

Fault = Literal[
    "rate-limited",  # 429, Retry-After if given
    "no-credit",  # 429 for want of money
    "server-error",  # 500
    "unavailable",  # 503
    "unauthorized",  # 401, quoting the key
    "not-found",  # 404
    "context-length",  # 400, quoting the prompt
    "refused-parameter",  # 400 while the parameter is in the request, above a number if that is given
    "refused-form",  # 400 while the request asks for JSON by a schema in the form that `parameter` names
    "html",  # 200 and a page
    "empty-choices",
    "hang-head",  # accepts the request, sends nothing
    "hang-first",  # sends the head, no token
    "hang-between",  # some tokens, then silence
    "hang-end",  # the whole answer, then silence in place of the end
    "close",  # closes without a byte
    "cut",  # resets the connection after some tokens
    "cut-first",  # resets the connection after the head
    "no-finish",  # ends the body tidily after some tokens
    "no-reason",  # the whole answer and the end mark, but no finish reason
    "garbage",  # a line that is no JSON
    "error-event",  # an error within the stream
    "filtered",  # stopped by the content filter
    "streams-anyway",  # a stream, though a whole answer was asked for
]

ANSWER = "Rain falls mainly on the plain [1]. It stops in spring [2]."
PROMPT_TOKENS = 11
AFTER = 3
"""Tokens that are sent before a fault within the stream."""


@dataclass(frozen=True)
class Reply:
    """How to answer one request.

    Attributes:
        text: the answer, sent word by word; or a function from the last message (or prompt) to the answer.
        delay: seconds before each token.
        gate: every token but the first waits until it is set.
        parameter: what "refused-parameter" refuses, `above` which number, `refusal` the words, and
            `refusal_code` the code, with the parameter as `param`.
        retry_after: the header of "rate-limited".
        calls: (name, arguments as JSON) of tools that are called after the text, the arguments some characters at a
            time; `call_ids` is False for servers that give no ids, and number each call 0.

    """

    text: str | Callable[[str], str] = ANSWER
    fault: Fault | None = None
    delay: float = 0.0
    gate: threading.Event | None = None
    usage: bool = True
    finish_reason: str = "stop"
    reasoning: str = ""
    parameter: str = ""
    above: float | None = None
    refusal: str = ""
    refusal_code: str = ""
    retry_after: str | None = None
    calls: tuple[tuple[str, str], ...] = ()
    call_ids: bool = True


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    at: float = field(default_factory=time.monotonic)


class ModelServer:
    """See `start_model_server`.

    Attributes:
        requests: calls of the model, in order; looks at its health and lists are in `looks`.
        disconnects: clients that left before their answer was complete.
        connections: accepted so far.
        models: what the lists of models name, for Ollama with their family.

    """

    def __init__(self) -> None:
        self.default = Reply()
        self.requests: list[Seen] = []
        self.looks: list[Seen] = []
        self.disconnects = 0
        self.connections = 0
        self.models: dict[str, str] = {"scripted": "llama"}
        self.port = 0
        self._replies: deque[Reply] = deque()

    @property
    def openai_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def ollama_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, *replies: Reply) -> None:
        """Add replies for the next requests."""
        self._replies.extend(replies)

    def wait_for_disconnects(self, count: int, *, timeout: float) -> bool:
        """Wait, in a thread of the caller's, until so many clients have left early."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self.disconnects >= count:
                return True
            time.sleep(0.005)
        return False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection for as long as it lasts."""
        self.connections += 1
        # cancelled: the server stops, and asyncio.streams would print each task's traceback
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            early = await reader.read(1)
            if early == b"\x16":  # the first byte of a TLS handshake; web servers answer it in plain HTTP
                await _send(writer, 400, "text/plain", b"speak plain HTTP")
                raise ConnectionAbortedError
            while request := await _read(reader, early):
                early = await self._answered(request, reader, writer)
        writer.close()

    async def _answered(self, request: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Answer while watching for the client to leave; return what was read of its next request.

        Raises:
            ConnectionError: the connection is done with.

        """
        answer = asyncio.ensure_future(self._answer(request, writer))
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        # a client that leaves while a token is written fails the answer in the same turn of the loop
        if not answer.done() or isinstance(answer.exception(), ConnectionError):
            self.disconnects += 1
            answer.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)
            raise ConnectionAbortedError
        if not answer.result():
            gone.cancel()
            raise ConnectionAbortedError
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await gone
        return b""

    async def _answer(self, request: Seen, writer: asyncio.StreamWriter) -> bool:
        if request.method == "GET":
            self.looks.append(request)
            await _send_json(writer, *self._look(request.path))
            return True
        self.requests.append(request)
        reply = self._replies.popleft() if self._replies else self.default
        kind = _AnthropicExchange if request.path.endswith("/v1/messages") else _Exchange
        return await kind(request, reply, writer).run()

    def _look(self, path: str) -> tuple[int, object]:
        match path:
            case "/health" | "/v1/health":
                return 200, {"status": "ok"}
            case "/v1/models":
                return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
            case "/api/tags":
                models = [
                    {"name": name, "model": name, "details": {"family": family}} for name, family in self.models.items()
                ]
                return 200, {"models": models}
        return 404, {"error": {"message": "no such page"}}


@dataclass
class _Exchange:
    """One request and its reply, in the protocol of the request's path."""

    request: Seen
    reply: Reply
    writer: asyncio.StreamWriter

    async def run(self) -> bool:
        fault, body = self.reply.fault, self.request.body
        if fault == "hang-head":
            await asyncio.Event().wait()
        if fault == "close":
            return False
        if fault == "html":
            await _send(self.writer, 200, "text/html", b"<html><body>Welcome to nginx!</body></html>")
            return True
        if refusal := self._refusal():
            status, error, headers = refusal
            error_body = {"error": error["message"]} if self.is_ollama else {"error": error}
            await _send_json(self.writer, status, error_body, headers)
            return True
        if not body.get("stream", self.is_ollama) and fault != "streams-anyway":
            return await self._document()
        return await self._stream()

    @property
    def is_ollama(self) -> bool:
        return self.request.path.startswith("/api/")

    @property
    def is_chat(self) -> bool:
        return self.request.path != "/v1/completions"

    @property
    def question(self) -> str:
        body = self.request.body
        return str(body["messages"][-1]["content"] if self.is_chat else body["prompt"])

    @property
    def tokens(self) -> list[str]:
        text = self.reply.text if isinstance(self.reply.text, str) else self.reply.text(self.question)
        words = text.split(" ")
        return [word if n == 0 else f" {word}" for n, word in enumerate(words)] if text else []

    def _refusal(self) -> tuple[int, dict[str, Any], dict[str, str]] | None:
        reply, question = self.reply, self.question
        key = self.request.headers.get("authorization", "")
        too_long = f"maximum context length is 5 tokens, yours: {question}"
        wait = {"Retry-After": reply.retry_after} if reply.retry_after else {}
        refusals: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
            "rate-limited": (429, {"message": "slow down", "code": "rate_limit_exceeded"}, wait),
            "no-credit": (429, {"message": "you exceeded your quota", "code": "insufficient_quota"}, {}),
            "server-error": (500, {"message": f"boom while reading: {question}"}, {}),
            "unavailable": (503, {"message": "loading"}, {}),
            "unauthorized": (401, {"message": f"incorrect key: {key}", "code": "invalid_api_key"}, {}),
            "not-found": (404, {"message": "no such model", "code": "model_not_found"}, {}),
            "context-length": (400, {"message": too_long, "code": "context_length_exceeded"}, {}),
        }
        if reply.fault == "refused-parameter" and reply.parameter in self.request.body:
            if reply.above is not None and self.request.body[reply.parameter] <= reply.above:
                return None
            words = reply.refusal or f"Unsupported parameter: '{reply.parameter}' is not supported"
            said = {"code": reply.refusal_code, "param": reply.parameter} if reply.refusal_code else {}
            return 400, {"message": words, **said}, {}
        if reply.fault == "refused-form" and (form := self.request.body.get("response_format")):
            is_strict = form.get("json_schema", {}).get("strict", False)
            if reply.parameter == form["type"] or (reply.parameter == "strict" and is_strict):
                return 400, {"message": f"Invalid schema for response_format 'answer': no {reply.parameter}."}, {}
        return refusals.get(reply.fault or "")

    async def _document(self) -> bool:
        """Answer in one piece; what would befall a stream after some tokens befalls the body half way."""
        fault, tokens = self.reply.fault, len(self.tokens)
        await asyncio.sleep(self.reply.delay * tokens)
        while self.reply.gate and not self.reply.gate.is_set():  # noqa: ASYNC110 (another thread sets it)
            await asyncio.sleep(0.01)
        body = b"{this is no JSON" if fault == "garbage" else json.dumps(self._whole(), ensure_ascii=False).encode()
        await _send_head(self.writer, 200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if fault in {"hang-first", "cut-first"}:
            body, rest = b"", body
        elif fault in {"hang-between", "hang-end", "cut", "no-finish"}:
            body, rest = body[: len(body) // 2], body[len(body) // 2 :]
        else:
            rest = b""
        self.writer.write(body)
        await self.writer.drain()
        if rest and str(fault).startswith("hang"):
            await asyncio.Event().wait()
        if rest and str(fault).startswith("cut"):
            self.writer.transport.abort()
        return not rest

    async def _stream(self) -> bool:
        kind = "application/x-ndjson" if self.is_ollama else "text/event-stream"
        await _send_head(self.writer, 200, {"Content-Type": kind, "Transfer-Encoding": "chunked"})
        if self.reply.fault == "cut-first":
            self.writer.transport.abort()
            return False
        if self.reply.fault == "hang-first":
            await asyncio.Event().wait()
        async for line in self._lines():
            if line is None:
                self.writer.transport.abort()
                return False
            end = b"\n" if self.is_ollama else b"\n\n"
            await _send_piece(self.writer, line + end)
        await _send_piece(self.writer, b"")
        return True

    async def _lines(self) -> AsyncIterator[bytes | None]:
        """Yield the stream's lines; None resets the connection."""
        fault = self.reply.fault
        if fault == "empty-choices":
            yield self._event({"message": None} if self.is_ollama else {"choices": []})
        elif not self.is_ollama and self.is_chat:
            yield self._opening()
        for thought in self.reply.reasoning.split():
            yield self._reasoning(thought)
        for n, token in enumerate(self._tokens_before_fault()):
            await asyncio.sleep(self.reply.delay)
            while n and self.reply.gate and not self.reply.gate.is_set():  # noqa: ASYNC110 (another thread sets it)
                await asyncio.sleep(0.01)
            yield self._token(token)
        if fault == "hang-between":
            await asyncio.Event().wait()
        if fault in {"cut", "garbage", "error-event"}:
            yield self._bad_line()
        if fault != "no-finish":
            async for line in self._ending():
                yield line

    def _tokens_before_fault(self) -> list[str]:
        if self.reply.fault == "empty-choices":
            return []
        within = {"cut", "no-finish", "garbage", "hang-between", "error-event"}
        return self.tokens[:AFTER] if self.reply.fault in within else self.tokens

    def _bad_line(self) -> bytes | None:
        if self.reply.fault == "cut":
            return None
        if self.reply.fault == "garbage":
            return b"{this is no JSON" if self.is_ollama else b"data: {this is no JSON"
        error = {"message": "the GPU is on fire", "code": 500}
        return self._event({"error": error["message"] if self.is_ollama else error})

    async def _ending(self) -> AsyncIterator[bytes]:
        fault = self.reply.fault
        for line in self._calls():
            yield line
        if self.is_ollama:
            if fault == "hang-end":
                await asyncio.Event().wait()
            if fault != "empty-choices":
                yield self._event(self._whole() | {"message": {"role": "assistant", "content": ""}})
            return
        if fault not in {"empty-choices", "no-reason"}:
            reason = "content_filter" if fault == "filtered" else self._reason
            empty: dict[str, object] = {"delta": {}} if self.is_chat else {"text": ""}
            yield self._event({"choices": [{"index": 0, **empty, "finish_reason": reason}]})
        if fault == "hang-end":
            await asyncio.Event().wait()
        options = self.request.body.get("stream_options") or {}
        if self.reply.usage and options.get("include_usage"):
            yield self._event({"choices": [], "usage": self._usage()})
        yield b"data: [DONE]"

    def _opening(self) -> bytes:
        return self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})

    def _event(self, data: dict[str, Any]) -> bytes:
        line = json.dumps({"model": "scripted-1", **data}, ensure_ascii=False).encode()
        return line if self.is_ollama else b"data: " + line

    def _token(self, token: str) -> bytes:
        if self.is_ollama:
            return self._event({"message": {"role": "assistant", "content": token}, "done": False})
        part = {"delta": {"content": token}} if self.is_chat else {"text": token}
        return self._event({"choices": [{"index": 0, **part, "finish_reason": None}]})

    @property
    def _reason(self) -> str:
        return "tool_calls" if self.reply.calls and self.reply.finish_reason == "stop" else self.reply.finish_reason

    def _called(self) -> list[dict[str, Any]]:
        """Return the calls whole, as both protocols have them."""
        if self.is_ollama:
            return [{"function": {"name": n, "arguments": json.loads(given)}} for n, given in self.reply.calls]
        return [
            {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": given}}
            for number, (name, given) in enumerate(self.reply.calls)
        ]

    def _calls(self) -> Iterator[bytes]:
        if self.reply.fault in {"cut", "no-finish", "garbage", "hang-between", "error-event", "empty-choices"}:
            return
        if self.is_ollama:
            for call in self._called():
                message = {"role": "assistant", "content": "", "tool_calls": [call]}
                yield self._event({"message": message, "done": False})
            return
        for number, call in enumerate(self._called()):
            given = call["function"]["arguments"]
            place = number if self.reply.call_ids else 0
            head = {**call, "index": place, "function": {**call["function"], "arguments": ""}}
            rest = [{"index": place, "function": {"arguments": given[at : at + 7]}} for at in range(0, len(given), 7)]
            if not self.reply.call_ids:
                head, rest = {"index": 0, "type": "function", "function": call["function"]}, []
            for piece in (head, *rest):
                yield self._event({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": None}]})

    def _reasoning(self, thought: str) -> bytes:
        if self.is_ollama:
            return self._event({"message": {"role": "assistant", "content": "", "thinking": thought}, "done": False})
        return self._event({"choices": [{"index": 0, "delta": {"reasoning_content": thought}}]})

    def _whole(self) -> dict[str, Any]:
        fault, text = self.reply.fault, "".join(self.tokens)
        reason = {"filtered": "content_filter", "no-reason": None}.get(fault or "", self._reason)
        if fault == "error-event":
            error = {"message": "the GPU is on fire", "code": 500}
            return {"error": error["message"] if self.is_ollama else error}
        if self.is_ollama:
            counts = {"prompt_eval_count": PROMPT_TOKENS, "eval_count": len(self.tokens)} if self.reply.usage else {}
            thought = {"thinking": self.reply.reasoning} if self.reply.reasoning else {}
            called = {"tool_calls": self._called()} if self.reply.calls and not self.request.body.get("stream") else {}
            message = {"role": "assistant", "content": text, **thought, **called} if fault != "empty-choices" else None
            return {"model": "scripted-1", "message": message, "done": True, "done_reason": reason, **counts}
        thought = {"reasoning_content": self.reply.reasoning} if self.reply.reasoning else {}
        if self.reply.calls:
            thought["tool_calls"] = self._called()
        part = {"message": {"role": "assistant", "content": text, **thought}} if self.is_chat else {"text": text}
        choices = [] if fault == "empty-choices" else [{"index": 0, **part, "finish_reason": reason}]
        return {"model": "scripted-1", "choices": choices, "usage": self._usage() if self.reply.usage else None}

    def _usage(self) -> dict[str, int]:
        count = len(self.tokens)
        return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count, "total_tokens": PROMPT_TOKENS + count}


class _AnthropicExchange(_Exchange):
    """The Messages API: named events, tokens told in the first and the last."""

    @property
    def question(self) -> str:
        content = self.request.body["messages"][-1]["content"]
        return content if isinstance(content, str) else str(content[-1]["text"])

    def _event(self, data: dict[str, Any]) -> bytes:
        if "error" in data:
            data = {"type": "error", "error": {"type": "overloaded_error", "message": data["error"]["message"]}}
        return f"event: {data['type']}\ndata: {json.dumps(data, ensure_ascii=False)}".encode()

    def _opening(self) -> bytes:
        begun = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        message = {**self._message(), "content": [], "stop_reason": None}
        start = {"type": "message_start", "message": message}
        return self._event(start) + b"\n\n" + self._event(begun)

    def _token(self, token: str) -> bytes:
        return self._event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token}})

    async def _ending(self) -> AsyncIterator[bytes]:
        if self.reply.fault == "hang-end":
            await asyncio.Event().wait()
        yield self._event({"type": "content_block_stop", "index": 0})
        ended = {"stop_reason": self._message()["stop_reason"], "stop_sequence": None}
        yield self._event({"type": "message_delta", "delta": ended, "usage": {"output_tokens": len(self.tokens)}})
        yield self._event({"type": "message_stop"})

    def _whole(self) -> dict[str, Any]:
        return {**self._message(), "content": [{"type": "text", "text": "".join(self.tokens)}]}

    def _message(self) -> dict[str, Any]:
        words = {"stop": "end_turn", "length": "max_tokens"}
        reason = "refusal" if self.reply.fault == "filtered" else words[self.reply.finish_reason]
        usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": len(self.tokens)}
        known = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-scripted"}
        return {**known, "stop_reason": reason, "stop_sequence": None, "usage": usage}


@contextlib.contextmanager
def start_model_server(*, port: int = 0) -> Iterator[ModelServer]:
    """Run a `ModelServer` on 127.0.0.1 while the context lasts."""
    server = ModelServer()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="model-server", daemon=True)
    thread.start()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(server.serve, "127.0.0.1", port)

    async def stop(listener: asyncio.Server) -> None:
        listener.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    listener = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(stop(listener), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _read(reader: asyncio.StreamReader, early: bytes) -> Seen | None:
    """Read one request; None at the end of the connection."""
    try:
        head = (early + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = first.split(" ")
    return Seen(method, path, headers, json.loads(body) if body else {})


async def _send_head(writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()


async def _send_piece(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send one piece of a chunked body; an empty one ends it."""
    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    await writer.drain()


async def _send(
    writer: asyncio.StreamWriter, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    await _send_head(writer, status, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})})
    writer.write(body)
    await writer.drain()


async def _send_json(
    writer: asyncio.StreamWriter, status: int, data: object, headers: Mapping[str, str] | None = None
) -> None:
    await _send(writer, status, "application/json", json.dumps(data).encode(), headers)
