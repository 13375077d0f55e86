"""What a job's handler is given, and what becomes of a job whose handler failed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from config.errors import INTERNAL, FootnoteError
from embedding.errors import EmbeddingFailed
from ingestion.errors import FetchFailed
from storage.errors import (
    BuildRunning,
    EmbeddedServerFailed,
    GenerationRetired,
    LeaseLost,
    StoreTimeout,
    StoreUnavailable,
    TableGone,
    WriteConflict,
)
from storage.jobs.rows import Job, JobError

if TYPE_CHECKING:
    from config.settings import JobSettings
    from storage.database import Connection
    from storage.jobs.runs import JobRuns, Run

MAX_PAUSE_SECONDS = 300.0  # between two attempts, unless a site asks for more
MAX_DETAIL_LENGTH = 1000
MAX_RETRY_AFTER = 86_400.0  # seconds; a site that asks for more is asked again after these

# what may pass, where the error does not say so itself by its attribute `retryable`; what is not here never will
PASSING = (
    StoreUnavailable,
    StoreTimeout,
    WriteConflict,
    LeaseLost,
    EmbeddedServerFailed,
    GenerationRetired,
    TableGone,
    BuildRunning,
    EmbeddingFailed,
    FetchFailed,
    OSError,  # TimeoutError and ConnectionError among them
    MemoryError,
)
LASTING = (FileNotFoundError, PermissionError)


class Progress:
    """How far a run is, and whether it is still this process's.

    Attributes:
        done, total: as last told; they reach clients about once a second.

    """

    def __init__(self, runs: JobRuns, run: Run) -> None:
        self._runs = runs
        self._run = run
        self.done = 0
        self.total: int | None = None

    def tell(self, done: int, *, total: int | None = None) -> None:
        """Say how far the job is, in units of its own; call it as often as you like, on the event loop."""
        self.done = done
        self.total = total if total is not None else self.total

    async def confirm(self, connection: Connection) -> None:
        """Make what the connection's transaction writes depend on the job being this process's to do.

        Call it first in the transaction that writes: a cancelled job then writes nothing, and one that another worker
        took up is written by that one alone. Until the transaction ends nobody can cancel the job.

        Raises:
            JobLost: it was cancelled, or another worker has it.

        """
        await self._runs.confirm(connection, self._run)


Handler: TypeAlias = Callable[[Job, Progress], Awaitable[Mapping[str, object] | None]]
"""Does a job, and returns its result.

It may be begun again at any point, and for a moment while it still runs elsewhere: what it writes must bear that. An
error that it raises is the job's; `may_pass` says which are tried again. It ends soon when it is cancelled.
"""


def may_pass(error: BaseException) -> bool:
    """Tell whether another try may end better."""
    said = getattr(error, "retryable", None)
    if said is not None:
        return bool(said)
    return isinstance(error, PASSING) and not isinstance(error, LASTING)


def pause_before(attempt: int, error: BaseException, *, settings: JobSettings) -> float:
    """Return the seconds between a failed attempt, counted from 1, and the next one.

    They double each time up to a bound, by chance a half more or less, so that what failed together does not come
    back together; where somebody asked for a longer pause (``retry_after``) it is that.
    """
    doubled = settings.retry_pause * 2.0 ** min(attempt - 1, 60)
    pause = min(doubled, MAX_PAUSE_SECONDS) * random.uniform(0.5, 1.5)  # noqa: S311 (a pause, no secret)
    asked = getattr(error, "retry_after", None) or 0
    return max(pause, min(float(asked), MAX_RETRY_AFTER))


def error_of(error: BaseException) -> JobError:
    """Return what clients are told of an error; one that is not ours may quote the document, and stays untold."""
    if not isinstance(error, FootnoteError):
        return JobError(INTERNAL, "the job failed for a reason that only the worker's log tells")
    field = getattr(error, "field", None)
    return JobError(error.slug, str(error)[:MAX_DETAIL_LENGTH], str(field) if field else None)
