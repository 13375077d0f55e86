"""Vectors of remote models that were paid for, until the documents that need them are written.

They are kept by the fingerprint of the model and the hash of the text, without the text, and deleted when the document
is written, or after some days: `storage/documents/kept_vectors.py`.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0021"
down_revision = "0020"
serves_from = "0019"

# compressed or not, numbers take as much room; without a try at it they are written faster
TABLE = """
CREATE TABLE footnote.kept_vectors (
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    fingerprint text NOT NULL,
    text_hash uuid NOT NULL,
    vector bytea NOT NULL,
    kept_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, fingerprint, text_hash)
);
ALTER TABLE footnote.kept_vectors ALTER COLUMN vector SET STORAGE EXTERNAL;
CREATE INDEX kept_vectors_at ON footnote.kept_vectors (kept_at);

ALTER TABLE footnote.kept_vectors ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
"""

# whoever may see what of a tenant: its own members, and storage's own work for all tenants
OWN = """(tenant_id = (SELECT current_setting('footnote.tenant', true))
    OR (SELECT current_setting('footnote.system', true) = 'on'))"""


def upgrade() -> None:
    """Create the table with its policy."""
    database = op.get_bind()
    run_script(database, TABLE)
    run_script(database, f"CREATE POLICY kept_vectors_of_caller ON footnote.kept_vectors USING ({OWN})")
