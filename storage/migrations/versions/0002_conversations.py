"""Conversations and their turns, answers to idempotency keys, and leases."""

from alembic import op

from storage.schema_version import run_script

revision = "0002"
down_revision = "0001"

TABLES = """
CREATE TABLE footnote.leases (
    name text PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 512),
    holder uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX leases_holder ON footnote.leases (holder);

CREATE TABLE footnote.conversations (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES footnote.tenants,
    collection text NOT NULL,
    title text NOT NULL,
    summary text NOT NULL DEFAULT '',
    summary_turn integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id)
);
CREATE INDEX conversations_newest ON footnote.conversations (tenant_id, updated_at DESC, id DESC);

CREATE TABLE footnote.turns (
    tenant_id text NOT NULL,
    conversation_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    state text NOT NULL CHECK (state IN ('running', 'complete', 'failed', 'abandoned')),
    question_id uuid NOT NULL,
    answer_id uuid NOT NULL,
    stream_id text,
    question text NOT NULL,
    question_tokens integer NOT NULL,
    standalone_question text,
    answer text NOT NULL DEFAULT '',
    answer_tokens integer NOT NULL DEFAULT 0,
    citations jsonb NOT NULL DEFAULT '[]',
    finish_reason text,
    problem text,
    model text,
    usage jsonb,
    cost_usd double precision,
    timings_ms jsonb,
    generation text,
    trace_id text,
    request_id text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    answered_at timestamptz,
    PRIMARY KEY (conversation_id, number),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES footnote.conversations (tenant_id, id) ON DELETE CASCADE,
    CHECK ((state = 'complete') = (finish_reason IS NOT NULL))
);

CREATE TABLE footnote.idempotency_keys (
    tenant_id text NOT NULL REFERENCES footnote.tenants,
    key text NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 255),
    fingerprint text NOT NULL,
    stream_id text NOT NULL,
    conversation_id uuid,
    answer jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_expiry ON footnote.idempotency_keys (expires_at);
CREATE INDEX idempotency_keys_conversation ON footnote.idempotency_keys (conversation_id);
"""


def upgrade() -> None:
    """Create them."""
    run_script(op.get_bind(), TABLES)
