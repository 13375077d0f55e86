"""Jobs, for the routes: looked at, watched, cancelled, repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from server.errors import Overloaded
from storage.cursors import Page
from storage.jobs.jobs import Job, JobStore, Status

if TYPE_CHECKING:
    from storage.database import Database


class JobService:
    """The jobs of clients. Every method raises `FootnoteError`s only, apart from defects."""

    def __init__(self, database: Database, *, most_watchers: int) -> None:
        self._store = JobStore(database)
        self._most_watchers = most_watchers
        self._watchers = 0

    async def get(self, job_id: UUID, /) -> Job:
        """Return a job."""
        return await self._store.get(job_id)

    async def list(
        self,
        *,
        limit: int,
        cursor: str | None,
        collection: str | None,
        status: Status | None,
        document_id: str | None,
    ) -> Page[Job]:
        """List jobs, the newest first."""
        return await self._store.list(
            limit=limit, collection=collection, status=status, document_id=document_id, cursor=cursor
        )

    async def cancel(self, job_id: UUID, /) -> Job:
        """Cancel a job that has not ended; return it as it is now."""
        return await self._store.cancel(job_id)

    async def retry(self, job_id: UUID, /) -> Job:
        """Put a dead job into the queue again."""
        return await self._store.retry(job_id)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take one of the places of those who watch.

        Raises:
            Overloaded: all are taken: each watcher asks the database twice a second.

        """
        if self._watchers >= self._most_watchers:
            raise Overloaded(retry_after=5)
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    def watch(self, job_id: UUID, /) -> AsyncIterator[Job]:
        """Give a job as it is, then whenever it has changed, until it has ended."""
        return self._store.watch(job_id)
