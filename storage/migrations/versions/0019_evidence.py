"""Evidence: who was shown which passages; keys' own limits; a key's streams.

A row is a document that an answer showed passages of. It has ids and no text, and points at no document and at no
conversation, so that what was shown of a document is still known when that is withdrawn.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0019"
down_revision = "0018"

EVIDENCE = """
CREATE TABLE footnote.evidence (
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    answer_id uuid NOT NULL,
    document_id text NOT NULL,
    at timestamptz NOT NULL,
    subject text NOT NULL,
    key_id text,
    operation text NOT NULL CHECK (operation IN ('query', 'chat', 'retrieve')),
    outcome text NOT NULL,
    collection text NOT NULL,
    generation text NOT NULL,
    chunk_ids text[] NOT NULL,
    chunks integer[] NOT NULL,
    cited boolean NOT NULL,
    request_id text,
    trace_id text,
    conversation_id uuid,
    PRIMARY KEY (tenant_id, answer_id, document_id)
);
CREATE INDEX evidence_document ON footnote.evidence (tenant_id, collection, document_id, at DESC, answer_id DESC);
CREATE INDEX evidence_trace ON footnote.evidence (tenant_id, trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX evidence_at ON footnote.evidence (at);

ALTER TABLE footnote.evidence ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
"""

LIMITS = """
ALTER TABLE footnote.api_keys ADD COLUMN IF NOT EXISTS limits jsonb NOT NULL DEFAULT '{}'
    CHECK (jsonb_typeof(limits) = 'object' AND octet_length(limits::text) <= 8192);

DROP TRIGGER IF EXISTS api_keys_changed ON footnote.api_keys;
CREATE TRIGGER api_keys_changed
    AFTER INSERT OR DELETE OR UPDATE OF tenant_id, subject, groups, scopes, collections, secret_hash, previous_hash,
        previous_until, expires_at, revoked_at, limits ON footnote.api_keys
    FOR EACH ROW EXECUTE FUNCTION footnote.tell_of_api_key();

ALTER TABLE footnote.open_streams ADD COLUMN IF NOT EXISTS key_id text;
CREATE INDEX IF NOT EXISTS open_streams_key ON footnote.open_streams (tenant_id, key_id) WHERE key_id IS NOT NULL;
"""

# one's own, and all of the tenant's for whoever sees it all
OWN = """(tenant_id = (SELECT current_setting('footnote.tenant', true))
        OR (SELECT current_setting('footnote.system', true) = 'on'))
    AND (subject = (SELECT current_setting('footnote.subject', true))
        OR (SELECT current_setting('footnote.sees_all', true) = 'on'))"""


def upgrade() -> None:
    """Create the table with its policy, and the columns."""
    database = op.get_bind()
    run_script(database, EVIDENCE)
    run_script(database, f"CREATE POLICY evidence_of_caller ON footnote.evidence USING ({OWN})")
    run_script(database, LIMITS)
