"""The record of what was shown: written behind answers, kept through an outage, counted where it is lost, forgotten."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from server.services import evidence
from server.services.evidence import EvidenceRecord
from storage.access.evidence import AnswerEvidence, EvidenceStore, Shown
from storage.access.tenants import Tenants
from storage.caller import Caller, acting_as
from storage.errors import InvalidCursor, StoreUnavailable

ALL = Caller("public", "root", sees_all=True)


def answer(*documents: str, subject: str = "ada", tenant: str = "public", **members: Any) -> AnswerEvidence:
    shown = tuple(Shown(document, ("n1", "n2"), (3, 4), cited=True) for document in documents or ("a",))
    named = {"id": uuid4(), "at": datetime.now(UTC), "key_id": None, "operation": "query", "outcome": "stop"}
    place = {"collection": "default", "generation": "g1"}
    return AnswerEvidence(tenant=tenant, subject=subject, shown=shown, **(named | place | members))


@pytest.fixture
def store(database) -> EvidenceStore:
    return EvidenceStore(database)


async def listed(store: EvidenceStore, document: str = "a", who: Caller = ALL, **options: Any) -> list[UUID]:
    with acting_as(who):
        return [each.id for each in (await store.list(document, collection="default", limit=50, **options)).items]


class Faulty:
    """A store that raises what it is told to, one error a call."""

    def __init__(self, store: EvidenceStore, *errors: Exception | None) -> None:
        self._store = store
        self.errors = list(errors)
        self.calls = 0

    async def write(self, answers: Any) -> None:
        self.calls += 1
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        await self._store.write(answers)

    async def forget_old(self, *, days: float) -> int:
        return await self._store.forget_old(days=days)

    async def list(self, *arguments: Any, **options: Any) -> Any:
        return await self._store.list(*arguments, **options)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Any:
    lost: list[int] = []

    class Counter:
        def add(self, number: int) -> None:
            lost.append(number)

    monkeypatch.setattr(evidence, "EVIDENCE_LOST", Counter())
    yield lost


async def test_one_sees_one_s_own_rows_and_no_other_tenant_s(store) -> None:
    mine, hers = answer("a", "b"), answer("a", subject="eve")
    await store.write([mine, hers])
    await store.write([mine])  # again: its answer may have been lost
    assert set(await listed(store)) == {mine.id, hers.id}
    assert await listed(store, who=Caller("public", "ada")) == [mine.id]
    assert await listed(store, "b") == [mine.id]
    assert await listed(store, who=Caller("acme", "ada", sees_all=True)) == []
    with pytest.raises(InvalidCursor):
        await listed(store, cursor="!")


async def test_answers_of_one_moment_are_on_one_page_each(store) -> None:
    moment = datetime.now(UTC)
    written = [answer(at=moment) for _ in range(7)]
    await store.write(written)
    seen, cursor = [], None
    with acting_as(ALL):
        while True:
            page = await store.list("a", collection="default", limit=2, cursor=cursor)
            seen += [each.id for each in page.items]
            if (cursor := page.next_cursor) is None:
                break
    assert sorted(seen) == sorted(each.id for each in written)


async def test_names_that_postgresql_does_not_take_are_written_without_what_it_does_not(store) -> None:
    await store.write([answer("a\0b", "\ud800"), answer("', '); --"), answer("x" * 512)])
    assert await listed(store, "ab")
    assert await listed(store, "', '); --")
    assert await listed(store, "x" * 512)


async def test_old_rows_are_forgotten_and_others_are_not(store) -> None:
    now = datetime.now(UTC)
    old, young = answer(at=now - timedelta(days=31)), answer(at=now - timedelta(days=29))
    await store.write([old, young])
    assert await store.forget_old(days=30) == 1
    assert await listed(store) == [young.id]


async def test_a_tenant_that_is_deleted_takes_its_rows_along_and_gets_no_more(store, database) -> None:
    tenants = Tenants(database)
    await tenants.create("acme")
    await store.write([answer(tenant="acme"), answer()])
    assert (await tenants.delete("acme"))["evidence"] == 1
    await store.write([answer(tenant="acme"), kept := answer()])
    assert kept.id in await listed(store)
    assert await listed(store, who=Caller("acme", "ada", sees_all=True)) == []


async def test_answers_outlast_a_database_that_is_away_and_are_read_at_once(store, monkeypatch) -> None:
    monkeypatch.setattr(evidence, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(evidence, "GATHERING_SECONDS", 0.01)
    faulty = Faulty(store, StoreUnavailable("away"), StoreUnavailable("away"))
    record = EvidenceRecord(faulty, is_on=True, days=30)
    with counted(monkeypatch) as lost:
        async with record.kept():
            written = [answer() for _ in range(450)]
            for each in written:
                record.note(each)
            with acting_as(ALL):
                found = await record.answers_of("a", collection="default", limit=500)
            assert {each.id for each in found.items} == {each.id for each in written}
            record.note(last := answer("z"))
        assert await listed(store, "z") == [last.id]
    assert faulty.calls > 3
    assert lost == []


async def test_what_is_lost_is_counted_and_logged(store, monkeypatch) -> None:
    monkeypatch.setattr(evidence, "MOST_WAITING", 5)
    monkeypatch.setattr(evidence, "CLOSING_SECONDS", 0.1)
    record = EvidenceRecord(Faulty(store, *[StoreUnavailable("away")] * 100), is_on=True, days=30)
    with counted(monkeypatch) as lost, capture_logs() as logs:
        async with record.kept():
            for _ in range(8):
                record.note(answer())
        assert sum(lost) == 8
    assert [each["answers"] for each in logs if each["log_level"] == "error"] == [8]
    assert await listed(store) == []


async def test_one_answer_that_cannot_be_written_takes_no_other_along(store, monkeypatch) -> None:
    good, bad = [answer() for _ in range(3)], answer("y" * 300_000)  # no index takes such a name
    record = EvidenceRecord(store, is_on=True, days=30)
    with counted(monkeypatch) as lost:
        async with record.kept():
            for each in (good[0], bad, *good[1:]):
                record.note(each)
        assert lost == [1]
    assert set(await listed(store)) == {each.id for each in good}


async def test_answers_of_many_writers_at_once_are_all_there(store) -> None:
    written = [answer(*(f"d{number}" for number in range(8))) for _ in range(60)]
    await asyncio.gather(*(store.write(written[start : start + 10]) for start in range(0, 60, 10)))
    await asyncio.gather(*(store.write(written) for _ in range(4)))
    with acting_as(ALL):
        assert len({each.id async for each in store.every()}) == 60
        assert len([each async for each in store.every()]) == 480
