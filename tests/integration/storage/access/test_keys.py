"""API keys in the database: rotated with an overlap, revoked for good, and every change told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from support.sql import execute

from server.auth.key_text import KeyText
from storage.access.key_changes import listen
from storage.access.keys import ApiKey, ApiKeys, NewApiKey
from storage.database import Database
from storage.errors import InvalidCursor, KeyNotFound, StoreFailed, TenantNotFound

HOUR = timedelta(hours=1)


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database)


def new(**members: object) -> NewApiKey:
    text = KeyText.new()
    named = {"name": "n", "tenant": "public", "subject": "ada", "scopes": ("query",), **members}
    return NewApiKey(id=text.id, secret_hash=text.secret_hash, **named)  # type: ignore[arg-type]


async def test_a_key_is_found_as_it_was_made(keys: ApiKeys) -> None:
    wanted = new(groups=("eng", "staff"), collections=("default",), expires_at=datetime.now(UTC) + HOUR)
    made = await keys.create(wanted)
    found = await keys.find(wanted.id)
    assert found is not None
    assert found.tenant_since is not None
    assert replace(found, tenant_since=None) == made
    assert all(getattr(found, name) == getattr(wanted, name) for name in NewApiKey.__slots__)
    assert (await keys.create(new(collections=None))).collections is None
    assert await keys.find("a" * 12) is None
    assert await keys.find("'; DROP TABLE footnote.api_keys; --") is None
    with pytest.raises(StoreFailed):
        await keys.create(wanted)  # ids are taken once


async def test_no_hash_is_in_what_is_shown_of_a_key(keys: ApiKeys) -> None:
    made = await keys.create(new())
    assert "hash" not in repr(made)


async def test_the_earlier_secret_is_good_until_the_overlap_is_over(keys: ApiKeys) -> None:
    made = await keys.create(new())
    second, third = KeyText.new().secret_hash, KeyText.new().secret_hash
    rotated = await keys.rotate(made.id, secret_hash=second, overlap=HOUR)
    assert (rotated.secret_hash, rotated.previous_hash) == (second, made.secret_hash)
    assert rotated.previous_until
    assert rotated.rotated_at
    assert rotated.previous_until - rotated.rotated_at == HOUR
    at_once = await keys.rotate(made.id, secret_hash=third, overlap=timedelta())
    assert (at_once.secret_hash, at_once.previous_hash, at_once.previous_until) == (third, None, None)


async def test_of_rotations_at_once_the_last_one_counts_and_none_is_lost_half_way(keys: ApiKeys) -> None:
    made = await keys.create(new())
    hashes = [KeyText.new().secret_hash for _ in range(8)]
    await asyncio.gather(*(keys.rotate(made.id, secret_hash=each, overlap=HOUR) for each in hashes))
    found = await keys.find(made.id)
    assert found
    assert found.previous_hash
    assert {found.secret_hash, found.previous_hash} <= {*hashes}
    assert found.secret_hash != found.previous_hash


async def test_a_revoked_key_stays_so(keys: ApiKeys) -> None:
    made = await keys.create(new())
    await keys.rotate(made.id, secret_hash=KeyText.new().secret_hash, overlap=HOUR)
    await keys.revoke(made.id)
    found = await keys.find(made.id)
    assert found
    assert found.revoked_at
    assert found.previous_hash is None
    await keys.revoke(made.id)
    again = await keys.find(made.id)
    assert again
    assert again.revoked_at == found.revoked_at
    with pytest.raises(KeyNotFound):
        await keys.rotate(made.id, secret_hash=KeyText.new().secret_hash, overlap=HOUR)
    with pytest.raises(KeyNotFound):
        await keys.revoke("a" * 12)


async def test_an_expired_key_is_not_rotated(keys: ApiKeys) -> None:
    made = await keys.create(new(expires_at=datetime.now(UTC) - HOUR))
    with pytest.raises(KeyNotFound):
        await keys.rotate(made.id, secret_hash=KeyText.new().secret_hash, overlap=HOUR)


async def test_a_key_of_a_tenant_that_does_not_exist_is_not_made(keys: ApiKeys) -> None:
    with pytest.raises(TenantNotFound, match="nowhere"):
        await keys.create(new(tenant="nowhere"))


async def test_keys_are_listed_by_tenant_and_subject_page_by_page(keys: ApiKeys, dsn: str) -> None:
    execute(dsn, "INSERT INTO footnote.tenants (id) VALUES ('acme')")
    for tenant, subject in [("public", "ada"), ("public", "eve"), ("acme", "ada")] * 3:
        await keys.create(new(tenant=tenant, subject=subject))

    async def seen(**which: str | None) -> list[ApiKey]:
        found: list[ApiKey] = []
        cursor = None
        while True:
            page = await keys.list(**{"tenant": None, **which}, limit=2, cursor=cursor)  # type: ignore[arg-type]
            found += page.items
            if (cursor := page.next_cursor) is None:
                return found

    assert len(await seen()) == 9
    assert {key.tenant for key in await seen(tenant="public")} == {"public"}
    own = await seen(tenant="public", subject="ada")
    assert [(key.tenant, key.subject) for key in own] == [("public", "ada")] * 3
    assert [key.id for key in own] == sorted(key.id for key in own)
    with pytest.raises(InvalidCursor):
        await keys.list(tenant=None, limit=2, cursor="???")


async def test_every_change_is_told_whoever_makes_it_but_not_the_last_use(
    keys: ApiKeys, database: Database, dsn: str
) -> None:
    told: asyncio.Queue[str | bool] = asyncio.Queue()
    listening = asyncio.create_task(listen(database, changed=told.put_nowait, is_listening=told.put_nowait))

    async def heard() -> str | bool:
        return await asyncio.wait_for(told.get(), 20)

    try:
        assert await heard() is True
        made = await keys.create(new())
        assert await heard() == made.id
        await keys.note_used({made.id: datetime.now(UTC), "a" * 12: datetime.now(UTC)})
        await keys.rotate(made.id, secret_hash=KeyText.new().secret_hash, overlap=HOUR)
        assert await heard() == made.id
        await keys.revoke(made.id)
        assert await heard() == made.id
        execute(dsn, "UPDATE footnote.api_keys SET scopes = '{}' WHERE id = %s", made.id)
        assert await heard() == made.id
        # a connection that is lost is told of, and another one hears what comes after it
        execute(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        assert [await heard(), await heard()] == [False, True]
        execute(dsn, "DELETE FROM footnote.api_keys WHERE id = %s", made.id)
        assert await heard() == made.id
        assert told.empty()
    finally:
        listening.cancel()
        await asyncio.wait({listening})


async def test_the_last_use_never_goes_back(keys: ApiKeys) -> None:
    made, now = await keys.create(new()), datetime.now(UTC)
    for moment in (now, now - HOUR):
        await keys.note_used({made.id: moment})
    found = await keys.find(made.id)
    assert found
    assert found.last_used_at == now


async def test_a_role_that_may_not_read_the_table_finds_one_key_by_its_id(keys: ApiKeys, dsn: str) -> None:
    made = await keys.create(new())
    connection = await asyncpg.connect(dsn)
    role = f"reader_{made.id}"
    try:
        await connection.execute(f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA footnote TO {role}; SET ROLE {role}")
        # a table of the caller's own is not the one that the function reads
        await connection.execute("CREATE TEMPORARY TABLE api_keys (LIKE pg_class); SET search_path = pg_temp, public")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM footnote.api_keys")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT id FROM footnote.find_api_key($1)", made.id)
        functions = "footnote.find_api_key, footnote.note_api_keys_used"
        await connection.execute(f"RESET ROLE; GRANT EXECUTE ON FUNCTION {functions} TO {role}; SET ROLE {role}")
        (found,) = await connection.fetch("SELECT id FROM footnote.find_api_key($1)", made.id)
        assert found["id"] == made.id
        await connection.execute("SELECT footnote.note_api_keys_used($1, $2)", [made.id], [datetime.now(UTC)])
    finally:
        await connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
        await connection.close()
