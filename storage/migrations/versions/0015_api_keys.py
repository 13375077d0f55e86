"""API keys.

A key is looked up before anybody knows who asks, so `find_api_key` and `note_api_keys_used` run as their owner: they do
no more than that, whatever policies the table gets. A trigger tells every server of a change, so that none is missed,
whoever made it; `last_used_at` is no such change.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0015"
down_revision = "0014"

KEYS = """
CREATE TABLE IF NOT EXISTS footnote.api_keys (
    id text PRIMARY KEY CHECK (id ~ '^[a-z0-9]{12}$'),
    tenant_id text NOT NULL,
    subject text NOT NULL CHECK (subject <> ''),
    name text NOT NULL,
    groups text[] NOT NULL DEFAULT '{}',
    scopes text[] NOT NULL,
    collections text[],
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    previous_hash bytea CHECK (length(previous_hash) = 32),
    previous_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    rotated_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CHECK ((previous_hash IS NULL) = (previous_until IS NULL))
);
CREATE INDEX IF NOT EXISTS api_keys_tenant ON footnote.api_keys (tenant_id, created_at DESC, id DESC);

CREATE OR REPLACE FUNCTION footnote.find_api_key(wanted text) RETURNS SETOF footnote.api_keys
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM footnote.api_keys WHERE id = wanted $$;

CREATE OR REPLACE FUNCTION footnote.note_api_keys_used(ids text[], moments timestamptz[]) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
        UPDATE footnote.api_keys k SET last_used_at = greatest(k.last_used_at, used.moment)
        FROM (SELECT * FROM unnest(ids, moments) AS given (id, moment) ORDER BY id) used WHERE k.id = used.id
    $$;

CREATE OR REPLACE FUNCTION footnote.tell_of_api_key() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
    BEGIN
        PERFORM pg_notify('footnote_keys', coalesce(NEW.id, OLD.id));
        RETURN NULL;
    END $$;

DROP TRIGGER IF EXISTS api_keys_changed ON footnote.api_keys;
CREATE TRIGGER api_keys_changed
    AFTER INSERT OR DELETE OR UPDATE OF tenant_id, subject, groups, scopes, collections, secret_hash, previous_hash,
        previous_until, expires_at, revoked_at ON footnote.api_keys
    FOR EACH ROW EXECUTE FUNCTION footnote.tell_of_api_key();
"""


def upgrade() -> None:
    """Create the table, its functions and its trigger."""
    run_script(op.get_bind(), KEYS)
