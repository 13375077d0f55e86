"""Sources are looked up among jobs, and stored as NFC.

The index tells which document a job that has not ended gives a source to. Names that were stored as a file system wrote
them, with accents apart (NFD), are joined to what is looked up from now on. Where a generation has both, both stay. The
copies of the name in the chunks, which citations show, are written with the document's next version.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0012"
down_revision = "0011"

JOBS = """
CREATE INDEX jobs_source ON footnote.jobs (tenant_id, collection, (arguments ->> 'source'))
    WHERE status IN ('queued', 'running');
"""

# a server with another encoding has no normalize()
NAMES = """
DO $$
BEGIN
    IF getdatabaseencoding() = 'UTF8' THEN
        UPDATE footnote.documents d SET source = odd.name
        FROM (SELECT generation_id, id, normalize(source, NFC) AS name, row_number() OVER (
                  PARTITION BY generation_id, normalize(source, NFC) ORDER BY revision DESC, id) AS place
              FROM footnote.documents WHERE source IS NOT NFC NORMALIZED) odd
        WHERE d.generation_id = odd.generation_id AND d.id = odd.id AND odd.place = 1
            AND octet_length(odd.name) <= 2000 AND NOT EXISTS (
                SELECT FROM footnote.documents other
                WHERE other.generation_id = odd.generation_id AND other.source = odd.name);
        UPDATE footnote.tombstones SET source = normalize(source, NFC) WHERE source IS NOT NFC NORMALIZED;
    END IF;
END
$$;
"""


def upgrade() -> None:
    """Join the names, then create the index, which lets no job be written until the commit."""
    run_script(op.get_bind(), NAMES)
    run_script(op.get_bind(), JOBS)
