"""Opening a remote model: its provider is made, and the model asked for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from config.own_process.processes import Processes
from config.plug_ins import resolved
from config.settings import SettingsError
from embedding.errors import EmbeddingFailed, EmbeddingModelNotFound, EmbeddingUnavailable
from embedding.remote.embedder import RemoteEmbedder
from embedding.remote.http import JsonLink
from embedding.remote.model import ESTIMATE, MAX_TOKENS, RemoteModel, kind_of, name_of
from embedding.remote.ollama import OLLAMA_URL, OllamaProtocol
from embedding.remote.openai import OPENAI_URL, OpenAIProtocol
from embedding.remote.own_loop import OwnLoop
from embedding.remote.patience import retried
from embedding.remote.probes import FIRST, asked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from config.settings import EmbeddingSettings
    from embedding.remote.probes import Probes
    from embedding.remote.provider import Provider

FIRST_RETRIES = 2
_log = structlog.get_logger(__name__)


def open_remote(settings: EmbeddingSettings, *, dimension: int | None = None) -> RemoteEmbedder:
    """Open a remote model and ask it for a vector; blocks, so call it on a thread.

    A provider that cannot be reached is waited for by whoever asks, if the settings say the dimension, or `dimension`
    is known from a generation.

    Raises:
        EmbeddingModelNotFound: a class cannot be made; the provider cannot be reached, and the dimension is not known;
            it knows no such model, or its vectors are of another dimension.

    """
    made, key = _resolved(settings)
    loop = OwnLoop("embedding link")
    try:
        provider = loop.run_blocking(_provider(settings, made, key=key))
        probes = loop.run_blocking(_first_vectors(provider, settings, known=settings.dimensions or dimension))
        model = described(settings, probes, dimension=dimension)
        _log.info("embedding model opened", model=model.name, provider=model.kind, dimension=model.dimension)
        return loop.run_blocking(_embedder(provider, model, settings, loop))
    except BaseException:
        loop.close()
        if isinstance(made, Processes):
            made.kill()
        raise


def described(settings: EmbeddingSettings, probes: Probes | None, *, dimension: int | None = None) -> RemoteModel:
    """Return what is known of the model; `probes` are its vectors of the probes, None if it could not be asked.

    Raises:
        EmbeddingModelNotFound: its vectors are of another dimension than the settings say.

    """
    found = settings.dimensions or dimension or 0
    if probes is not None:
        found = len(probes[FIRST])
        if settings.dimensions not in {None, found}:
            msg = f"{name_of(settings)} gives vectors of {found} dimensions; EMBEDDING__DIMENSIONS says otherwise"
            raise EmbeddingModelNotFound(msg)
    return RemoteModel(
        name=name_of(settings),
        kind=kind_of(settings),
        dimension=found,
        max_tokens=settings.max_tokens or MAX_TOKENS,
        tokenizer_file=settings.tokenizer or ESTIMATE,
        probes=probes,
    )


def _resolved(settings: EmbeddingSettings) -> tuple[Any, str]:
    """Return the object of the class, if the settings name one, and the key."""
    try:
        given = settings.api_key.get_secret_value() if settings.api_key else ""
        key: str = resolved({"key": given}, setting="FOOTNOTE_EMBEDDING__API_KEY")["key"]
        if settings.class_ is None:
            return None, key
        from embedding.remote.plug_in import made_class, opened_processes

        return (opened_processes(settings) if settings.processes else made_class(settings)), key
    except SettingsError as exc:
        raise EmbeddingModelNotFound(str(exc)) from exc


async def _provider(
    settings: EmbeddingSettings,
    made: Any,  # noqa: ANN401 (LlamaIndex is imported where a class is named)
    *,
    key: str,
) -> Provider:
    if made is not None:
        from embedding.remote.plug_in import ClassProvider

        return ClassProvider(made, settings=settings)
    standard = OLLAMA_URL if settings.provider == "ollama" else OPENAI_URL
    link = JsonLink(
        settings.base_url or standard,
        key=key,
        timeout=settings.timeout,
        connections=2 * settings.concurrency + 1,
    )
    if settings.provider == "ollama":
        return OllamaProtocol(link, model=settings.model, dimensions=settings.dimensions)
    return OpenAIProtocol(
        link,
        name=settings.provider,
        model=settings.model,
        dimensions=settings.dimensions,
        is_base64=settings.provider == "openai",
    )


async def _embedder(
    provider: Provider, model: RemoteModel, settings: EmbeddingSettings, loop: OwnLoop
) -> RemoteEmbedder:
    return RemoteEmbedder(provider, model=model, settings=settings, loop=loop)


async def _first_vectors(provider: Provider, settings: EmbeddingSettings, *, known: int | None) -> Probes | None:
    import asyncio

    async def embed(texts: list[str]) -> NDArray[np.float32]:
        async with asyncio.timeout(settings.question_timeout):
            return (await provider.embed(texts, prompt="text")).vectors

    async def ask() -> Probes:
        return await asked(embed, most=settings.batch_size, model=name_of(settings))

    try:
        return await retried(ask, most=FIRST_RETRIES)
    except (EmbeddingUnavailable, EmbeddingFailed, TimeoutError) as exc:
        reason = str(exc) or f"it did not answer within {settings.question_timeout:g} s"
        may_pass = not isinstance(exc, EmbeddingFailed) and getattr(exc, "retryable", True)
        if may_pass and known is not None:
            _log.warning("the embedding model cannot be asked yet", model=name_of(settings), error=reason)
            return None
        hint = "; with EMBEDDING__DIMENSIONS set, a server starts without it" if may_pass else ""
        msg = f"the embedding model {name_of(settings)} ({kind_of(settings)}) cannot be used: {reason}{hint}"
        raise EmbeddingModelNotFound(msg) from None
