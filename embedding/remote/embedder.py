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
from embedding.remote.faults import RateLimited, TimedOut, TooLarge
from embedding.remote.gathering import Batch, Gathered, all_of
from embedding.remote.pace import Pace
from embedding.remote.patience import QuestionBreaker, Rate, retried
from embedding.remote.probes import FIRST, PROBES, asked, kept_probes, require_same
from embedding.tokenizer import load_tokenizer
from embedding.usage import count_tokens
from storage.errors import EmbeddingMismatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from numpy.typing import NDArray

    from config.settings import EmbeddingSettings
    from embedding.remote.gathering import Told
    from embedding.remote.model import RemoteModel
    from embedding.remote.own_loop import OwnLoop
    from embedding.remote.pace import Turn
    from embedding.remote.provider import Prompt, Provider, Reply
    from storage.generation import EmbeddingIdentity

T = TypeVar("T")
PROBE_SECONDS = 300.0
"""After which a model that is used is asked again whether it is the same."""
LOOK_SECONDS, LOOK_AGAIN = 2.0, 60.0
"""How long `trouble` waits for the server, and for how long it relies on a call that went well."""
QUESTION_RETRIES = 2
REMEDY = "raise EMBEDDING__TIMEOUT, lower INGESTION__CHUNK_TOKENS, or see what keeps the embedding server busy"
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
        self._pace = Pace(settings, model=model.name)
        self._questions = asyncio.Semaphore(settings.concurrency)
        self._breaker = QuestionBreaker()
        self._probing, self._proving = asyncio.Lock(), asyncio.Lock()
        self._proved = 0.0 if model.probes is None else time.monotonic()
        self._answered = self._proved

    @property
    def identity(self) -> EmbeddingIdentity:
        """What a new generation remembers of the model."""
        return self.files.identity(self._settings)

    @property
    def slowed(self) -> str | None:
        """How little is asked for at once since a request timed out; None if all that the settings allow."""
        return self._pace.slowed

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
        prefix = self._settings.text_instruction or ""
        passages = [prefix + _encodable(text) for text in texts]
        with self._observed(len(texts)):
            vectors, tokens = await self._loop.run(self._of_passages(passages, told))
        count_tokens(tokens)
        return vectors

    async def require(self, identity: EmbeddingIdentity) -> None:
        """Compare the model with the one that a generation was built with; ask it first, where that is due.

        Raises:
            EmbeddingMismatch: it is another one, under the same name.
            EmbeddingUnavailable: it cannot be asked.

        """
        if not self._proved:
            most = self._settings.max_retries
            await self._loop.run(self._guarded(lambda: retried(self._prove_at_once, most=most)))
        self._require_same(identity)

    async def trouble(self) -> str | None:
        """Return why the model cannot be used now, None if it can; a server that was silent is asked."""
        if self._proved and self._breaker.reason is None and time.monotonic() - self._answered < LOOK_AGAIN:
            return None
        try:
            await self._loop.run(self._within(LOOK_SECONDS, self._look()))
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
                await self._prove_at_once()
            self._require_same(of)
        return await self._asked(texts)

    async def _guarded(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await all that a question needs, unless the breaker is open: one admission, so that a trial is whole."""
        is_trial = self._breaker.admit()
        try:
            made = await self._within(self._settings.question_timeout, call())
        except EmbeddingUnavailable as exc:
            self._breaker.failed(exc)
            if not isinstance(exc, TimedOut | RateLimited):
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
        gathered = Gathered(len(texts), dimension=self.files.dimension)

        async def one(batch: Batch) -> None:
            async with self._questions:
                reply = await retried(lambda: self._request(batch.texts, "query"), most=QUESTION_RETRIES, until=until)
            await gathered.take(batch, reply)

        await all_of(self._batches([prefix + self._cut(text, most) for text in texts]), one)
        return gathered.vectors, gathered.tokens

    async def _of_passages(self, texts: list[str], told: Told | None = None) -> tuple[NDArray[np.float32], int]:
        """Embed texts in as many requests as the limits and the pace ask for."""
        gathered = Gathered(len(texts), dimension=self.files.dimension, told=told)

        async def one(batch: Batch) -> None:
            most = len(batch)
            while batch:
                async with self._pace.turn() as turn:
                    part = batch[: min(most, turn.texts)]
                    try:
                        reply = await self._answer(part, turn)
                    except TimedOut:
                        if turn.is_alone and len(part) == 1:
                            raise
                        continue
                    except TooLarge:
                        if len(part) == 1:
                            raise
                        most = len(part) // 2
                        continue
                await gathered.take(part, reply)
                batch = batch[len(part) :]

        await all_of(self._batches(texts), one)
        return gathered.vectors, gathered.tokens

    async def _answer(self, part: Batch, turn: Turn) -> Reply:
        """Return the answer to a request with passages, which is made again as it is unless it was too much at once."""
        is_least = turn.is_alone and len(part) == 1

        async def asked() -> Reply:
            try:
                return await self._request(part.texts, "text", turn=turn)
            except TimedOut as exc:
                self._pace.timed_out(turn, texts=len(part))
                if not is_least:
                    raise
                msg = f"{exc} to a single text that was sent alone; {REMEDY}"
                raise TimedOut(msg) from None

        return await retried(asked, most=self._settings.max_retries, but=None if is_least else TimedOut)

    def _batches(self, texts: list[str]) -> list[Batch]:
        """Group texts within the limits."""
        tokenizer = load_tokenizer(str(self.files.tokenizer_file))
        lengths = [len(each) for each in tokenizer.encode_batch_fast(texts)]
        groups = plan(lengths, tokens=self._settings.batch_tokens, texts=self._settings.batch_size)
        return [Batch(places, [texts[i] for i in places], [lengths[i] for i in places]) for places in map(list, groups)]

    def _cut(self, text: str, most: int) -> str:
        """Cut a question to what the model reads; others do so themselves, but many servers refuse it."""
        if len(text) <= most:
            return text
        tokens = load_tokenizer(str(self.files.tokenizer_file)).encode(text, add_special_tokens=False).offsets
        return text if len(tokens) <= most - 2 else text[: tokens[most - 3][1]]

    async def _request(self, texts: Sequence[str], prompt: Prompt, *, turn: Turn | None = None) -> Reply:
        await self._rate.turn()
        began = time.monotonic()
        try:
            reply = await self._within(self._settings.timeout, self._provider.embed(texts, prompt=prompt))
        except (TimedOut, RateLimited):
            raise
        except EmbeddingUnavailable:
            self._doubt()
            raise
        self._answered = time.monotonic()
        if turn is not None:
            self._pace.answered(turn, texts=len(texts), seconds=self._answered - began)
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
            await self._loop.run(self._prove(self._passages, lock=self._proving))

    @property
    def _is_due(self) -> bool:
        return not self._proved or time.monotonic() - self._proved > PROBE_SECONDS

    async def _passages(self, texts: list[str]) -> NDArray[np.float32]:
        return (await self._of_passages(texts))[0]

    async def _prove_at_once(self) -> None:
        """Ask beside the passages that wait for their turn, for questions do not."""

        async def embed(texts: list[str]) -> NDArray[np.float32]:
            return (await self._request(texts, "text")).vectors

        await self._prove(embed, lock=self._probing)

    async def _look(self) -> None:
        """Have the server answer, with a single text unless it is to be proved: a slow one is looked at often."""
        if self._is_due:
            await self._prove_at_once()
        else:
            await self._request([PROBES[FIRST]], "text")

    async def _prove(self, embed: Callable[[list[str]], Awaitable[NDArray[np.float32]]], *, lock: asyncio.Lock) -> None:
        began = time.monotonic()
        async with lock:
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
            raise TimedOut(msg) from None


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

    @property
    def slowed(self) -> str | None:
        """How little is asked for at once; see `RemoteEmbedder.slowed`."""
        return self.model.slowed

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
