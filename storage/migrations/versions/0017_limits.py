"""Limits: a tenant's own, rates, quotas, budgets, and what was used.

Rates and open streams are not logged: after a crash of PostgreSQL every bucket is full, which does no harm.
What money is counted by is logged. Each table has the policy of the others that belong to a tenant, by the settings of
the transaction; the tables' owner is not exempt from it.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0017"
down_revision = "0016"

TABLES = """
ALTER TABLE footnote.tenants ADD COLUMN IF NOT EXISTS limits jsonb NOT NULL DEFAULT '{}'
    CHECK (jsonb_typeof(limits) = 'object' AND octet_length(limits::text) <= 8192);

CREATE UNLOGGED TABLE footnote.rates (
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    scope text NOT NULL CHECK (scope IN ('key', 'subject', 'tenant')),
    holder text NOT NULL,
    due timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, scope, holder)
);

CREATE UNLOGGED TABLE footnote.open_streams (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    subject text NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX open_streams_subject ON footnote.open_streams (tenant_id, subject);

CREATE TABLE footnote.uploads (
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    day date NOT NULL,
    uploads bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (tenant_id, day)
);

-- what is spent of the budgets, and what is reserved by calls that have not ended
CREATE TABLE footnote.spending (
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    scope text NOT NULL CHECK (scope IN ('key', 'subject', 'tenant')),
    holder text NOT NULL,
    period text NOT NULL CHECK (period IN ('day', 'month')),
    starts_on date NOT NULL,
    tokens bigint NOT NULL DEFAULT 0,
    usd numeric NOT NULL DEFAULT 0,
    reserved_tokens bigint NOT NULL DEFAULT 0,
    reserved_usd numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, scope, holder, period, starts_on)
);

CREATE TABLE footnote.reservations (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    subject text NOT NULL,
    key_id text NOT NULL,
    day date NOT NULL,
    tokens bigint NOT NULL,
    usd numeric NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX reservations_expiry ON footnote.reservations (tenant_id, expires_at);

CREATE TABLE footnote.usage (
    tenant_id text NOT NULL REFERENCES footnote.tenants ON DELETE CASCADE,
    day date NOT NULL,
    subject text NOT NULL,
    key_id text NOT NULL,
    model text NOT NULL,
    collection text NOT NULL,
    calls bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    usd numeric NOT NULL,
    unpriced_calls bigint NOT NULL,
    estimated_calls bigint NOT NULL,
    PRIMARY KEY (tenant_id, day, subject, key_id, model, collection)
);
"""

TAKE_TURN = """
-- counts a request against several rates, or against none if one refuses it
CREATE OR REPLACE FUNCTION footnote.take_turn(
    asking text, scopes text[], holders text[], most integer[], seconds double precision, at timestamptz
) RETURNS TABLE (scope text, ahead double precision, excess double precision)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
    #variable_conflict use_column
    DECLARE
        moment timestamptz;
        is_admitted boolean;
    BEGIN
        -- rows first: what is not there cannot be locked, and many first requests may come at once
        INSERT INTO footnote.rates (tenant_id, scope, holder, due)
            SELECT asking, w.scope, w.holder, coalesce(at, clock_timestamp())
            FROM unnest(scopes, holders) AS w (scope, holder) ORDER BY w.scope, w.holder
            ON CONFLICT DO NOTHING;
        PERFORM 1 FROM footnote.rates r JOIN unnest(scopes, holders) AS w (scope, holder) USING (scope, holder)
            WHERE r.tenant_id = asking ORDER BY r.scope, r.holder FOR UPDATE OF r;
        moment := coalesce(at, clock_timestamp());
        -- no bucket is emptier than empty, unless the clock was set back: it would refuse for as long
        UPDATE footnote.rates r SET due = moment + make_interval(secs => seconds)
            FROM unnest(scopes, holders) AS w (scope, holder)
            WHERE r.tenant_id = asking AND r.scope = w.scope AND r.holder = w.holder
                AND r.due > moment + make_interval(secs => seconds);
        SELECT coalesce(bool_and(greatest(extract(epoch FROM r.due - moment), 0) + seconds / w.most <= seconds + 1e-6),
                true) INTO is_admitted
            FROM footnote.rates r JOIN unnest(scopes, holders, most) AS w (scope, holder, most) USING (scope, holder)
            WHERE r.tenant_id = asking;
        IF is_admitted THEN
            UPDATE footnote.rates r SET due = greatest(r.due, moment) + make_interval(secs => seconds / w.most)
                FROM unnest(scopes, holders, most) AS w (scope, holder, most)
                WHERE r.tenant_id = asking AND r.scope = w.scope AND r.holder = w.holder;
        END IF;
        RETURN QUERY SELECT r.scope, greatest(extract(epoch FROM r.due - moment), 0)::double precision,
                CASE WHEN is_admitted THEN 0
                    ELSE greatest(extract(epoch FROM r.due - moment)::double precision + seconds / w.most - seconds, 0)
                END
            FROM footnote.rates r JOIN unnest(scopes, holders, most) AS w (scope, holder, most) USING (scope, holder)
            WHERE r.tenant_id = asking;
    END $$;
"""

# whoever may see what of a tenant: its own members, and storage's own work for all tenants
OWN = """(tenant_id = (SELECT current_setting('footnote.tenant', true))
    OR (SELECT current_setting('footnote.system', true) = 'on'))"""
OF_TENANT = ("rates", "open_streams", "uploads", "spending", "reservations", "usage")


def upgrade() -> None:
    """Create the column, the tables, their policies and the function."""
    database = op.get_bind()
    run_script(database, TABLES)
    run_script(database, TAKE_TURN)
    for table in OF_TENANT:
        run_script(database, _policy(table))


def _policy(table: str) -> str:
    return f"""
        ALTER TABLE footnote.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY {table}_of_caller ON footnote.{table} USING ({OWN});"""
