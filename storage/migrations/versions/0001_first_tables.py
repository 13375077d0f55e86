"""Tenants, collections, their generations, and documents.

The chunks of a generation live in a table of their own, made by `storage.chunk_tables` when the generation is made: its
vector dimension and text language are the generation's.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0001"
down_revision = None

TABLES = """
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE footnote.tenants (
    id text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO footnote.tenants (id) VALUES ('public');

CREATE TABLE footnote.collections (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES footnote.tenants,
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    language text NOT NULL,
    embedding_model text NOT NULL,
    embedding_revision text NOT NULL,
    embedding_fingerprint text NOT NULL,
    dimension integer NOT NULL CHECK (dimension BETWEEN 1 AND 16000),
    normalized boolean NOT NULL,
    chunk_tokens integer NOT NULL CHECK (chunk_tokens > 0),
    chunk_overlap integer NOT NULL CHECK (chunk_overlap >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
);

CREATE TABLE footnote.generations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    collection_id bigint NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    state text NOT NULL CHECK (state IN ('building', 'active', 'retired', 'failed')),
    created_at timestamptz NOT NULL DEFAULT now(),
    activated_at timestamptz,
    UNIQUE (collection_id, number),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, collection_id) REFERENCES footnote.collections (tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX generations_one_active ON footnote.generations (collection_id) WHERE state = 'active';

CREATE TABLE footnote.documents (
    tenant_id text NOT NULL,
    generation_id bigint NOT NULL,
    id text NOT NULL CHECK (octet_length(id) BETWEEN 1 AND 512),
    source text NOT NULL CHECK (octet_length(source) BETWEEN 1 AND 2000),
    location text,
    title text NOT NULL,
    metadata jsonb NOT NULL,
    content_hash text NOT NULL,
    pipeline_fingerprint text NOT NULL,
    bytes bigint NOT NULL,
    chunks integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation_id, id),
    UNIQUE (tenant_id, generation_id, id),
    UNIQUE (generation_id, source),
    FOREIGN KEY (tenant_id, generation_id) REFERENCES footnote.generations (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX documents_content_hash ON footnote.documents (generation_id, content_hash);
"""


def upgrade() -> None:
    """Create them."""
    run_script(op.get_bind(), TABLES)
