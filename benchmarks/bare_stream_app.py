"""The least that streams a model's answer: ``python -m benchmarks.bare_stream_app MODEL_URL``; prints its URL.

Starlette, uvicorn and OpenAI's client, the way a tutorial would have it. No retrieval, no citations, no way to take a
stream up again, no deadlines, nothing when the model fails.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator

import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from server.api.sockets import bind, url_of


def app(model_url: str) -> Starlette:
    """Return the application."""
    openai = AsyncOpenAI(base_url=model_url, api_key="none", max_retries=0)

    async def events(question: str) -> AsyncGenerator[str, None]:
        stream = await openai.chat.completions.create(
            model="paced", messages=[{"role": "user", "content": question}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield f"event: token\ndata: {json.dumps({'token': text})}\n\n"
        yield "data: [DONE]\n\n"

    async def ask(request: Request) -> StreamingResponse:
        question = (await request.json())["question"]
        return StreamingResponse(events(question), media_type="text/event-stream")

    return Starlette(routes=[Route("/query/stream", ask, methods=["POST"])])


async def main(model_url: str) -> None:
    """Serve until a signal comes."""
    config = uvicorn.Config(
        app(model_url), http="httptools", ws="none", log_level="warning", access_log=False, backlog=2048
    )
    listener = bind("127.0.0.1", 0)
    print(url_of(listener[0]), flush=True)
    await uvicorn.Server(config).serve(listener)


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
