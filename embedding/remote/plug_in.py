"""A LlamaIndex ``BaseEmbedding``, called on threads, or in processes of its own.

Its async methods may run synchronous code on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx

from config.errors import FootnoteError
from config.own_process.frames import Servant
from config.own_process.processes import PATIENCE, ProcessDied, Processes
from config.plug_ins import class_named, made
from config.settings import SettingsError
from config.threads import ThreadEnded, Threads, ThreadsLost
from embedding.errors import EmbeddingFailed, EmbeddingUnavailable
from embedding.remote.faults import TimedOut, refusal, retry_after, unreached
from embedding.remote.provider import Prompt, Reply
from embedding.remote.vectors import unit_vectors

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

    from config.settings import EmbeddingSettings

GROUP = "footnote.embeddings"
SETTING = "FOOTNOTE_EMBEDDING__CLASS"
_UNREACHED = {"APIConnectionError", "ConnectError", "ConnectionError", "Timeout"}
_TIMED_OUT = {"APITimeoutError", "ReadTimeout"}


def made_class(settings: EmbeddingSettings) -> BaseEmbedding:
    """Make the object that the settings name.

    Raises:
        SettingsError: there is no such class, it is of another kind, or does not take its arguments.

    """
    from llama_index.core.base.embeddings.base import BaseEmbedding

    name = settings.class_ or ""
    kind: type[BaseEmbedding] = class_named(name, GROUP, setting=SETTING, base=BaseEmbedding)  # type: ignore[type-abstract]
    return made(kind, settings.arguments, setting="FOOTNOTE_EMBEDDING__ARGUMENTS")


class EmbeddingServant:
    """A class's object in a process of its own: the end that is there."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        """Make the object; raises what `made_class` raises."""
        self._embedding = made_class(settings)

    def vectors(self, texts: list[str], prompt: Prompt) -> list[object]:
        """Return the vectors of texts, as lists: what a class returns may be tied to a device."""
        return _listed(_vectors(self._embedding, texts, prompt))


class ClassProvider:
    """Calls an object's synchronous methods, which each class has, on threads of their own.

    A call that does not return cannot be stopped. Its thread is lost until it does; when all are, calls fail at once.
    """

    name = "llama_index"

    def __init__(self, embedding: BaseEmbedding | Processes, *, settings: EmbeddingSettings) -> None:
        self._embedding = embedding
        self._threads = Threads(type(embedding).__name__, most=settings.concurrency)
        questions = min(settings.timeout, settings.question_timeout)
        self._waits: Mapping[Prompt, float] = {"text": PATIENCE * settings.timeout, "query": PATIENCE * questions}

    async def embed(self, texts: Sequence[str], *, prompt: Prompt) -> Reply:
        """Embed a batch; see `Provider`."""
        try:
            if isinstance(self._embedding, Processes):
                vectors = await self._embedding.run("vectors", list(texts), prompt, wait=self._waits[prompt])
            else:
                vectors = await self._threads.run(_vectors, self._embedding, list(texts), prompt)
        except FootnoteError:
            raise
        except ProcessDied as exc:
            raise _failed(str(exc)) from None
        except ThreadsLost as exc:
            raise EmbeddingUnavailable(str(exc)) from None
        except ThreadEnded as exc:
            raise _failed(str(exc)) from None
        except Exception as exc:  # noqa: BLE001 (a class raises anything, and may quote the texts)
            raise _named(exc) from None
        return Reply(unit_vectors(_listed(vectors), texts=len(texts)))

    async def close(self) -> None:
        """End the processes; threads end with their calls."""
        if isinstance(self._embedding, Processes):
            await self._embedding.close()


def opened_processes(settings: EmbeddingSettings) -> Processes:
    """Start the processes of a class, and make its object in the first; blocks.

    Raises:
        SettingsError: there is no such class, it is of another kind, or does not take its arguments.

    """
    name = (settings.class_ or "").rpartition(".")[2]
    servant = Servant(f"{__name__}:EmbeddingServant", (settings,))
    processes = Processes(name, servant, most=settings.processes)
    try:
        processes.open()
    except ProcessDied as exc:
        msg = f"{SETTING}: {name} cannot be made in a process of its own: {exc}"
        raise SettingsError(msg) from exc
    return processes


def _vectors(embedding: BaseEmbedding, texts: list[str], prompt: Prompt) -> object:
    if prompt == "query":
        return [_run(embedding.get_query_embedding, embedding.aget_query_embedding, one) for one in texts]
    return _run(embedding.get_text_embedding_batch, embedding.aget_text_embedding_batch, texts)


def _run(function: Callable[[Any], object], otherwise: Callable[[Any], Any], given: object) -> object:
    try:
        return function(given)
    except NotImplementedError:  # a class with async methods only
        return asyncio.run(otherwise(given))


def _listed(vectors: object) -> list[object]:
    if not isinstance(vectors, Sequence) and not hasattr(vectors, "__iter__"):
        msg = "the embedding class did not return a list of vectors"
        raise EmbeddingFailed(msg)
    # arrays of any kind become lists
    return [each.tolist() if hasattr(each, "tolist") else list(each) for each in vectors]


def _named(error: Exception) -> FootnoteError:
    """Return the error for what a class raised: providers' SDKs say a status, or have telling names."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if isinstance(status, int) and status >= httpx.codes.BAD_REQUEST:
        headers = getattr(response, "headers", None) or {}
        return refusal(status, said=str(error)[:1000], wait=retry_after(headers))
    if isinstance(error, httpx.TransportError | ConnectionError | TimeoutError):
        return unreached(error)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & _TIMED_OUT:  # some are connection errors, too
        return TimedOut("the embedding class's provider did not answer in time")
    if kinds & _UNREACHED:
        return EmbeddingUnavailable("the embedding class cannot reach its provider")
    return _failed(type(error).__name__)


def _failed(what: str) -> EmbeddingFailed:
    return EmbeddingFailed(f"the embedding class failed ({what})")
