"""The audit record: append-only, partitioned by month, written by triggers in the transaction that it tells of.

Triggers, and not the functions that change something, write the lines: none is forgotten, whoever makes the change, and
a transaction that is rolled back leaves none. They are deferred, so that a line is written at the commit, shows what
became of the row, and no long transaction keeps the partitions locked. Who asked is ``footnote.actor``, a setting of
the transaction (`storage.database`); without it, it was somebody at the database itself.

A line is queued in ``audit_pending`` for `storage.audit.sealing`, which gives it its place in ``audit_chain``: see
docs/adr/0020-the-audit-record.md. What the application's role may do with these tables is in `storage.app_role`: it
reads them. Triggers write with the owner's rights, and nobody else may call their functions, or give them to a table of
their own: a line tells of a change that was made, or of what was refused.

Besides, what looks up keys before anybody is known is no longer for everybody to call.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0018"
down_revision = "0017"

TABLES = """
CREATE TABLE footnote.audit (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    at timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (at BETWEEN '2000-01-01Z' AND '9000-01-01Z'),
    tenant_id text NOT NULL, -- '' for what concerns no tenant; no key: lines outlive their tenant
    subject text NOT NULL CHECK (octet_length(subject) <= 1024),
    actor_tenant text NOT NULL,
    key_id text CHECK (octet_length(key_id) <= 64),
    client text CHECK (octet_length(client) <= 256),
    action text NOT NULL CHECK (action ~ '^[a-z]{1,30}\\.[a-z]{1,30}$'),
    object text NOT NULL CHECK (octet_length(object) <= 1024),
    outcome text NOT NULL CHECK (outcome IN ('success', 'failure', 'denied')),
    request_id text CHECK (octet_length(request_id) <= 128),
    trace_id text CHECK (octet_length(trace_id) <= 64),
    before jsonb CHECK (octet_length(before::text) <= 16384),
    after jsonb CHECK (octet_length(after::text) <= 16384),
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX audit_tenant ON footnote.audit (tenant_id, at DESC, id DESC);
CREATE INDEX audit_subject ON footnote.audit (tenant_id, subject, at DESC, id DESC);

CREATE TABLE footnote.audit_pending (
    at timestamptz NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (at, id)
);

-- what was dropped after its time is here still, until the chain begins later
CREATE TABLE footnote.audit_chain (
    sequence bigint PRIMARY KEY CHECK (sequence > 0),
    at timestamptz NOT NULL CHECK (at BETWEEN '2000-01-01Z' AND '9000-01-01Z'),
    id uuid NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    UNIQUE (at, id)
);
"""

SYSTEM = "(SELECT current_setting('footnote.system', true) = 'on')"
TENANT = "(SELECT current_setting('footnote.tenant', true))"
OWN = f"(tenant_id = {TENANT} OR {SYSTEM})"
# who gets the name of a tenant that was deleted does not get its record
SINCE = f"(SELECT t.created_at FROM footnote.tenants t WHERE t.id = {TENANT})"
POLICIES = f"""
ALTER TABLE footnote.audit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_of_caller ON footnote.audit
    USING ({SYSTEM} OR (tenant_id = {TENANT} AND at >= {SINCE})) WITH CHECK ({OWN});
ALTER TABLE footnote.audit_pending ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_pending_of_caller ON footnote.audit_pending USING ({SYSTEM}) WITH CHECK (true);
ALTER TABLE footnote.audit_chain ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_chain_of_caller ON footnote.audit_chain USING ({SYSTEM});
"""

PARTITIONS = f"""
-- a partition may be named in a statement by itself, which the policy of the whole does not hold for
CREATE FUNCTION footnote.protect_audit_partition(part regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
    BEGIN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('CREATE POLICY audit_of_caller ON %s USING ({OWN.replace("'", "''")})', part);
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'footnote_app') THEN
            EXECUTE format('REVOKE ALL ON %s FROM footnote_app', part);
        END IF;
    END $$;

-- attached, and not made as a partition: that would lock the whole against those who write
CREATE FUNCTION footnote.make_audit_partition(month date) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
        first timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
        beyond timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
        part text := to_char(month, '"audit_"YYYY_MM');
    BEGIN
        IF to_regclass('footnote.' || part) IS NOT NULL
            OR EXISTS (SELECT FROM footnote.audit_rest WHERE at >= first AND at < beyond) THEN
            RETURN false;
        END IF;
        EXECUTE format('CREATE TABLE footnote.%I (LIKE footnote.audit INCLUDING ALL)', part);
        EXECUTE format('ALTER TABLE footnote.audit ATTACH PARTITION footnote.%I FOR VALUES FROM (%L) TO (%L)',
            part, first, beyond);
        PERFORM footnote.protect_audit_partition(format('footnote.%I', part)::regclass);
        RETURN true;
    END $$;

CREATE TABLE footnote.audit_rest PARTITION OF footnote.audit DEFAULT;
SELECT footnote.protect_audit_partition('footnote.audit_rest');
SELECT footnote.make_audit_partition((date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date)
    FROM generate_series(0, 3) AS n;
"""

NOTES = """
CREATE FUNCTION footnote.queue_audit() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    BEGIN
        INSERT INTO footnote.audit_pending (at, id) VALUES (NEW.at, NEW.id);
        RETURN NULL;
    END $$;
CREATE TRIGGER audit_queued AFTER INSERT ON footnote.audit FOR EACH ROW EXECUTE FUNCTION footnote.queue_audit();

-- a name, or its beginning and a hash
CREATE FUNCTION footnote.audit_name(name text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT CASE WHEN octet_length(name) <= 512 THEN name
        ELSE left(name, 64) || '…' || encode(sha256(convert_to(name, 'UTF8')), 'hex') END $$;

-- a state, or its size and a hash
CREATE FUNCTION footnote.audit_state(state jsonb, most integer) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT CASE WHEN octet_length(state::text) <= most THEN state
        WHEN state IS NOT NULL THEN jsonb_build_object('bytes', octet_length(state::text),
            'sha256', encode(sha256(convert_to(state::text, 'UTF8')), 'hex')) END $$;

CREATE FUNCTION footnote.audit_note(
    what text, of_tenant text, about text, state_before jsonb, state_after jsonb
) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
        actor jsonb := coalesce(nullif(current_setting('footnote.actor', true), ''), '{}')::jsonb;
    BEGIN
        INSERT INTO footnote.audit (tenant_id, subject, actor_tenant, key_id, client, action, object, outcome,
            request_id, trace_id, before, after)
        VALUES (of_tenant, footnote.audit_name(coalesce(actor ->> 'subject', 'database:' || session_user)),
            footnote.audit_name(coalesce(actor ->> 'tenant', '')), left(actor ->> 'key', 64),
            left(actor ->> 'client', 64), what, footnote.audit_name(about), 'success', left(actor ->> 'request', 128),
            left(actor ->> 'trace', 64), footnote.audit_state(state_before, 12288),
            footnote.audit_state(state_after, 12288));
    END $$;
"""

REFUSALS = """
-- what changes no row, so that no trigger sees it: nothing else can be said with this
CREATE FUNCTION footnote.audit_refusals(refusals jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO footnote.audit (tenant_id, subject, actor_tenant, key_id, client, action, object, outcome, request_id,
        trace_id, after)
    SELECT coalesce(n.tenant, (SELECT k.tenant_id FROM footnote.api_keys k WHERE k.id = n.key), ''),
        footnote.audit_name(n.subject), footnote.audit_name(coalesce(n.tenant, '')), n.key, n.client,
        CASE WHEN n.action IN ('access.deny', 'login.fail') THEN n.action END, footnote.audit_name(n.object),
        CASE WHEN n.outcome IN ('denied', 'failure') THEN n.outcome END, n.request_id, n.trace_id, n.after
    FROM jsonb_to_recordset(refusals) AS n (tenant text, subject text, key text, client text, action text,
        object text, outcome text, request_id text, trace_id text, after jsonb) $$;
"""

OF_TENANTS = """
CREATE FUNCTION footnote.audit_key(key jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT jsonb_strip_nulls(jsonb_build_object('name', key -> 'name', 'subject', key -> 'subject',
        'groups', footnote.audit_state(key -> 'groups', 2048), 'scopes', key -> 'scopes',
        'collections', footnote.audit_state(key -> 'collections', 2048), 'expires_at', key -> 'expires_at',
        'limits', key -> 'limits')) $$;

CREATE FUNCTION footnote.audit_api_key() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
        was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN footnote.audit_key(to_jsonb(OLD)) END;
        is_now jsonb := CASE WHEN TG_OP <> 'DELETE' THEN footnote.audit_key(to_jsonb(NEW)) END;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            PERFORM footnote.audit_note('key.create', NEW.tenant_id, 'key:' || NEW.id, NULL, is_now);
        ELSIF TG_OP = 'DELETE' THEN
            PERFORM footnote.audit_note('key.delete', OLD.tenant_id, 'key:' || OLD.id, was, NULL);
        ELSE
            IF NEW.secret_hash <> OLD.secret_hash THEN
                PERFORM footnote.audit_note('key.rotate', NEW.tenant_id, 'key:' || NEW.id,
                    jsonb_build_object('rotated_at', OLD.rotated_at),
                    jsonb_build_object('rotated_at', NEW.rotated_at, 'previous_until', NEW.previous_until));
            END IF;
            IF NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN
                PERFORM footnote.audit_note(CASE WHEN NEW.revoked_at IS NULL THEN 'key.update' ELSE 'key.revoke' END,
                    NEW.tenant_id, 'key:' || NEW.id, jsonb_build_object('revoked_at', OLD.revoked_at),
                    jsonb_build_object('revoked_at', NEW.revoked_at));
            END IF;
            IF was <> is_now OR NEW.tenant_id <> OLD.tenant_id THEN
                PERFORM footnote.audit_note('key.update', NEW.tenant_id, 'key:' || NEW.id, was, is_now);
            END IF;
        END IF;
        RETURN NULL;
    END $$;

CREATE FUNCTION footnote.audit_tenant() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            PERFORM footnote.audit_note('tenant.create', NEW.id, 'tenant:' || NEW.id, NULL,
                jsonb_build_object('status', NEW.status));
        ELSIF TG_OP = 'DELETE' THEN
            PERFORM footnote.audit_note('tenant.delete', OLD.id, 'tenant:' || OLD.id,
                jsonb_build_object('status', OLD.status), NULL);
        ELSE
            IF NEW.status <> OLD.status THEN
                PERFORM footnote.audit_note(CASE NEW.status WHEN 'suspended' THEN 'tenant.suspend'
                        WHEN 'deleting' THEN 'tenant.delete' ELSE 'tenant.resume' END,
                    NEW.id, 'tenant:' || NEW.id, jsonb_build_object('status', OLD.status),
                    jsonb_build_object('status', NEW.status));
            END IF;
            IF NEW.limits <> OLD.limits THEN
                PERFORM footnote.audit_note('limits.update', NEW.id, 'tenant:' || NEW.id, OLD.limits, NEW.limits);
            END IF;
        END IF;
        RETURN NULL;
    END $$;
"""

OF_COLLECTIONS = """
CREATE FUNCTION footnote.audit_collection() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
        place text := 'collection:' || CASE WHEN TG_OP = 'DELETE' THEN OLD.name ELSE NEW.name END;
        was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN
            jsonb_build_object('readers', footnote.audit_state(to_jsonb(OLD.readers), 8192)) END;
        is_now jsonb := CASE WHEN TG_OP <> 'DELETE' THEN
            jsonb_build_object('readers', footnote.audit_state(to_jsonb(NEW.readers), 8192)) END;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            is_now := is_now || coalesce((
                SELECT jsonb_build_object('generation', g.number::text, 'embedding_model', g.embedding_model,
                    'language', g.language, 'chunk_tokens', g.chunk_tokens)
                FROM footnote.generations g WHERE g.collection_id = NEW.id AND g.state = 'active'), '{}');
            PERFORM footnote.audit_note('collection.create', NEW.tenant_id, place, NULL, is_now);
        ELSIF TG_OP = 'DELETE' THEN
            IF OLD.deleted_at IS NULL THEN
                PERFORM footnote.audit_note('collection.delete', OLD.tenant_id, place, was, NULL);
            END IF;
        ELSIF NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL THEN
            PERFORM footnote.audit_note('collection.delete', NEW.tenant_id, place, was, NULL);
        ELSIF (NEW.name, NEW.readers) IS DISTINCT FROM (OLD.name, OLD.readers) THEN
            PERFORM footnote.audit_note('collection.update', NEW.tenant_id, place,
                was || jsonb_build_object('name', OLD.name), is_now || jsonb_build_object('name', NEW.name));
        END IF;
        RETURN NULL;
    END $$;

CREATE FUNCTION footnote.audit_generation() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
        place footnote.collections;
        former text;
    BEGIN
        SELECT * INTO place FROM footnote.collections c WHERE c.id = NEW.collection_id;
        IF NEW.state = 'active' THEN
            -- that of this transaction: both have its time
            SELECT g.number::text INTO former FROM footnote.generations g
                WHERE g.collection_id = NEW.collection_id AND g.state = 'retired' AND g.retired_at = NEW.activated_at
                ORDER BY g.number DESC LIMIT 1;
            PERFORM footnote.audit_note(
                CASE WHEN OLD.activated_at IS NULL THEN 'generation.activate' ELSE 'generation.rollback' END,
                NEW.tenant_id, format('generation:%s/%s', place.name, NEW.number),
                jsonb_build_object('generation', former), jsonb_build_object('generation', NEW.number::text));
        ELSIF NEW.state = 'dropped' AND place.deleted_at IS NULL THEN
            PERFORM footnote.audit_note('generation.drop', NEW.tenant_id,
                format('generation:%s/%s', place.name, NEW.number), jsonb_build_object('state', OLD.state), NULL);
        END IF;
        RETURN NULL;
    END $$;
"""

OF_DOCUMENTS = """
CREATE FUNCTION footnote.audit_document_state(d footnote.documents) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT jsonb_build_object('content_hash', d.content_hash, 'bytes', d.bytes, 'chunks', d.chunks,
        'revision', d.revision, 'readers', footnote.audit_state(to_jsonb(d.access[2:]), 8192)) $$;

-- of the documents that questions are answered from, and of their attachments with them
CREATE FUNCTION footnote.audit_document() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
        d footnote.documents;
        place text;
    BEGIN
        IF TG_OP = 'DELETE' THEN d := OLD; ELSE d := NEW; END IF;
        SELECT format('document:%s/%s', c.name, d.id) INTO place
            FROM footnote.generations g JOIN footnote.collections c ON c.id = g.collection_id
            WHERE g.id = d.generation_id AND g.state = 'active';
        IF place IS NULL THEN
            RETURN NULL;
        END IF;
        IF TG_OP = 'INSERT' THEN
            PERFORM footnote.audit_note('document.create', d.tenant_id, place, NULL, footnote.audit_document_state(d));
        ELSIF TG_OP = 'DELETE' THEN
            PERFORM footnote.audit_note('document.delete', d.tenant_id, place, footnote.audit_document_state(d), NULL);
        ELSE
            IF NEW.access <> OLD.access THEN
                PERFORM footnote.audit_note('readers.update', d.tenant_id, place,
                    jsonb_build_object('readers', footnote.audit_state(to_jsonb(OLD.access[2:]), 8192)),
                    jsonb_build_object('readers', footnote.audit_state(to_jsonb(NEW.access[2:]), 8192)));
            END IF;
            IF (OLD.content_hash, OLD.pipeline_fingerprint, OLD.source, OLD.location, OLD.title, OLD.metadata,
                    OLD.chunks, OLD.ingested_at) IS DISTINCT FROM (NEW.content_hash, NEW.pipeline_fingerprint,
                    NEW.source, NEW.location, NEW.title, NEW.metadata, NEW.chunks, NEW.ingested_at) THEN
                PERFORM footnote.audit_note('document.update', d.tenant_id, place, footnote.audit_document_state(OLD),
                    footnote.audit_document_state(NEW) || jsonb_build_object('changed', array_remove(ARRAY[
                        CASE WHEN NEW.content_hash <> OLD.content_hash THEN 'content' END,
                        CASE WHEN NEW.pipeline_fingerprint <> OLD.pipeline_fingerprint THEN 'pipeline' END,
                        CASE WHEN NEW.source <> OLD.source THEN 'source' END,
                        CASE WHEN NEW.location IS DISTINCT FROM OLD.location THEN 'location' END,
                        CASE WHEN NEW.title <> OLD.title THEN 'title' END,
                        CASE WHEN NEW.metadata <> OLD.metadata THEN 'metadata' END], NULL)));
            END IF;
        END IF;
        RETURN NULL;
    END $$;
"""

OF = (OF_TENANTS, OF_COLLECTIONS, OF_DOCUMENTS)
TRIGGERS = """
CREATE CONSTRAINT TRIGGER api_keys_audited AFTER INSERT OR UPDATE OR DELETE ON footnote.api_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION footnote.audit_api_key();
CREATE CONSTRAINT TRIGGER tenants_audited AFTER INSERT OR UPDATE OR DELETE ON footnote.tenants
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION footnote.audit_tenant();
CREATE CONSTRAINT TRIGGER collections_audited AFTER INSERT OR UPDATE OR DELETE ON footnote.collections
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION footnote.audit_collection();
CREATE CONSTRAINT TRIGGER generations_audited AFTER UPDATE OF state ON footnote.generations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.state <> NEW.state AND NEW.state IN ('active', 'dropped'))
    EXECUTE FUNCTION footnote.audit_generation();
CREATE CONSTRAINT TRIGGER documents_made_audited AFTER INSERT ON footnote.documents
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.parent IS NULL) EXECUTE FUNCTION footnote.audit_document();
CREATE CONSTRAINT TRIGGER documents_deleted_audited AFTER DELETE ON footnote.documents
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.parent IS NULL) EXECUTE FUNCTION footnote.audit_document();
CREATE CONSTRAINT TRIGGER documents_changed_audited AFTER UPDATE ON footnote.documents
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.parent IS NULL AND
        (OLD.content_hash, OLD.pipeline_fingerprint, OLD.source, OLD.location, OLD.title, OLD.metadata, OLD.chunks,
            OLD.ingested_at, OLD.access) IS DISTINCT FROM (NEW.content_hash, NEW.pipeline_fingerprint, NEW.source,
            NEW.location, NEW.title, NEW.metadata, NEW.chunks, NEW.ingested_at, NEW.access))
    EXECUTE FUNCTION footnote.audit_document();
"""

RIGHTS = """
REVOKE EXECUTE ON FUNCTION footnote.find_api_key(text), footnote.note_api_keys_used(text[], timestamptz[]),
    footnote.audit_note(text, text, text, jsonb, jsonb), footnote.audit_refusals(jsonb), footnote.queue_audit(),
    footnote.audit_api_key(), footnote.audit_tenant(), footnote.audit_collection(), footnote.audit_generation(),
    footnote.audit_document() FROM PUBLIC;
"""


def upgrade() -> None:
    """Create the tables, their partitions and policies, and the triggers."""
    database = op.get_bind()
    for script in (TABLES, POLICIES, PARTITIONS, NOTES, REFUSALS, *OF, TRIGGERS, RIGHTS):
        run_script(database, script)
