"""What is remembered of sources that are read again and again: when each one ran, and what its pages were."""

from alembic import op

from storage.schema_version import run_script

revision = "0006"
down_revision = "0005"

TABLES = """
CREATE TABLE footnote.source_runs (
    tenant_id text NOT NULL REFERENCES footnote.tenants,
    collection text NOT NULL,
    name text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 400),
    definition text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    next_try_at timestamptz,
    error text,
    report jsonb,
    PRIMARY KEY (tenant_id, collection, name)
);

CREATE TABLE footnote.web_pages (
    tenant_id text NOT NULL REFERENCES footnote.tenants,
    url text NOT NULL CHECK (octet_length(url) <= 2000),
    final_url text NOT NULL CHECK (octet_length(final_url) <= 8192),
    etag text CHECK (octet_length(etag) <= 1024),
    last_modified text CHECK (octet_length(last_modified) <= 1024),
    content_hash text NOT NULL CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    file_name text NOT NULL,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, url)
);
"""


def upgrade() -> None:
    """Create them."""
    run_script(op.get_bind(), TABLES)
