"""Deleting collections and dropping generations without waiting for whoever reads or writes documents.

The foreign key of each table of chunks goes: with it, to make or to drop such a table locked all documents. A trigger
on the documents does its work. A generation or a collection is marked first, and dropped later.

Each statement that needs a table for itself waits for it no longer than `WAIT`, since everybody else queues behind it,
and is tried again, table by table, each in a transaction of its own. An upgrade that is broken off goes on where it
was: every step may be done twice.
"""

import time

import asyncpg
import sqlalchemy
from alembic import op
from sqlalchemy.exc import DBAPIError

from storage.schema_version import run_script

revision = "0010"
down_revision = "0009"

WAIT = "400ms"  # less than deadlock_timeout: it gives way before anybody else is made to
PAUSE = 0.5  # seconds, in which those that queued get through
TRIES = 600  # of each step, in at least five minutes

MARKS = """
ALTER TABLE footnote.collections ADD COLUMN IF NOT EXISTS deleted_at timestamptz;
ALTER TABLE footnote.collections DROP CONSTRAINT IF EXISTS collections_tenant_id_name_key;
CREATE UNIQUE INDEX IF NOT EXISTS collections_name ON footnote.collections (tenant_id, name) WHERE deleted_at IS NULL;
"""
STATES = """
ALTER TABLE footnote.generations DROP CONSTRAINT IF EXISTS generations_state_check,
    ADD CONSTRAINT generations_state_check
    CHECK (state IN ('building', 'ready', 'active', 'retired', 'failed', 'dropped'));
CREATE INDEX IF NOT EXISTS generations_dropped ON footnote.generations (id) WHERE state = 'dropped';
"""

FUNCTIONS = """
-- The chunks of a document go with it. A table that is gone, or goes meanwhile, has none left.
CREATE OR REPLACE FUNCTION footnote.delete_chunks() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    generation bigint;
BEGIN
    FOR generation IN SELECT DISTINCT generation_id FROM gone LOOP
        IF to_regclass('footnote.data_generation_' || generation) IS NOT NULL THEN
            BEGIN
                EXECUTE format('DELETE FROM footnote.data_generation_%s WHERE document_id = ANY($1)', generation)
                USING ARRAY(SELECT id FROM gone WHERE generation_id = generation);
            EXCEPTION WHEN undefined_table THEN
                NULL;
            END;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- True, unless the generation was dropped: then it fails as a query does whose table is gone.
CREATE OR REPLACE FUNCTION footnote.require_generation(wanted bigint) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog AS $$
BEGIN
    PERFORM FROM footnote.generations WHERE id = wanted AND state <> 'dropped';
    IF NOT FOUND THEN
        RAISE undefined_table USING MESSAGE = format('data_generation_%s was dropped', wanted);
    END IF;
    RETURN true;
END
$$;
"""
TRIGGER = """
DROP TRIGGER IF EXISTS documents_deleted ON footnote.documents;
CREATE TRIGGER documents_deleted AFTER DELETE ON footnote.documents
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION footnote.delete_chunks();
"""

# the tenant, which the foreign key held, too; it held it for the rows that are there
CHUNKS = """
LOCK TABLE footnote.documents IN ACCESS EXCLUSIVE MODE;
ALTER TABLE footnote.{name} DROP CONSTRAINT "{key}",
    ADD CONSTRAINT {name}_tenant_id_check CHECK (tenant_id = '{tenant}') NOT VALID;
"""
KEYS = """
SELECT g.id, g.tenant_id, k.conname FROM footnote.generations g
JOIN pg_constraint k ON k.conrelid = to_regclass('footnote.data_generation_' || g.id)
    AND k.contype = 'f' AND k.confrelid = 'footnote.documents'::regclass ORDER BY g.id
"""


def upgrade() -> None:
    """Change the tables, one after the other."""
    with op.get_context().autocommit_block():
        database = op.get_bind()
        run_script(database, f"SET lock_timeout = '{WAIT}'")
        for script in (MARKS, STATES, FUNCTIONS, TRIGGER):
            _insist(database, script)
        for generation_id, tenant, key in database.exec_driver_sql(KEYS).all():
            _insist(database, CHUNKS.format(name=f"data_generation_{generation_id}", key=key, tenant=tenant))
        run_script(database, "RESET lock_timeout")


def _insist(database: sqlalchemy.Connection, script: str) -> None:
    """Run a script, which is one transaction; again and again while others hold what it needs."""
    for _ in range(TRIES):
        try:
            return run_script(database, script)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, DBAPIError) as exc:
            if not isinstance(exc, asyncpg.PostgresError) and "lock" not in str(exc):
                raise
            last = exc
        time.sleep(PAUSE)
    raise last
