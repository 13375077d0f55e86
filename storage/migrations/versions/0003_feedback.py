"""What people think of answers, and a way from a trace to the turn that it was."""

from alembic import op

from storage.schema_version import run_script

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE footnote.feedback (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES footnote.tenants,
    trace_id text NOT NULL CHECK (trace_id ~ '^[0-9a-f]{32}$'),
    rating text NOT NULL CHECK (rating IN ('up', 'down')),
    comment text,
    question text,
    answer text,
    document_ids text[],
    collection text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, trace_id)
);
CREATE INDEX feedback_newest ON footnote.feedback (tenant_id, created_at DESC, id DESC);
CREATE INDEX turns_trace ON footnote.turns (trace_id) WHERE trace_id IS NOT NULL;
"""


def upgrade() -> None:
    """Create them."""
    run_script(op.get_bind(), TABLES)
