"""A number for each collection that changes with every commit which changes what can be found in it.

Revisions would not do: they are taken when a document is read, so that commits do not come in their order. The number
rises once a transaction, as its last deed: its row is locked for no longer than the commit takes, and two writers who
commit at the same time get two numbers. A generation that is being built is looked at by nobody, and does not count.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0008"
down_revision = "0007"

VERSIONS = """
CREATE TABLE footnote.index_versions (
    collection_id bigint PRIMARY KEY REFERENCES footnote.collections ON DELETE CASCADE,
    version bigint NOT NULL DEFAULT 0,
    changed_by xid8
);
INSERT INTO footnote.index_versions (collection_id) SELECT id FROM footnote.collections;

CREATE FUNCTION footnote.note_index_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO footnote.index_versions AS known (collection_id, version, changed_by)
    SELECT collection_id, 1, pg_current_xact_id() FROM footnote.generations
    WHERE id = coalesce(NEW.generation_id, OLD.generation_id) AND state <> 'building'
    ON CONFLICT (collection_id) DO UPDATE SET version = known.version + 1, changed_by = excluded.changed_by
    WHERE known.changed_by IS DISTINCT FROM excluded.changed_by;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER documents_changed
AFTER INSERT OR DELETE OR UPDATE OF source, title, metadata, content_hash, pipeline_fingerprint ON footnote.documents
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION footnote.note_index_change();
"""


def upgrade() -> None:
    """Create them."""
    run_script(op.get_bind(), VERSIONS)
