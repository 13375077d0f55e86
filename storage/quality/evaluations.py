"""Evaluations: what was asked for, how far it is, what was found; each is its subject's, and the administrators'."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from storage.caller import caller, current_tenant, for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_moment, encode_moment
from storage.database import storable
from storage.errors import EvaluationNotFound, JobNotFound, ReportGone
from storage.jobs.jobs import JobError, JobStore, NewJob, Status
from storage.jobs.payloads import Evaluate
from storage.quality.golden import collection_id_of
from storage.reach import reachable_collections

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database

TICKET_SECONDS = 120
"""How long the address of a report is good."""
LOST = JobError("internal", "its job is gone, and it has no result")


@dataclass(frozen=True, slots=True)
class Options:
    """What an evaluation asks.

    Attributes:
        engines: names of variants, as ``--engine`` takes them.
        k: passages of each question.
        judge: whether answers are written, and judged by the model.

    """

    engines: tuple[str, ...]
    k: int
    judge: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation.

    Attributes:
        done, total: questions asked so far, over all engines.
        summary: figures of each engine; None before it has succeeded.

    """

    id: str
    collection: str
    subject: str
    name: str
    options: Options
    questions: int
    status: Status
    done: int
    total: int | None
    error: JobError | None
    summary: Sequence[Mapping[str, Any]] | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """What an evaluation has found: `result` and `report` are texts, JSON and HTML; `documents` all that they name."""

    summary: Sequence[Mapping[str, Any]]
    result: str
    report: str
    documents: Sequence[str]


class EvaluationStore:
    """The evaluations of the caller; of all his tenant if he sees all of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @rerun_on_conflict
    async def begin(
        self, collection: str, options: Options, /, *, name: str, questions: int, request_id: str | None
    ) -> Evaluation:
        """Keep an evaluation, and submit the job that runs it as the caller.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        who, own_id = caller(), uuid4()
        payload = Evaluate(
            evaluation=str(own_id),
            groups=() if who is None else who.groups,
            sees_all=who is not None and who.sees_all,
            collections=reachable_collections(),
        )
        async with self._database.transaction() as connection:
            collection_id = await collection_id_of(connection, collection)
            new = NewJob(payload, collection=collection, lock="evaluation", priority=-1, request_id=request_id)
            job = await JobStore(self._database).submit(connection, new)
            await connection.execute(
                """INSERT INTO footnote.evaluations (id, tenant_id, collection_id, job_id, name, options, questions)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)""",
                own_id,
                current_tenant(),
                collection_id,
                job.id,
                storable(name),
                json.dumps({"engines": list(options.engines), "k": options.k, "judge": options.judge}),
                questions,
            )
            return _evaluation(await _row(connection, own_id))

    async def list(self, *, limit: int, collection: str | None, cursor: str | None = None) -> Page[Evaluation]:
        """List evaluations, the newest first.

        Raises:
            InvalidCursor: the cursor is none of ours.

        """
        before, before_id = decode_moment(cursor)
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _LIST, current_tenant(), reachable_collections(), collection, before, before_id, limit + 1
            )
        items = tuple(map(_evaluation, rows[:limit]))
        last = items[-1] if len(rows) > limit else None
        return Page(items, encode_moment(last.created_at, UUID(last.id)) if last else None)

    async def get(self, evaluation_id: str, /) -> Evaluation:
        """Return an evaluation.

        Raises:
            EvaluationNotFound: there is none.

        """
        async with self._database.connection() as connection:
            return _evaluation(await _row(connection, _uuid(evaluation_id)))

    async def result(self, evaluation_id: str, /) -> str:
        """Return the result, as ``--json`` writes it.

        Raises:
            EvaluationNotFound: there is none, or it names a document that the caller may not read, or not any more.

        """
        async with self._database.connection() as connection:
            row = await _readable_row(connection, evaluation_id)
        return str(row["result"])

    @rerun_on_conflict
    async def ticket(self, evaluation_id: str, /) -> str:
        """Return a secret that opens the report for `TICKET_SECONDS`, for a browser that sends no key with a link.

        Raises:
            EvaluationNotFound: as `result`.

        """
        made = secrets.token_urlsafe(32)
        async with self._database.transaction() as connection:
            await _readable_row(connection, evaluation_id)
            await connection.execute(
                f"""UPDATE footnote.evaluations SET ticket = $2,
                    ticket_until = clock_timestamp() + interval '{TICKET_SECONDS} seconds' WHERE id = $1""",
                _uuid(evaluation_id),
                _digest(made),
            )
        return made

    @for_all_tenants
    async def report(self, ticket: str, /) -> str:
        """Return the report that a ticket opens, as ``--html`` writes it, whoever asks.

        Raises:
            ReportGone: it opens none, or none any more.

        """
        async with self._database.connection() as connection:
            report = await connection.fetchval(
                """SELECT e.report FROM footnote.evaluations e JOIN footnote.tenants t ON t.id = e.tenant_id
                   WHERE e.ticket = $1 AND e.ticket_until > clock_timestamp() AND t.status = 'active'""",
                _digest(ticket),
            )
        if report is None:
            raise ReportGone
        return str(report)

    async def delete(self, evaluation_id: str, /) -> None:
        """Delete an evaluation with its result, and cancel it if it runs.

        Raises:
            EvaluationNotFound: there is none.

        """
        job = await self._delete(_uuid(evaluation_id))
        with contextlib.suppress(JobNotFound):
            await JobStore(self._database).cancel(job)

    @rerun_on_conflict
    async def _delete(self, own: UUID) -> UUID:
        async with self._database.transaction() as connection:
            await _row(connection, own)
            job: UUID = await connection.fetchval(
                "DELETE FROM footnote.evaluations WHERE id = $1 RETURNING job_id", own
            )
        return job

    async def wanted(self, evaluation_id: str, /) -> Evaluation | None:
        """Return the evaluation that a job is to run; None where it was deleted meanwhile."""
        try:
            return await self.get(evaluation_id)
        except EvaluationNotFound:
            return None

    async def finish(self, connection: Connection, evaluation_id: str, found: Found, /) -> None:
        """Keep what was found, within the connection's transaction."""
        await connection.execute(
            """UPDATE footnote.evaluations SET finished_at = clock_timestamp(), summary = $2, result = $3, report = $4,
               documents = $5 WHERE id = $1""",
            _uuid(evaluation_id),
            json.dumps(list(found.summary)),
            storable(found.result),
            storable(found.report),
            [storable(each) for each in found.documents],
        )


_COLUMNS = """e.id, c.name AS collection, e.subject, e.name, e.options, e.questions, e.created_at, e.finished_at,
    e.summary, j.status, j.done, j.total, j.error"""
_OF = f"""SELECT {_COLUMNS} FROM footnote.evaluations e JOIN footnote.collections c ON c.id = e.collection_id
    LEFT JOIN footnote.jobs j ON j.id = e.job_id
    WHERE e.tenant_id = $1 AND c.deleted_at IS NULL AND ($2::text[] IS NULL OR c.name = ANY($2))"""
_LIST = f"""{_OF} AND ($3::text IS NULL OR c.name = $3)
    AND (e.created_at, e.id) < (coalesce($4::timestamptz, 'infinity'), $5::uuid)
    ORDER BY e.created_at DESC, e.id DESC LIMIT $6"""


async def _row(connection: Connection, own_id: UUID) -> asyncpg.Record:
    row = await connection.fetchrow(f"{_OF} AND e.id = $3", current_tenant(), reachable_collections(), own_id)
    if row is None:
        raise EvaluationNotFound(str(own_id))
    return row


async def _readable_row(connection: Connection, evaluation_id: str) -> asyncpg.Record:
    """Return an evaluation's result, if the caller may still read each document that it tells of."""
    own = _uuid(evaluation_id)
    await _row(connection, own)
    who = caller()
    row = await connection.fetchrow(
        """SELECT e.result, $2 OR NOT EXISTS (SELECT FROM unnest(e.documents) AS named WHERE NOT EXISTS (
               SELECT FROM footnote.generations g JOIN footnote.documents d ON d.generation_id = g.id
               WHERE g.collection_id = e.collection_id AND g.state = 'active' AND d.id = named)) AS is_readable
           FROM footnote.evaluations e WHERE e.id = $1 AND e.result IS NOT NULL""",
        own,
        who is not None and who.sees_all,
    )
    if row is None or not row["is_readable"]:
        what = "result" if row is None else "result, as it shows documents that you cannot read now; run again the"
        raise EvaluationNotFound(str(own), what=f"{what} of evaluation")
    return row


def _evaluation(row: asyncpg.Record) -> Evaluation:
    options = json.loads(row["options"])
    status, error = row["status"], json.loads(row["error"]) if row["error"] else None
    told = None if error is None else JobError(str(error["name"]), str(error["detail"]))
    if row["finished_at"] is not None:
        status, told = "succeeded", None
    elif status is None or status == "succeeded":
        status, told = "failed", LOST
    return Evaluation(
        id=str(row["id"]),
        collection=row["collection"],
        subject=row["subject"],
        name=row["name"],
        options=Options(tuple(options["engines"]), k=options["k"], judge=options["judge"]),
        questions=row["questions"],
        status=status,
        done=row["done"] or 0,
        total=row["total"],
        error=told,
        summary=json.loads(row["summary"]) if row["summary"] else None,
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode(errors="surrogatepass")).digest()


def _uuid(evaluation_id: str) -> UUID:
    try:
        return UUID(evaluation_id)
    except ValueError:
        raise EvaluationNotFound(evaluation_id[:80]) from None
