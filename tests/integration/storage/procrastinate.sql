-- What databases of revisions 0005 to 0008 have of procrastinate 3.10, shortened: one object of each kind, with the
-- dependencies between them. The whole of it is storage/migrations/versions/0005_procrastinate.sql of those days.
SET search_path = footnote, public;
CREATE TYPE procrastinate_job_status AS ENUM ('todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborting', 'aborted');
CREATE TYPE procrastinate_job_event_type AS ENUM ('deferred', 'started', 'cancelled');
CREATE TYPE procrastinate_job_to_defer_v1 AS (
    queue_name character varying,
    task_name character varying,
    priority integer,
    lock text,
    queueing_lock text,
    args jsonb,
    scheduled_at timestamp with time zone
);
CREATE TABLE procrastinate_workers(
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    last_heartbeat timestamp with time zone NOT NULL DEFAULT NOW()
);
CREATE TABLE procrastinate_jobs (
    id bigserial PRIMARY KEY,
    queue_name character varying(128) NOT NULL,
    task_name character varying(128) NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    lock text,
    args jsonb DEFAULT '{}' NOT NULL,
    status procrastinate_job_status DEFAULT 'todo'::procrastinate_job_status NOT NULL,
    scheduled_at timestamp with time zone NULL,
    worker_id bigint REFERENCES procrastinate_workers(id) ON DELETE SET NULL
);
CREATE TABLE procrastinate_events (
    id bigserial PRIMARY KEY,
    job_id bigint NOT NULL REFERENCES procrastinate_jobs ON DELETE CASCADE,
    type procrastinate_job_event_type,
    at timestamp with time zone DEFAULT NOW() NULL
);
CREATE UNIQUE INDEX procrastinate_jobs_lock_idx_v1 ON procrastinate_jobs (lock) WHERE status = 'doing';
CREATE FUNCTION procrastinate_defer_jobs_v1(jobs procrastinate_job_to_defer_v1[]) RETURNS bigint[] LANGUAGE sql AS $$
    SELECT ARRAY[1]::bigint[];
$$;
CREATE FUNCTION procrastinate_fetch_job_v2(target_queue_names character varying[], p_worker_id bigint)
RETURNS procrastinate_jobs LANGUAGE sql AS $$
    SELECT * FROM procrastinate_jobs LIMIT 1;
$$;
CREATE FUNCTION procrastinate_finish_job_v1(job_id bigint, end_status procrastinate_job_status, delete_job boolean)
RETURNS void LANGUAGE sql AS $$
    SELECT;
$$;
CREATE FUNCTION procrastinate_register_worker_v1() RETURNS TABLE(worker_id bigint) LANGUAGE sql AS $$
    INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING procrastinate_workers.id;
$$;
CREATE FUNCTION procrastinate_trigger_function_status_events_insert_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO footnote.procrastinate_events (job_id, type) VALUES (NEW.id, 'deferred');
    RETURN NEW;
END;
$$;
CREATE TRIGGER procrastinate_trigger_status_events_insert_v1 AFTER INSERT ON procrastinate_jobs FOR EACH ROW
WHEN (NEW.status = 'todo'::procrastinate_job_status)
EXECUTE PROCEDURE procrastinate_trigger_function_status_events_insert_v1();

-- Jobs in every state, and their rows in procrastinate's queue.
INSERT INTO procrastinate_workers DEFAULT VALUES;
INSERT INTO procrastinate_jobs (id, queue_name, task_name, priority, lock, args, status, scheduled_at, worker_id)
SELECT number, 'footnote', 'footnote.job', priority, 'public/docs/document/' || name,
    jsonb_build_object('job', md5(name)::uuid), status::procrastinate_job_status, scheduled_at,
    CASE status WHEN 'doing' THEN 1 END
FROM (VALUES (1, 'waiting', 0, 'todo', NULL), (2, 'urgent', 5, 'todo', NULL), (3, 'fetched', 0, 'doing', NULL),
        (4, 'retried', 0, 'todo', now() + interval '1 hour'), (5, 'running', 0, 'doing', NULL))
    AS queue (number, name, priority, status, scheduled_at);
INSERT INTO jobs (id, tenant_id, collection, kind, document_id, lock, priority, arguments, status, attempts, run,
    queue_id, error, created_at, heartbeat_at, next_try_at, finished_at)
SELECT md5(name)::uuid, 'public', 'docs', 'index-document', name, 'public/docs/document/' || name, priority,
    '{"content_hash": "ab", "name": "a.md", "bytes": 3, "source": "a", "title": null, "metadata": {}, "revision": 7}',
    status, attempts, CASE status WHEN 'running' THEN gen_random_uuid() END, queue_id, error::jsonb,
    now() - interval '1 day' + queue_id * interval '1 minute', now() - interval '1 hour', next_try_at,
    CASE WHEN status IN ('failed', 'cancelled', 'succeeded') THEN now() END
FROM (VALUES ('waiting', 0, 'queued', 0, 1, NULL, NULL), ('urgent', 5, 'queued', 0, 2, NULL, NULL),
        ('fetched', 0, 'queued', 0, 3, NULL, NULL),
        ('retried', 0, 'queued', 2, 4, '{"name": "FetchFailed", "detail": "503", "field": null}',
            now() + interval '1 hour'),
        ('running', 0, 'running', 1, 5, NULL, NULL),
        ('dead', 0, 'failed', 5, 6, '{"name": "Unreadable", "detail": "no", "field": null}', NULL),
        ('cancelled', 0, 'cancelled', 0, 7, NULL, NULL), ('done', 0, 'succeeded', 1, 8, NULL, NULL))
    AS jobs (name, priority, status, attempts, queue_id, error, next_try_at);
RESET search_path;
