"""The text of LlamaIndex's responses, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from llama_index.core.base.response.schema import AsyncStreamingResponse


async def pieces_of(response: Any) -> AsyncGenerator[str, None]:  # noqa: ANN401 (one of LlamaIndex's four classes)
    """Yield a response's text; a plug-in engine may answer in one piece."""
    if not isinstance(response, AsyncStreamingResponse):
        yield str(response)
        return
    generator = response.response_gen  # itself, not LlamaIndex's wrapper: closing it must reach the model's connection
    del response  # with its nodes, which take more than all the rest of a stream
    try:
        async for piece in generator:
            yield piece
    finally:
        if isinstance(generator, AsyncGenerator):
            await generator.aclose()
