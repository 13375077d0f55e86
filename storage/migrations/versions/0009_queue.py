"""The table of jobs becomes the queue, and procrastinate's schema goes.

A job that waits is a row whose status is ``queued``, due since ``next_try_at``, else since it was created. All of that
was in ``footnote.jobs`` before, so nothing has to be carried over: a job that procrastinate had handed out and nobody
had begun still waits, one that runs goes on, or is put back when its heartbeat stops.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0009"
down_revision = "0008"

QUEUE = """
DROP INDEX footnote.jobs_queue_id;
ALTER TABLE footnote.jobs DROP COLUMN queue_id;
CREATE INDEX jobs_waiting ON footnote.jobs (priority DESC, coalesce(next_try_at, created_at), id)
    WHERE status = 'queued';
CREATE UNIQUE INDEX jobs_running_lock ON footnote.jobs (lock) WHERE status = 'running';
"""

# a database that began at a later Footnote has none of it
PROCRASTINATE = r"""
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT oid::regclass AS name FROM pg_class
               WHERE relnamespace = 'footnote'::regnamespace AND relname LIKE 'procrastinate\_%' AND relkind = 'r'
    LOOP
        EXECUTE format('DROP TABLE %s CASCADE', one.name);
    END LOOP;
    -- CASCADE has taken those that return a table's rows
    FOR one IN SELECT oid::regprocedure AS name FROM pg_proc
               WHERE pronamespace = 'footnote'::regnamespace AND proname LIKE 'procrastinate\_%'
    LOOP
        EXECUTE format('DROP FUNCTION %s', one.name);
    END LOOP;
    FOR one IN SELECT oid::regtype AS name FROM pg_type
               WHERE typnamespace = 'footnote'::regnamespace AND typname LIKE 'procrastinate\_%'
    LOOP
        EXECUTE format('DROP TYPE %s', one.name);
    END LOOP;
END
$$;
"""


def upgrade() -> None:
    """Create the indexes that the queue needs, and drop what it needs no more."""
    run_script(op.get_bind(), QUEUE)
    run_script(op.get_bind(), PROCRASTINATE)
