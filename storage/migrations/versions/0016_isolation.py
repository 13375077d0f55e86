"""Row-level security on every shared table; readers of documents; subjects.

Policies compare rows with settings that are local to a transaction (`storage.database`): ``footnote.tenant``,
``footnote.subject``, ``footnote.access`` and ``footnote.sees_all``; ``footnote.system`` lets storage's own work for all
tenants pass. Without settings no row exists, for the tables' owner neither. Settings are read in sub-selects, once a
statement; what rows are compared by is equality and ``&&``.

Tables of chunks have no policy: with one PostgreSQL would read the whole table for each word, as ``@@`` may not see
rows before the policy has. Their passages leave through a join with ``footnote.documents``: see
docs/adr/0019-the-exit-gate.md.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0016"
down_revision = "0015"

READERS = """
-- who may read a document: '+' stands for those who see the whole tenant, the rest are its readers
ALTER TABLE footnote.documents ADD COLUMN IF NOT EXISTS access text[] NOT NULL DEFAULT '{+,*}'
    CHECK (access[1] = '+' AND cardinality(access) BETWEEN 1 AND 101);
CREATE INDEX IF NOT EXISTS documents_access ON footnote.documents USING gin (access);
ALTER TABLE footnote.collections ADD COLUMN IF NOT EXISTS readers text[] NOT NULL DEFAULT '{*}'
    CHECK (cardinality(readers) BETWEEN 0 AND 100);
"""
COLUMNS = """
DROP TRIGGER documents_changed ON footnote.documents;
CREATE CONSTRAINT TRIGGER documents_changed
AFTER INSERT OR DELETE OR UPDATE OF source, title, metadata, content_hash, pipeline_fingerprint, access
ON footnote.documents
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION footnote.note_index_change();

ALTER TABLE footnote.tenants ADD COLUMN status text NOT NULL DEFAULT 'active'
    CHECK (status IN ('active', 'suspended', 'deleting'));

-- rows of before belong to everybody where authentication is off
ALTER TABLE footnote.conversations ADD COLUMN subject text NOT NULL DEFAULT 'local';
ALTER TABLE footnote.idempotency_keys ADD COLUMN subject text NOT NULL DEFAULT 'local';
ALTER TABLE footnote.feedback ADD COLUMN subject text NOT NULL DEFAULT 'local';
ALTER TABLE footnote.jobs ADD COLUMN subject text NOT NULL DEFAULT 'local';
ALTER TABLE footnote.conversations ALTER subject SET DEFAULT nullif(current_setting('footnote.subject', true), '');
ALTER TABLE footnote.idempotency_keys ALTER subject SET DEFAULT nullif(current_setting('footnote.subject', true), '');
ALTER TABLE footnote.feedback ALTER subject SET DEFAULT nullif(current_setting('footnote.subject', true), '');
ALTER TABLE footnote.jobs ALTER subject SET DEFAULT nullif(current_setting('footnote.subject', true), '');
ALTER TABLE footnote.idempotency_keys DROP CONSTRAINT idempotency_keys_pkey,
    ADD PRIMARY KEY (tenant_id, subject, key);
ALTER TABLE footnote.feedback DROP CONSTRAINT feedback_tenant_id_trace_id_key,
    ADD UNIQUE (tenant_id, trace_id, subject);
DROP INDEX footnote.jobs_idempotency_key;
CREATE UNIQUE INDEX jobs_idempotency_key ON footnote.jobs (tenant_id, subject, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- the search reads these for each question: a column is compared faster than the generation is looked up
ALTER TABLE footnote.lexicons ADD COLUMN tenant_id text NOT NULL DEFAULT 'public';
ALTER TABLE footnote.lexicon ADD COLUMN tenant_id text NOT NULL DEFAULT 'public';
ALTER TABLE footnote.lexicons ALTER tenant_id SET DEFAULT nullif(current_setting('footnote.tenant', true), '');
ALTER TABLE footnote.lexicon ALTER tenant_id SET DEFAULT nullif(current_setting('footnote.tenant', true), '');

DELETE FROM footnote.leases WHERE expires_at < clock_timestamp();
ALTER TABLE footnote.leases ADD COLUMN tenant_id text NOT NULL DEFAULT 'public';
ALTER TABLE footnote.leases ALTER tenant_id SET DEFAULT nullif(current_setting('footnote.tenant', true), '');
"""

TENANT = "(SELECT current_setting('footnote.tenant', true))"
SUBJECT = "(SELECT current_setting('footnote.subject', true))"
ACCESS = "(SELECT nullif(current_setting('footnote.access', true), '')::text[])"
SEES_ALL = "(SELECT current_setting('footnote.sees_all', true) = 'on')"
SYSTEM = "(SELECT current_setting('footnote.system', true) = 'on')"
OWN = f"(tenant_id = {TENANT} OR {SYSTEM})"

PERSONAL = ("conversations", "idempotency_keys", "feedback", "jobs")
OF_TENANT = ("api_keys", "collections", "generations", "source_runs", "web_pages", "leases", "lexicons", "lexicon")
OF_COLLECTION = ("tombstones", "index_versions")
OF_GENERATION = ("rewordings", "lexicon_deletions")

OF_ORIGINAL = ("originals", "original_blocks")
# its documents' policy holds in the sub-select: whoever may read none of them does not get their bytes
READABLE = f"""({SEES_ALL} OR EXISTS (SELECT FROM footnote.documents d
    WHERE d.tenant_id = {{0}}.tenant_id AND d.original = {{0}}.content_hash))"""

POLICIES = {
    "tenants": f"id = {TENANT} OR {SYSTEM}",
    **dict.fromkeys(OF_TENANT, OWN),
    **{table: f"{OWN} AND {READABLE.format(table)}" for table in OF_ORIGINAL},
    **dict.fromkeys(PERSONAL, f"{OWN} AND (subject = {SUBJECT} OR {SEES_ALL})"),
    # those tables' own policies hold in the sub-selects
    **dict.fromkeys(OF_COLLECTION, "EXISTS (SELECT FROM footnote.collections c WHERE c.id = collection_id)"),
    **dict.fromkeys(OF_GENERATION, "EXISTS (SELECT FROM footnote.generations g WHERE g.id = generation_id)"),
    "turns": "EXISTS (SELECT FROM footnote.conversations c WHERE c.id = conversation_id)",
    "documents": f"{OWN} AND access && {ACCESS}",
}
"""What of a table a caller sees and writes."""


def upgrade() -> None:
    """Add the columns, then the policies."""
    database = op.get_bind()
    run_script(database, READERS)
    run_script(database, COLUMNS)
    for table, condition in POLICIES.items():
        run_script(database, _policy(table, condition))


def _policy(table: str, condition: str) -> str:
    # a document may be written for readers that the writer is none of, and a turn in its conversation's statement;
    # whoever may not read one cannot change it
    check = f" WITH CHECK ({OWN})" if table in {"documents", "turns"} else ""
    return f"""
        ALTER TABLE footnote.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY {table}_of_caller ON footnote.{table} USING ({condition}){check};"""
