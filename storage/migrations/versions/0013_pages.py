"""Documents know their pages, and what was not read of them.

The columns have constant defaults: no row is rewritten, and programs of before go on writing rows without them.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0013"
down_revision = "0012"

PAGES = """
ALTER TABLE footnote.documents
    ADD COLUMN IF NOT EXISTS pages jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN IF NOT EXISTS repeated jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN IF NOT EXISTS warnings jsonb NOT NULL DEFAULT '[]';
"""


def upgrade() -> None:
    """Add the columns; the table is locked for a moment."""
    run_script(op.get_bind(), PAGES)
