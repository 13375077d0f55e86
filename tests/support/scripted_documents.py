"""Documents, jobs and collections for applications over a script: a few of each, and no worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from server.services.collections import Activated, NewCollection
from server.services.documents import Content, NewVersion, Submitted
from storage.collections.collections import CollectionInfo
from storage.collections.generations import GenerationInfo
from storage.cursors import Page, decode_cursor, decode_moment
from storage.errors import (
    CollectionExists,
    CollectionNotFound,
    DocumentNotFound,
    GenerationNotFound,
    JobNotFound,
    JobNotRetryable,
)
from storage.jobs.jobs import Job, JobError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DOCUMENTS = ("doc-1", "doc-2", "doc-3")
DONE_JOB = Job(
    id=UUID("0b1f6f0e-0000-4000-8000-000000000001"),
    tenant="public",
    subject="local",
    collection="default",
    kind="index-document",
    document_id="doc-1",
    arguments={"source": "docs/1.md"},
    status="succeeded",
    done=1,
    total=1,
    attempts=1,
    error=None,
    result={"outcome": "added", "chunks": 3},
    superseded_by=None,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    request_id="r1",
    created_at=NOW,
    started_at=NOW,
    heartbeat_at=NOW,
    next_try_at=None,
    finished_at=NOW,
)
DEAD_JOB = replace(
    DONE_JOB,
    id=UUID("0b1f6f0e-0000-4000-8000-000000000002"),
    status="failed",
    result=None,
    error=JobError("invalid-request", "an encrypted PDF: remove its password first"),
)


@dataclass
class ScriptedDocuments:
    """Takes what it is given, and has three documents."""

    brought: list[NewVersion] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)

    async def submit(self, new: NewVersion, /) -> Submitted:
        if new.collection != "default":
            raise CollectionNotFound(str(new.collection))
        if new.must_exist and new.document_id not in DOCUMENTS:
            raise DocumentNotFound(str(new.document_id))
        content: Any = new.content
        self.heads.append(content.file.read(100) if hasattr(content, "file") else b"")
        self.brought.append(new)
        return Submitted(new.document_id or "doc-1", DONE_JOB.id)

    async def delete(self, document_id: str, /, *, collection: str) -> None:
        if document_id not in DOCUMENTS or collection != "default":
            raise DocumentNotFound(document_id)

    async def content(self, document_id: str, /, *, collection: str) -> Content:
        await self.delete(document_id, collection=collection)

        async def blocks() -> AsyncGenerator[bytes, None]:
            yield b"# Page"

        return Content("page.md", "ab" * 32, blocks())


@dataclass
class ScriptedJobs:
    """Two jobs that have ended."""

    steps: list[Any] = field(default_factory=list)

    async def get(self, job_id: UUID, /) -> Job:
        for job in (DONE_JOB, DEAD_JOB):
            if job.id == job_id:
                return job
        raise JobNotFound(str(job_id))

    async def list(self, *, cursor: str | None, status: str | None, **_: object) -> Page[Job]:
        decode_moment(cursor)
        return Page(tuple(job for job in (DONE_JOB, DEAD_JOB) if status in (None, job.status)), None)

    async def cancel(self, job_id: UUID, /) -> Job:
        return await self.get(job_id)

    async def retry(self, job_id: UUID, /) -> Job:
        if (await self.get(job_id)).status != "failed":
            raise JobNotRetryable
        return replace(DEAD_JOB, status="queued", finished_at=None)

    async def watch(self, job_id: UUID, /) -> AsyncGenerator[Job, None]:
        """Play the steps: jobs are given, errors raised, events waited for; then the job itself."""
        for step in self.steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, Job):
                yield step
            else:
                await step.wait()
        yield await self.get(job_id)


class ScriptedCollections:
    """One collection with two generations."""

    def __init__(self) -> None:
        self.made: list[NewCollection] = []
        self.deleted: list[str] = []
        self.activated: list[str] = []

    async def create(self, new: NewCollection, /) -> CollectionInfo:
        self.made.append(new)
        if new.name == "default":
            raise CollectionExists(new.name)
        tokens, language = new.chunk_tokens or 256, new.language or "english"
        return CollectionInfo(new.name, "1", 0, 0, "all-MiniLM-L6-v2", 384, language, tokens, "chunks_2", NOW)

    async def delete(self, name: str, /) -> None:
        await self._require(name)
        self.deleted.append(name)

    async def _require(self, name: str) -> None:
        if name != "default":
            raise CollectionNotFound(name)

    async def generations(self, name: str, /, *, limit: int, cursor: str | None) -> Page[GenerationInfo]:  # noqa: ARG002
        await self._require(name)
        decode_cursor(cursor)
        common = {"documents": 3, "chunks": 30, "embedding_model": "all-MiniLM-L6-v2", "dimension": 384}
        common |= {"language": "english", "chunk_tokens": 256, "chunk_overlap": 32, "table": "chunks_1", "report": None}
        times = {"created_at": NOW, "activated_at": NOW, "retired_at": None}
        states: Any = {"2": "active", "1": "retired"}
        found = [GenerationInfo(name, state, **common, **times, bytes=2048) for name, state in states.items()]
        return Page(tuple(found), None)

    async def activate(self, name: str, /, *, generation: str) -> Activated:
        await self._require(name)
        self.activated.append(generation)
        if generation not in {"1", "2"}:
            raise GenerationNotFound(name, generation)
        return Activated(name, generation, "2", DONE_JOB.id)
