"""Documents that are attachments of another one: they know it, and go with it.

The source of a document is unique among those that are none; an attachment's is not, so that it never keeps a document
from its name. Programs of before go on writing rows without the column.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0014"
down_revision = "0013"

ATTACHMENTS = """
ALTER TABLE footnote.documents
    ADD COLUMN IF NOT EXISTS parent text,
    DROP CONSTRAINT IF EXISTS documents_parent_fkey,
    ADD CONSTRAINT documents_parent_fkey FOREIGN KEY (generation_id, parent)
        REFERENCES footnote.documents (generation_id, id) ON DELETE CASCADE,
    DROP CONSTRAINT IF EXISTS documents_generation_id_source_key;
CREATE UNIQUE INDEX IF NOT EXISTS documents_source ON footnote.documents (generation_id, source) WHERE parent IS NULL;
CREATE INDEX IF NOT EXISTS documents_parent ON footnote.documents (generation_id, parent) WHERE parent IS NOT NULL;
"""


def upgrade() -> None:
    """Add the column, and make the names of attachments free; the table is locked while its index is built."""
    run_script(op.get_bind(), ATTACHMENTS)
