"""Jobs.

Until 0009 another library's tables were the queue (procrastinate's), and this revision created them, too. They are no
longer created where they would only be dropped again.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0005"
down_revision = "0004"

TABLES = """
CREATE TABLE footnote.jobs (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES footnote.tenants,
    collection text NOT NULL,
    kind text NOT NULL CHECK (kind ~ '^[a-z][a-z0-9-]{0,62}$'),
    document_id text CHECK (octet_length(document_id) BETWEEN 1 AND 512),
    lock text CHECK (octet_length(lock) BETWEEN 1 AND 1024),
    priority integer NOT NULL DEFAULT 0,
    arguments jsonb NOT NULL CHECK (octet_length(arguments::text) <= 65536),
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    done bigint NOT NULL DEFAULT 0 CHECK (done >= 0),
    total bigint CHECK (total >= 0),
    attempts integer NOT NULL DEFAULT 0,
    run uuid,
    queue_id bigint,
    superseded_by uuid,
    error jsonb,
    result jsonb CHECK (octet_length(result::text) <= 65536),
    traceparent text CHECK (octet_length(traceparent) <= 64),
    request_id text,
    idempotency_key text CHECK (octet_length(idempotency_key) BETWEEN 1 AND 255),
    idempotency_fingerprint text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    heartbeat_at timestamptz,
    next_try_at timestamptz,
    finished_at timestamptz,
    CHECK ((status = 'running') = (run IS NOT NULL)),
    CHECK ((status IN ('queued', 'running')) = (finished_at IS NULL))
);
CREATE INDEX jobs_newest ON footnote.jobs (tenant_id, created_at DESC, id DESC);
CREATE INDEX jobs_unended ON footnote.jobs (status, id) WHERE status IN ('queued', 'running', 'failed');
CREATE INDEX jobs_document ON footnote.jobs (tenant_id, collection, document_id);
CREATE INDEX jobs_queue_id ON footnote.jobs (queue_id) WHERE queue_id IS NOT NULL;
CREATE INDEX jobs_finished ON footnote.jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_idempotency_key ON footnote.jobs (tenant_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
"""


def upgrade() -> None:
    """Create them."""
    run_script(op.get_bind(), TABLES)
