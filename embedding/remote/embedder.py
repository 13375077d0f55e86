"""A remote model as an `Embedder`: batched, spaced, tried again, and known again by how it embeds fixed texts."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import structlog

from config.telemetry.metrics import expect_calls
from embedding.batches import plan
from embedding.errors import EmbeddingFailed, EmbeddingUnavailable
from embedding.observation import observed_call
from embedding.remote.faults import TooLarge
from embedding.remote.patience import QuestionBreaker, Rate, retried
from embedding.remote.probes import asked, kept_probes, require_same
from embedding.tokenizer import load_tokenizer
from embedding.usage import count_tokens
from storage.errors import EmbeddingMismatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from numpy.typing import NDArray

    from config.settings import EmbeddingSettings
    from embedding.remote.model import RemoteModel
    from embedding.remote.own_loop import OwnLoop
    from embedding.remote.provider import Prompt, Provider, Reply
    from storage.generation import EmbeddingIdentity

    Group = tuple[NDArray[np.intp], list[str], int]
    """The places of texts, the texts, and how many tokens they have."""
    Told = Callable[[Sequence[int], NDArray[np.float32]], Awaitable[None]]
    """Is told of each request's vectors and the places of their texts, on the model's own loop, and waited for."""

T = TypeVar("T")
PROBE_SECONDS = 300.0
"""After which a model that is used is asked again whether it is the same."""
LOOK_SECONDS, LOOK_AGAIN = 2.0, 60.0
"""How long `trouble` waits for the server, and for how long it relies on a call that went well."""
QUESTION_RETRIES = 2
_log = structlog.get_logger(__name__)


class RemoteEmbedder:
    """An open remote model.

    Each answer is checked: as many vectors as texts, of the model's dimension, of length one in the end. From time to
    time, and after each failure, the model is asked to embed fixed texts, to be known again: a generation uses it
    through a `GenerationEmbedder`, which compares.

    Attributes:
        files: what is known of the model, as it embeds the fixed texts now.
        width: requests with passages at once.

    """

    def __init__(self, provider: Provider, *, model: RemoteModel, settings: EmbeddingSettings, loop: OwnLoop) -> None:
        """Take an open provider; `model.probes` are None if it could not be asked yet."""
        self.files = model
        self.width = settings.concurrency
        self._settings = settings
        self._provider = provider
        expect_calls(provider.name)
        self._loop = loop
        self._rate = Rate(settings.requests_per_minute)
        self._passages = asyncio.Semaphore(settings.concurrency)
        self._questions = asyncio.Semaphore(settings.concurrency)
        self._breaker = QuestionBreaker()
        self._probing = asyncio.Lock()
        self._proved = 0.0 if model.probes is None else time.monotonic()
        self._answered = self._proved

    @property
    def identity(self) -> EmbeddingIdentity:
        """What a new generation remembers of the model."""
        return self.files.identity(self._settings)

    @property
    def accepted(self) -> frozenset[str]:
        """The fingerprint of a new generation; whether an older one may be written to, `Embedders` says."""
        return frozenset({self.identity.fingerprint})

    async def query(self, text: str) -> NDArray[np.float32]:
        """Embed a question; see `Embedder`."""
        vector: NDArray[np.float32] = (await self.queries([text]))[0]
        return vector

    async def queries(self, texts: Sequence[str], *, of: EmbeddingIdentity | None = None) -> NDArray[np.float32]:
        """Embed questions; a server that does not answer is given up after the setting's seconds, or at once.

        `of`: the model that it is to be; whether it is, is found out within the same seconds, where that is due.

        Raises:
            EmbeddingMismatch: it is another one.

        """
        with self._observed(len(texts)):
            asking = self._guarded(lambda: self._of_questions([*map(_encodable, texts)], of))
            vectors, tokens = await self._loop.run(asking)
        count_tokens(tokens)
        return vectors

    async def texts(self, texts: Sequence[str], *, told: Told | None = None) -> NDArray[np.float32]:
        """Embed passages, in as many requests as the limits ask for, and tell of each answer; see `Embedder`."""
        with self._observed(len(texts)):
            vectors, tokens = await self._loop.run(self._of_passages([*map(_encodable, texts)], told))
        count_tokens(tokens)
        return vectors

    async def require(self, identity: EmbeddingIdentity) -> None:
        """Compare the model with the one that a generation was built with; ask it first, where that is due.

        Raises:
            EmbeddingMismatch: it is another one, under the same name.
            EmbeddingUnavailable: it cannot be asked.

        """
        if not self._proved:
            await self._loop.run(self._guarded(self._prove))
        self._require_same(identity)

    async def trouble(self) -> str | None:
        """Return why the model cannot be used now, None if it can; a server that was silent is asked."""
        if self._proved and self._breaker.reason is None and time.monotonic() - self._answered < LOOK_AGAIN:
            return None
        try:
            await self._loop.run(self._within(LOOK_SECONDS, self._prove()))
        except (EmbeddingUnavailable, EmbeddingFailed, EmbeddingMismatch) as exc:
            return str(exc)
        self._breaker.succeeded()
        return None

    def close(self) -> None:
        """Cancel the calls in hand and close the connections."""
        with suppress(EmbeddingUnavailable):  # it is closed already
            self._loop.run_blocking(self._provider.close())
        self._loop.close()

    def _observed(self, texts: int) -> AbstractContextManager[None]:
        return observed_call(self.files.name, dimension=self.files.dimension, texts=texts, provider=self._provider.name)

    async def _of_questions(self, texts: list[str], of: EmbeddingIdentity | None) -> tuple[NDArray[np.float32], int]:
        if of is not None:
            if self._is_due:
                await self._prove()
            self._require_same(of)
        return await self._asked(texts)

    async def _guarded(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await all that a question needs, unless the breaker is open: one admission, so that a trial is whole."""
        is_trial = self._breaker.admit()
        try:
            made = await self._within(self._settings.question_timeout, call())
        except EmbeddingUnavailable as exc:
            self._breaker.failed(exc)
            self._doubt()
            raise
        except (EmbeddingFailed, EmbeddingMismatch):  # it answered
            self._breaker.succeeded()
            raise
        except BaseException:  # whoever asked has left
            if is_trial:
                self._breaker.left()
            raise
        self._breaker.succeeded()
        return made

    def _require_same(self, identity: EmbeddingIdentity) -> None:
        probes = self.files.probes
        assert probes is not None  # noqa: S101 (it was proved)
        require_same(probes, kept_probes(identity), model=self.files.name)

    async def _asked(self, texts: list[str]) -> tuple[NDArray[np.float32], int]:
        until = time.monotonic() + self._settings.question_timeout
        prefix, most = self._settings.query_instruction or "", self.files.max_tokens
        batches = self._batches([prefix + self._cut(text, most) for text in texts])

        async def one(batch: list[str]) -> Reply:
            async with self._questions:
                return await retried(lambda: self._request(batch, "query"), most=QUESTION_RETRIES, until=until)

        return await self._gathered(batches, one, texts=len(texts))

    async def _of_passages(self, texts: list[str], told: Told | None) -> tuple[NDArray[np.float32], int]:
        prefix = self._settings.text_instruction or ""
        batches = self._batches([prefix + text for text in texts])

        async def one(batch: list[str]) -> Reply:
            async with self._passages:
                return await self._halved(batch)

        return await self._gathered(batches, one, texts=len(texts), told=told)

    async def _halved(self, batch: list[str]) -> Reply:
        """Embed a batch; one that is refused for its size in two halves."""
        try:
            return await retried(lambda: self._request(batch, "text"), most=self._settings.max_retries)
        except TooLarge:
            if len(batch) == 1:
                raise
        middle = len(batch) // 2
        first, second = await self._halved(batch[:middle]), await self._halved(batch[middle:])
        tokens = None if first.tokens is None or second.tokens is None else first.tokens + second.tokens
        return replace(first, vectors=np.concatenate([first.vectors, second.vectors]), tokens=tokens)

    async def _gathered(
        self,
        batches: Sequence[Group],
        one: Callable[[list[str]], Awaitable[Reply]],
        *,
        texts: int,
        told: Told | None = None,
    ) -> tuple[NDArray[np.float32], int]:
        vectors = np.empty((texts, self.files.dimension), dtype=np.float32)
        total = 0

        async def fill(places: NDArray[np.intp], batch: list[str], counted: int) -> None:
            nonlocal total
            reply = await one(batch)
            vectors[places] = reply.vectors
            if told is not None:
                await told(places.tolist(), reply.vectors)
            total += counted if reply.tokens is None else reply.tokens

        try:
            async with asyncio.TaskGroup() as group:
                for each in batches:
                    group.create_task(fill(*each))
        except ExceptionGroup as failures:
            raise _first_of(failures) from None
        return vectors, total

    def _batches(self, texts: list[str]) -> list[Group]:
        """Group texts within the limits; return their places, the texts, and how many tokens they have."""
        tokenizer = load_tokenizer(str(self.files.tokenizer_file))
        lengths = [len(each) for each in tokenizer.encode_batch_fast(texts)]
        groups = plan(lengths, tokens=self._settings.batch_tokens, texts=self._settings.batch_size)
        return [(places, [texts[i] for i in places], sum(lengths[i] for i in places)) for places in groups]

    def _cut(self, text: str, most: int) -> str:
        """Cut a question to what the model reads; others do so themselves, but many servers refuse it."""
        if len(text) <= most:
            return text
        tokens = load_tokenizer(str(self.files.tokenizer_file)).encode(text, add_special_tokens=False).offsets
        return text if len(tokens) <= most - 2 else text[: tokens[most - 3][1]]

    async def _request(self, batch: list[str], prompt: Prompt) -> Reply:
        await self._rate.turn()
        try:
            async with asyncio.timeout(self._settings.timeout):
                reply = await self._provider.embed(batch, prompt=prompt)
        except TimeoutError:
            self._doubt()
            msg = f"{self.files.name} did not answer within {self._settings.timeout:g} s"
            raise EmbeddingUnavailable(msg) from None
        except EmbeddingUnavailable:
            self._doubt()
            raise
        self._answered = time.monotonic()
        if (sent := reply.vectors.shape[1]) != self.files.dimension:
            msg = f"{self.files.name} sent vectors of {sent} dimensions instead of {self.files.dimension}"
            raise EmbeddingMismatch(msg)
        return reply

    def _doubt(self) -> None:
        """Have the model proved before it is used again: what comes up after a failure may be another."""
        self._proved = 0.0

    async def prove(self) -> None:
        """Ask the model for the vectors of the fixed texts, with patience, where that is due.

        Raises:
            EmbeddingUnavailable: it cannot be asked.

        """
        if self._is_due:
            await self._loop.run(retried(self._prove, most=self._settings.max_retries))

    @property
    def _is_due(self) -> bool:
        return not self._proved or time.monotonic() - self._proved > PROBE_SECONDS

    async def _prove(self) -> None:
        began = time.monotonic()

        async def embed(texts: list[str]) -> NDArray[np.float32]:
            return (await self._request(texts, "text")).vectors

        async with self._probing:
            if self._proved > began:  # by somebody who was first
                return
            probes = await asked(embed, most=self._settings.batch_size, model=self.files.name)
            self.files = replace(self.files, probes=probes)
            self._proved = time.monotonic()

    async def _within(self, seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await coroutine
        except TimeoutError:
            msg = f"{self.files.name} did not answer within {seconds:g} s"
            raise EmbeddingUnavailable(msg) from None


class GenerationEmbedder:
    """A remote model as one generation knows it: another one under its name is refused."""

    def __init__(self, model: RemoteEmbedder, *, identity: EmbeddingIdentity) -> None:
        self.model = model
        self.identity = identity
        self.accepted = frozenset({identity.fingerprint})
        self.width = model.width

    @property
    def files(self) -> RemoteModel:
        """What is known of the model."""
        return self.model.files

    async def query(self, text: str) -> NDArray[np.float32]:
        """Embed a question; see `Embedder`."""
        vector: NDArray[np.float32] = (await self.queries([text]))[0]
        return vector

    async def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions; see `Embedder`."""
        return await self.model.queries(texts, of=self.identity)

    async def texts(self, texts: Sequence[str], *, told: Told | None = None) -> NDArray[np.float32]:
        """Embed passages; see `RemoteEmbedder.texts`."""
        await self.model.prove()
        await self.model.require(self.identity)
        return await self.model.texts(texts, told=told)

    async def trouble(self) -> str | None:
        """Return why the generation cannot be asked now; None if it can."""
        if (reason := await self.model.trouble()) is not None:
            return reason
        try:
            await self.model.require(self.identity)
        except (EmbeddingUnavailable, EmbeddingFailed, EmbeddingMismatch) as exc:
            return str(exc)
        return None

    def close(self) -> None:
        """Leave the model open: others use it."""


def _encodable(text: str) -> str:
    """Return a text without lone surrogates, which neither tokenizers nor most servers take."""
    return text.encode(errors="replace").decode()


def _first_of(failures: ExceptionGroup[Exception]) -> Exception:
    """Return the failure that says most: one that will not pass before one that may."""
    found = [_first_of(each) if isinstance(each, ExceptionGroup) else each for each in failures.exceptions]
    return min(found, key=lambda error: isinstance(error, EmbeddingUnavailable) and error.retryable)
