"""The collections' embedding models through OpenAI's protocol."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from server.api.context import request_id_of, runtime_of
from server.api.contracts import Embeddings
from server.api.disconnects import ended_by_disconnect
from server.api.json_body import JsonRoute
from server.api.openai.answer_schemas import EmbeddingDetailsOut, EmbeddingsOut, EmbeddingUsageOut
from server.api.openai.errors import PREFIX, error_responses
from server.api.openai.refusals import refusal
from server.api.openai.schemas import EmbeddingOptions, EmbeddingsBody
from server.api.scopes import needs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AT_ONCE = 32  # vectors written without a pause: about a millisecond
router = APIRouter(prefix=PREFIX, tags=["openai"], route_class=JsonRoute, responses=error_responses())


@router.post("/embeddings", response_model=EmbeddingsOut)
@needs("query")
async def create_embeddings(body: EmbeddingsBody, request: Request) -> Response:
    """Embed texts with one of the models that collections are made with.

    Of a text longer than the model reads, the end is not read: `footnote.truncated` says which those are.
    """
    options = body.footnote or EmbeddingOptions()
    async with ended_by_disconnect(request):
        embeddings = await runtime_of(request).embeddings.named(body.model)
        _require(body, embeddings)
        embedded = await embeddings.embed(body.input, as_questions=options.input_type == "query")
        write = _base64 if body.encoding_format == "base64" else _numbers
        pieces = [piece async for piece in _written(embedded.vectors, write)]
    usage = EmbeddingUsageOut(prompt_tokens=embedded.tokens, total_tokens=embedded.tokens)
    details = EmbeddingDetailsOut(
        max_tokens=embeddings.max_tokens,
        truncated=list(embedded.truncated),
        request_id=request_id_of(request.scope),
    )
    head = f'{{"object":"list","model":{json.dumps(embeddings.model)},"usage":{usage.model_dump_json()}'
    tail = f',"footnote":{details.model_dump_json()},"data":['
    return Response((head + tail).encode() + b",".join(pieces) + b"]}", media_type="application/json")


def _require(body: EmbeddingsBody, embeddings: Embeddings) -> None:
    if body.dimensions not in (None, embeddings.dimension):
        reason = f"{embeddings.model} has {embeddings.dimension} dimensions; leave it out"
        raise refusal(reason, field="dimensions")


async def _written(vectors: NDArray[np.float32], write: Callable[[NDArray[np.float32]], bytes]) -> AsyncIterator[bytes]:
    """Write vectors as JSON, and yield to the event loop in between: thousands of them take a second."""
    for index, vector in enumerate(vectors):
        if index % AT_ONCE == 0:
            await asyncio.sleep(0)
        yield b'{"object":"embedding","index":%d,"embedding":%s}' % (index, write(vector))


def _numbers(vector: NDArray[np.float32]) -> bytes:
    return to_json(vector.tolist())


def _base64(vector: NDArray[np.float32]) -> bytes:
    return b'"%s"' % base64.b64encode(vector.astype("<f4", copy=False).tobytes())
