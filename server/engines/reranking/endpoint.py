"""Rerankers behind HTTP: Cohere's ``/v2/rerank`` and Jina's ``/v1/rerank``, which many servers implement.

https://docs.cohere.com/reference/rerank and https://api.jina.ai/redoc#tag/rerank. Both answer with ``results``, a list
of ``index`` and ``relevance_score``. Replies are validated: they must rank the passages that were sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from config.settings import RerankSettings, SettingsError
from server.engines.models.connections import connection_options
from server.engines.models.failures import Hints, broken, refusal, retry_after, unreached
from server.engines.reranking.postprocessor import ScoredRanking
from server.engines.reranking.troubles import RerankNonsense

if TYPE_CHECKING:
    from llama_index.core.postprocessor.types import BaseNodePostprocessor

    from server.engines.parts import EngineParts

MAX_BYTES = 1_048_576
"""Maximum size of a reply in bytes; a thousand scores take some fifty kilobytes."""

HINTS = Hints(
    address="FOOTNOTE_RERANK__URL",
    key="FOOTNOTE_RERANK__API_KEY",
    unknown_model="check FOOTNOTE_RERANK__MODEL and FOOTNOTE_RERANK__URL",
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The protocol of one provider; compatible servers have other addresses and models."""

    url: str
    path: str
    model: str
    extra: Mapping[str, object] = field(default_factory=dict)


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "cohere": Dialect("https://api.cohere.com", "/v2/rerank", "rerank-v3.5"),
        "jina": Dialect(
            "https://api.jina.ai", "/v1/rerank", "jina-reranker-v2-base-multilingual", {"return_documents": False}
        ),
    }
)


class EndpointRerank:
    """A `RerankSource` that calls a server."""

    def __init__(self, settings: RerankSettings) -> None:
        """Prepare the client; nothing is sent yet.

        Raises:
            SettingsError: the URL is invalid, or it is the provider's own and there is no key.

        """
        self._dialect = DIALECTS[settings.provider]
        self.provider: str = settings.provider
        self.model = settings.model or self._dialect.model
        self._url = address_of(settings)
        options = connection_options(connect_timeout=settings.timeout) | {"timeout": httpx.Timeout(settings.timeout)}
        # replies are not compressed, so that their size is bounded
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if settings.api_key is not None:
            headers["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        self._client = httpx.AsyncClient(headers=headers, **options)

    def ranking(self, parts: EngineParts) -> BaseNodePostprocessor:
        """See `RerankSource.ranking`."""
        del parts
        return ScoredRanking(self.scores)

    async def warm_up(self) -> None:
        """Rank one passage: this finds a wrong key or URL at startup, and opens a connection."""
        await self.scores("warm-up", ["warm-up"])

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def scores(self, question: str, passages: Sequence[str]) -> list[float | None]:
        """Return the passages' scores; None for those that the server omits.

        Raises:
            ModelError: it cannot be reached, refuses, or sends an invalid reply.

        """
        body = {
            "model": self.model,
            "query": question,
            "documents": list(passages),
            "top_n": len(passages),
            **self._dialect.extra,
        }
        try:
            async with self._client.stream("POST", self._url, json=body) as response:
                if response.status_code != HTTPStatus.OK:
                    raise refusal(
                        response.status_code, hints=HINTS, detail="", code="", wait=retry_after(response.headers)
                    )
                content = await _content(response)
        except (httpx.TimeoutException, httpx.ConnectError) as exc:
            raise unreached(exc) from exc
        except httpx.HTTPError as exc:
            raise broken(exc) from exc
        return scores_in(content, passages=len(passages))


def address_of(settings: RerankSettings) -> str:
    """Return the URL of the endpoint; the setting may end before the version, after it, or be complete.

    Raises:
        SettingsError: it is no valid URL, or it is the provider's own and there is no key.

    """
    dialect = DIALECTS[settings.provider]
    if settings.url is None and settings.api_key is None:
        msg = f"FOOTNOTE_RERANK__API_KEY: {dialect.url} needs one; FOOTNOTE_RERANK__URL is for another server"
        raise SettingsError(msg)
    url = (settings.url or dialect.url).rstrip("/")
    if not url.startswith(("http://", "https://")) or not urlsplit(url).hostname:
        msg = "FOOTNOTE_RERANK__URL: must be an address that starts with http:// or https://"
        raise SettingsError(msg)
    if url.endswith("/rerank"):
        return url
    return f"{url}/rerank" if url.endswith(("/v1", "/v2")) else url + dialect.path


async def _content(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        msg = "the reranker answered in an encoding that it was not asked for"
        raise RerankNonsense(msg)
    content = bytearray()
    async for piece in response.aiter_raw():
        content += piece
        if len(content) > MAX_BYTES:
            msg = f"the reranker's answer is longer than {MAX_BYTES} bytes"
            raise RerankNonsense(msg)
    return bytes(content)


def scores_in(content: bytes, *, passages: int) -> list[float | None]:
    """Return the scores in a reply, in the passages' order; None for those that are omitted.

    Raises:
        RerankNonsense: the reply is malformed, has a passage twice or an unknown one, or a score is no number.

    """
    try:
        results = json.loads(content)["results"]
        pairs = [(each["index"], each["relevance_score"]) for each in results]
    except (ValueError, LookupError, TypeError, RecursionError):
        msg = "the reranker's answer is not in its protocol's shape"
        raise RerankNonsense(msg) from None
    scores: list[float | None] = [None] * passages
    for index, score in pairs:
        if type(index) is not int or not 0 <= index < passages or scores[index] is not None:
            msg = "the reranker named a passage twice, or one that it was not given"
            raise RerankNonsense(msg)
        scores[index] = _number(score)
    return scores


def _number(score: object) -> float:
    try:
        number = float(score) if type(score) in {int, float} else math.nan  # type: ignore[arg-type] # it was asked
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        msg = "the reranker gave a score that is no number"
        raise RerankNonsense(msg)
    return number
