"""Generations with models of their own, versions that can be ordered across them, and every document's bytes.

What a generation was built with moves to it from its collection, so that another one can be built beside it with
another model or chunking.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0004"
down_revision = "0003"

GENERATIONS = """
ALTER TABLE footnote.generations
    ADD language text,
    ADD embedding_model text,
    ADD embedding_revision text,
    ADD embedding_fingerprint text,
    ADD embedding_options jsonb,
    ADD dimension integer CHECK (dimension BETWEEN 1 AND 16000),
    ADD normalized boolean,
    ADD chunk_tokens integer CHECK (chunk_tokens > 0),
    ADD chunk_overlap integer CHECK (chunk_overlap >= 0),
    ADD build_fingerprint text,
    ADD report jsonb,
    ADD retired_at timestamptz;
UPDATE footnote.generations g SET language = c.language, embedding_model = c.embedding_model,
    embedding_revision = c.embedding_revision, embedding_fingerprint = c.embedding_fingerprint,
    dimension = c.dimension, normalized = c.normalized, chunk_tokens = c.chunk_tokens, chunk_overlap = c.chunk_overlap
FROM footnote.collections c WHERE c.id = g.collection_id;
ALTER TABLE footnote.generations
    ALTER language SET NOT NULL,
    ALTER embedding_model SET NOT NULL,
    ALTER embedding_revision SET NOT NULL,
    ALTER embedding_fingerprint SET NOT NULL,
    ALTER dimension SET NOT NULL,
    ALTER normalized SET NOT NULL,
    ALTER chunk_tokens SET NOT NULL,
    ALTER chunk_overlap SET NOT NULL,
    DROP CONSTRAINT generations_state_check,
    ADD CONSTRAINT generations_state_check CHECK (state IN ('building', 'ready', 'active', 'retired', 'failed'));
CREATE UNIQUE INDEX generations_one_building ON footnote.generations (collection_id) WHERE state = 'building';
ALTER TABLE footnote.collections
    DROP language, DROP embedding_model, DROP embedding_revision, DROP embedding_fingerprint, DROP dimension,
    DROP normalized, DROP chunk_tokens, DROP chunk_overlap;
"""

DOCUMENTS = """
CREATE TABLE footnote.originals (
    tenant_id text NOT NULL REFERENCES footnote.tenants,
    content_hash text NOT NULL CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    bytes bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, content_hash)
);
CREATE TABLE footnote.original_blocks (
    tenant_id text NOT NULL,
    content_hash text NOT NULL,
    number integer NOT NULL CHECK (number >= 0),
    data bytea NOT NULL,
    PRIMARY KEY (tenant_id, content_hash, number),
    FOREIGN KEY (tenant_id, content_hash) REFERENCES footnote.originals ON DELETE CASCADE
);

CREATE SEQUENCE footnote.document_revisions;
ALTER TABLE footnote.documents
    ADD revision bigint NOT NULL DEFAULT nextval('footnote.document_revisions'),
    ADD original text,
    ADD FOREIGN KEY (tenant_id, original) REFERENCES footnote.originals (tenant_id, content_hash);
CREATE INDEX documents_original ON footnote.documents (tenant_id, original);

CREATE TABLE footnote.tombstones (
    collection_id bigint NOT NULL REFERENCES footnote.collections ON DELETE CASCADE,
    document_id text NOT NULL,
    source text NOT NULL,
    revision bigint NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection_id, document_id)
);
CREATE INDEX tombstones_source ON footnote.tombstones (collection_id, source);
CREATE INDEX tombstones_oldest ON footnote.tombstones (deleted_at);
"""


def upgrade() -> None:
    """Move, and create."""
    run_script(op.get_bind(), GENERATIONS)
    run_script(op.get_bind(), DOCUMENTS)
