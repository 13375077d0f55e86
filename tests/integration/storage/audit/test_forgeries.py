"""Lines of retention that somebody forged to excuse what he removed, and chains that were made to stop the sealer."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from support.audit import OLD, aged
from support.sql import execute

from storage.access.tenants import Tenants
from storage.audit import keeping
from storage.audit.chain import LOCK, entry_after
from storage.audit.keeping import Sealing
from storage.audit.lines import moment
from storage.audit.pruned import month_of
from storage.audit.retention import prune
from storage.audit.sealing import oldest_pending, seal
from storage.audit.verification import verify
from storage.errors import StoreFailed

NOW = datetime.now(UTC)
MAY = datetime(2025, 5, 20, tzinfo=UTC)
ZEROS = "0" * 64
FORGE = "SELECT footnote.audit_note('audit.prune', '', 'audit', NULL, %s::jsonb)"


def forged(dsn, **said):
    whole = {"before": moment(month_of(NOW - timedelta(days=400))), "lines": 3, "retention_days": 400, **said}
    execute(dsn, FORGE, json.dumps({"sequence": 0, "hash": ZEROS} | whole))


@pytest.fixture
async def filled(database, dsn):
    """Write four lines of today, and seal them."""
    for number in range(4):
        await Tenants(database).create(f"t{number}")
    await seal(database)
    return dsn


async def test_the_attacker_s_line_about_the_future_excuses_nothing(database, filled):
    head = (await verify(database)).head
    execute(filled, "DELETE FROM footnote.audit")
    forged(filled, before=moment(month_of(NOW + timedelta(days=62))))
    verdict = await verify(database, expected=head, retention_days=400)
    assert verdict.problem_count == 5
    assert "is not believed" in verdict.problems[0]
    assert all("was removed" in problem for problem in verdict.problems[1:])


@pytest.mark.parametrize(
    "said",
    [
        {"before": moment(month_of(NOW)), "retention_days": 400},  # more than those days allow
        {"before": moment(month_of(NOW) + timedelta(days=1)), "retention_days": 1},  # no month's beginning
        {"before": moment(month_of(NOW)), "retention_days": 0},
        {"before": moment(month_of(NOW)), "retention_days": -1},
        {"before": moment(month_of(NOW)), "retention_days": 0.5},
        {"before": moment(month_of(NOW)), "retention_days": True},
        {"before": "9999-12-01T00:00:00.000000-12:00"},
        {"before": ["x"]},
        {"sequence": 2, "hash": "a" * 64},  # no entry is shown
        {"sequence": 2, "hash": "a" * 64, "entry": {"at": "x", "id": 7, "digest": None, "previous": []}},
        {"sequence": 0, "hash": "a" * 64},
        {"sequence": 1e300},
        {"entry": "x", "sequence": 1},
    ],
)
async def test_a_line_that_drops_more_than_its_days_allow_or_shows_no_entry_is_a_problem(database, filled, said):
    execute(filled, "DELETE FROM footnote.audit WHERE object = 'tenant:t2'")
    forged(filled, **said)
    found = (await verify(database)).problems
    assert ["is not believed" in problem for problem in found] == [True, False]
    assert "was removed" in found[1]


async def test_a_line_of_the_future_is_a_problem(database, filled):
    execute(
        filled,
        """INSERT INTO footnote.audit (at, tenant_id, subject, actor_tenant, action, object, outcome, after)
           VALUES ('2500-01-01Z', '', 'x', '', 'audit.prune', 'audit', 'success', %s::jsonb)""",
        json.dumps({"before": moment(month_of(NOW)), "retention_days": 400, "sequence": 0, "hash": ZEROS}),
    )
    assert ["its time has not come" in problem for problem in (await verify(database)).problems] == [True]


async def test_a_chain_that_begins_with_older_entries_was_not_cut(database, dsn):
    await aged(database, dsn, ["a", "b"], OLD)
    execute(dsn, "DELETE FROM footnote.audit WHERE object = 'tenant:a'")
    forged(dsn)
    found = (await verify(database)).problems
    assert ["the chain begins with one of" in problem for problem in found] == [True, False]
    assert "was removed" in found[1]


async def test_the_entry_at_which_the_chain_is_cut_must_be_old_by_its_own_hash(database, filled):
    """Whoever cuts off entries of today has to show the last of them, whose hash has its time in it."""
    rows = execute(
        filled, "SELECT at, id, digest, hash FROM footnote.audit_chain WHERE sequence <= 2 ORDER BY sequence"
    )
    at, own_id, digest, sealed = rows[1]
    shown = {"at": moment(at), "id": str(own_id), "digest": bytes(digest).hex(), "previous": bytes(rows[0][3]).hex()}
    execute(
        filled,
        """DELETE FROM footnote.audit l USING footnote.audit_chain c WHERE c.id = l.id AND c.sequence <= 2;
           DELETE FROM footnote.audit_chain WHERE sequence <= 2""",
    )
    forged(filled, sequence=2, hash=bytes(sealed).hex(), entry=shown)
    (honest, begins) = (await verify(database)).problems
    assert "entry 2, which it has cut, is of" in honest
    assert "begins with entry 3" in begins
    execute(filled, "DELETE FROM footnote.audit WHERE action = 'audit.prune'")
    execute(filled, "DELETE FROM footnote.audit_chain WHERE sequence > 4")
    forged(filled, sequence=2, hash=bytes(sealed).hex(), entry={**shown, "at": moment(OLD)})
    (lying, begins) = (await verify(database)).problems
    assert "entry 2, which it shows, has another hash" in lying
    assert "begins with entry 3" in begins
    execute(filled, "DELETE FROM footnote.audit WHERE action = 'audit.prune'")
    execute(filled, "DELETE FROM footnote.audit_chain WHERE sequence > 4")
    made = entry_after(bytes(32), sequence=2, at=OLD, line_id=own_id, digest=bytes(digest))
    invented = {"at": moment(OLD), "id": str(own_id), "digest": bytes(digest).hex(), "previous": ZEROS}
    forged(filled, sequence=2, hash=made.hash.hex(), entry=invented)
    assert ["entry 3 of the chain was changed" in each for each in (await verify(database)).problems] == [True]


async def test_rows_that_are_missing_after_what_was_dropped_are_problems(database, dsn):
    await aged(database, dsn, ["a", "b"], OLD)
    await Tenants(database).create("c")
    head = (await verify(database)).head
    assert await prune(database, days=31, now=MAY) == 2
    execute(dsn, "DELETE FROM footnote.audit WHERE object = 'tenant:c'")
    (problem,) = (await verify(database, expected=head)).problems
    assert "entry 3, was removed" in problem


async def test_a_head_is_known_where_the_chain_was_cut_at_it_and_otherwise_not(database, dsn):
    await aged(database, dsn, ["a"], OLD)
    first = (await verify(database)).head
    await aged(database, dsn, ["b"], OLD)
    second = (await verify(database)).head
    assert await prune(database, days=31, now=MAY) == 2
    verdict = await verify(database, expected=second)
    assert (verdict.problems, ["entry 2, at which" in each for each in verdict.notices]) == ([], [True])
    (problem,) = (await verify(database, expected=first)).problems
    assert "unless the hash was noted before entry 2" in problem


@pytest.mark.parametrize(("setting", "told"), [(0, "for ever"), (60_000, "60000 days"), (31, None), (None, None)])
async def test_lines_that_were_dropped_sooner_than_the_setting_says_are_a_notice(database, dsn, setting, told):
    await aged(database, dsn, ["a"], OLD)
    assert await prune(database, days=31, now=MAY) == 1
    verdict = await verify(database, retention_days=setting)
    assert verdict.problems == []
    assert [told is not None and told in notice for notice in verdict.notices] == [True] * (told is not None)


BROKEN = {
    "cannot be continued": "UPDATE footnote.audit_chain SET sequence = 9223372036854775807 WHERE sequence = 4",
    "negative": """ALTER TABLE footnote.audit_chain DROP CONSTRAINT audit_chain_sequence_check;
        UPDATE footnote.audit_chain SET sequence = -5 WHERE sequence = 4""",
    "no time of Python's": """ALTER TABLE footnote.audit_chain DROP CONSTRAINT audit_chain_at_check;
        UPDATE footnote.audit_chain SET at = '4000-01-01 BC' WHERE sequence = 2""",
    "endless": """ALTER TABLE footnote.audit_chain DROP CONSTRAINT audit_chain_at_check;
        UPDATE footnote.audit_chain SET at = 'infinity' WHERE sequence = 2""",
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_chain_that_was_spoilt_is_told_in_problems(database, filled, how):
    execute(filled, BROKEN[how])
    await Tenants(database).create("later")
    verdict = await verify(database)
    assert verdict.problem_count >= 2


async def test_a_sealer_that_cannot_go_on_says_so_until_it_can(database, filled, monkeypatch):
    monkeypatch.setattr(keeping, "_log", structlog.get_logger())  # one that no earlier test has bound to its output
    sealing = Sealing()
    execute(filled, BROKEN["cannot be continued"])
    await Tenants(database).create("later")
    with pytest.raises(StoreFailed, match="none can come after it"):
        await seal(database)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await keeping._seal(database, sealing)
    assert "ends with entry 9223372036854775807" in sealing.trouble
    assert [entry["event"] for entry in logs] == ["the audit record is not sealed"] * 2
    execute(filled, "UPDATE footnote.audit_chain SET sequence = 4 WHERE sequence > 4")
    for _ in range(2):
        await keeping._seal(database, sealing)
    assert (sealing.trouble, await oldest_pending(database)) == (None, None)
    assert (await verify(database)).problems == []


async def test_a_lock_that_somebody_holds_is_noticed(database, filled, monkeypatch):
    monkeypatch.setattr(keeping, "STANDS_STILL_AFTER", 0.0)
    sealing = Sealing()
    async with database.dedicated() as other:
        await other.execute("SELECT pg_advisory_lock($1)", LOCK)
        await Tenants(database).create("later")
        for _ in range(2):
            await keeping._seal(database, sealing)
        assert "hold the sealer's lock" in sealing.trouble
    assert execute(filled, "SELECT count(*) FROM footnote.audit_pending") == [(1,)]
    for _ in range(2):
        await keeping._seal(database, sealing)
    assert sealing.trouble is None
