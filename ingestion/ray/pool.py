"""A pool of equal actors: the least busy one takes a call, and another one retries it if that is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import structlog
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from ingestion.errors import ClusterUnavailable
from ingestion.ray.actors import NOT_READY, Refused
from ingestion.ray.messages import Patience

ATTEMPTS = 5
DEPTH = 2  # calls for each actor: one in progress and one waiting
_STOPPING = 5.0
_PAUSE = 1.0
_GIVEN_UP = 3  # consecutive reports of a dead actor: Ray may report once while it restarts it
_SHOWN = 300
_log = structlog.get_logger(__name__)


class CallFailed(Exception):
    """An actor's method raised, or several actors in a row were lost with the call; `str` is for people."""


@dataclass(slots=True, eq=False)
class _Worker:
    handle: Any
    job: object
    calls: int = 0
    is_up: bool = False
    is_dead: bool = False


class ActorPool:
    """Calls methods of equal actors; `start` creates one, which Ray restarts whenever its process ends.

    `start` returns it with its job: the argument of ``ready``, which is called before other methods and after restarts.
    """

    def __init__(
        self, start: Callable[[int], tuple[Any, object]], *, size: int, kind: str, address: str, patience: Patience
    ) -> None:
        self.size = size
        self._kind = kind
        self._address = address
        self._patience = patience
        self._changed = asyncio.Event()
        self._none_since: float | None = time.monotonic()
        self._was_up = False
        self._last_reason = ""
        self._is_closed = False
        self._workers = [_Worker(*start(number)) for number in range(size)]
        self._tasks = {asyncio.create_task(self._bring_up(worker)) for worker in self._workers}

    async def call(self, method: str, *args: object) -> Any:  # noqa: ANN401 (what the method returns)
        """Call `method` on any actor and return its result.

        Raises:
            CallFailed: the method raised, or several actors in a row were lost with it.
            ClusterUnavailable: no actor is left.

        """
        for _ in range(ATTEMPTS):
            worker = await self._free_worker()
            try:
                answer = await self._answer(worker, method, args)
            except RayTaskError as exc:
                reason = f"a worker of the Ray cluster failed on it ({type(exc.cause).__name__})"
                raise CallFailed(reason) from None
            except (RayError, ConnectionError, TimeoutError) as exc:
                self._lose(worker, type(exc).__name__)
            else:
                if not isinstance(answer, str):
                    return answer
                self._lose(worker, NOT_READY)  # restarted unnoticed
        msg = f"{ATTEMPTS} workers of the Ray cluster were lost while they worked on it"
        raise CallFailed(msg)

    async def close(self) -> None:
        """Stop the actors; waiting calls fail."""
        self._is_closed = True
        self._changed.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        stopping = [worker.handle.stop.remote() for worker in self._workers if worker.is_up]

        def end() -> None:
            if stopping:
                ray.wait(stopping, num_returns=len(stopping), timeout=_STOPPING)
            for worker in self._workers:
                ray.kill(worker.handle)

        try:
            await asyncio.to_thread(end)
        except (RayError, ConnectionError) as exc:
            _log.warning("the actors were left to the Ray cluster", kind=self._kind, error=type(exc).__name__)

    async def _answer(self, worker: _Worker, method: str, args: Sequence[object]) -> Any:  # noqa: ANN401 (see `call`)
        with self._counted(worker):
            ref = getattr(worker.handle, method).remote(*args)
            try:
                async with asyncio.timeout(self._patience.call):
                    return await asyncio.wrap_future(ref.future())
            except asyncio.CancelledError:
                ray.cancel(ref)
                raise
            except TimeoutError:
                ray.kill(worker.handle, no_restart=False)
                raise

    @contextmanager
    def _counted(self, worker: _Worker) -> Iterator[None]:
        try:
            yield
        finally:
            worker.calls -= 1
            self._changed.set()

    async def _free_worker(self) -> _Worker:
        """Wait for an actor with a free slot, and take the slot."""
        while True:
            left = self._time_left()
            free = [worker for worker in self._workers if worker.is_up and worker.calls < DEPTH]
            if free:
                chosen = min(free, key=lambda worker: worker.calls)
                chosen.calls += 1
                return chosen
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _time_left(self) -> float | None:
        """Return the seconds left to wait for an actor, None while one is up.

        Raises:
            ClusterUnavailable: none is left.

        """
        if self._is_closed:
            msg = f"the Ray cluster at {self._address} was left"
            raise ClusterUnavailable(msg)
        if self._none_since is None:
            return None
        seconds = self._patience.lost if self._was_up else self._patience.start
        left = self._none_since + seconds - time.monotonic()
        if left <= 0 or all(worker.is_dead for worker in self._workers):
            raise ClusterUnavailable(self._diagnosis(seconds))
        return left

    def _diagnosis(self, seconds: float) -> str:
        last = f" (last: {self._last_reason})" if self._last_reason else ""
        if self._was_up:
            return (
                f"the Ray cluster at {self._address} is lost: no {self._kind} worker answers any more{last}. What is "
                "committed stays: look at `ray status`, start the cluster again and repeat the command"
            )
        if all(worker.is_dead for worker in self._workers):
            return f"no {self._kind} worker can run on the Ray cluster at {self._address}: {self._last_reason}"
        return (
            f"no {self._kind} worker came up on the Ray cluster at {self._address} within {seconds:g} seconds{last}; "
            "`ray status` shows whether other work holds its CPUs"
        )

    def _lose(self, worker: _Worker, reason: str) -> None:
        self._last_reason = reason
        if self._is_closed or not worker.is_up:  # noticed by another call
            return
        worker.is_up = False
        _log.warning("a Ray worker is lost, another takes over", kind=self._kind, reason=reason)
        if not any(each.is_up for each in self._workers):
            self._none_since = time.monotonic()
        task = asyncio.create_task(self._bring_up(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._changed.set()

    async def _bring_up(self, worker: _Worker) -> None:
        """Wait until an actor is ready; Ray delays the call during a restart."""
        deaths = 0
        while not (worker.is_up or worker.is_dead):
            try:
                refused = await asyncio.wrap_future(worker.handle.ready.remote(worker.job).future())
            except RayTaskError as exc:  # our code cannot run on that node
                self._give_up(worker, _last_line(exc))
            except (RayError, ConnectionError) as exc:
                deaths = deaths + 1 if isinstance(exc, ActorDiedError) else 0
                self._last_reason = type(exc).__name__
                if deaths == _GIVEN_UP:
                    self._give_up(worker, _last_line(exc))
                await asyncio.sleep(_PAUSE)
            else:
                self._welcome(worker, refused)
        self._changed.set()

    def _welcome(self, worker: _Worker, refused: Refused | None) -> None:
        if isinstance(refused, Refused):
            self._give_up(worker, refused.reason)
            return
        worker.is_up = self._was_up = True
        self._none_since = None

    def _give_up(self, worker: _Worker, reason: str) -> None:
        worker.is_dead = True
        self._last_reason = reason
        _log.warning("a Ray worker cannot be used", kind=self._kind, reason=reason)


def _last_line(error: BaseException) -> str:
    """Return the last line: Ray's messages end with the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:_SHOWN] if lines else type(error).__name__
