"""Golden questions of collections, and the evaluations that were run with them.

A golden question names documents, and may hold words of theirs: whoever may not read all of these sees it only if it is
his own. A run tells what its subject has found, and is that one's.

One's own conversations are found among everybody's by an index.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0022"
down_revision = "0021"
serves_from = "0019"

QUALITY = """
CREATE TABLE footnote.golden_questions (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    collection_id bigint NOT NULL REFERENCES footnote.collections ON DELETE CASCADE,
    subject text NOT NULL DEFAULT nullif(current_setting('footnote.subject', true), ''),
    asked bytea NOT NULL,
    documents text[] NOT NULL,
    members jsonb NOT NULL CHECK (jsonb_typeof(members) = 'object'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (collection_id, subject, asked)
);
CREATE INDEX golden_questions_newest ON footnote.golden_questions (collection_id, created_at DESC, id DESC);

CREATE TABLE footnote.evaluations (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    collection_id bigint NOT NULL REFERENCES footnote.collections ON DELETE CASCADE,
    subject text NOT NULL DEFAULT nullif(current_setting('footnote.subject', true), ''),
    job_id uuid NOT NULL,
    name text NOT NULL,
    options jsonb NOT NULL,
    questions integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    documents text[],
    summary jsonb,
    result text,
    report text,
    ticket bytea,
    ticket_until timestamptz
);
CREATE INDEX evaluations_newest ON footnote.evaluations (tenant_id, created_at DESC, id DESC);
CREATE INDEX evaluations_collection ON footnote.evaluations (collection_id);
CREATE UNIQUE INDEX evaluations_ticket ON footnote.evaluations (ticket) WHERE ticket IS NOT NULL;

CREATE INDEX conversations_own ON footnote.conversations (tenant_id, subject, updated_at DESC, id DESC);

ALTER TABLE footnote.golden_questions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE footnote.evaluations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
"""

OWN = """(tenant_id = (SELECT current_setting('footnote.tenant', true))
        OR (SELECT current_setting('footnote.system', true) = 'on'))"""
MINE = """(subject = (SELECT current_setting('footnote.subject', true))
        OR (SELECT current_setting('footnote.sees_all', true) = 'on')
        OR (SELECT current_setting('footnote.system', true) = 'on'))"""
# the documents' own policy holds in the sub-select
READABLE = """NOT EXISTS (SELECT FROM unnest(documents) AS named WHERE NOT EXISTS (
        SELECT FROM footnote.generations g JOIN footnote.documents d ON d.generation_id = g.id
        WHERE g.collection_id = golden_questions.collection_id AND g.state = 'active'
            AND (d.id = named OR d.source = named)))"""


def upgrade() -> None:
    """Create the tables with their policies."""
    database = op.get_bind()
    run_script(database, QUALITY)
    run_script(
        database,
        f"""CREATE POLICY golden_questions_of_caller ON footnote.golden_questions
            USING ({OWN} AND ({MINE} OR {READABLE})) WITH CHECK ({OWN});
            CREATE POLICY evaluations_of_caller ON footnote.evaluations USING ({OWN} AND {MINE});""",
    )
