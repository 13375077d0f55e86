"""The dashboard ``Jobs and generations``: is what was asked for being done, and do all servers answer from the same?"""

from __future__ import annotations

from dashboard_ingestion import AGE
from grafana import Dashboard, Panel, Query, Row, Variable
from promql import HERE, RATE, quantile, rate

TRIES = "footnote:job_tries:increase15m"
TRY = "footnote_ingestion_job_duration_seconds"
WAIT = "footnote_ingestion_job_wait_seconds"
ASKED = f'{HERE}, footnote_collection=~"$collection"'
# Each server counts the whole queue, and each of them follows a flip: their numbers are one and the same, no parts.

QUEUE = Row(
    "The queue",
    [
        Panel(
            "Jobs",
            [
                Query(
                    'max by (footnote_status) (footnote_jobs{footnote_status=~"queued|running"})', "{{footnote_status}}"
                )
            ],
            "queued: waiting for a worker, or for their next try; running: a worker is at them.",
            stacked=True,
        ),
        Panel(
            "Oldest job",
            [Query("max(footnote_jobs_age_seconds)", "waits")],
            "How long the job that is due longest has waited. It grows by a second a second: no worker takes it.",
            unit="s",
            steps=[300, 900],
        ),
        Panel(
            "Dead jobs",
            [Query('max(footnote_jobs{footnote_status="failed"})', "dead")],
            "Jobs that failed for good, and are kept. GET /jobs?status=failed names them; one call repeats one.",
            kind="stat",
            steps=[1, 1],
        ),
    ],
)

UPLOADS = Row(
    "Uploads",
    [
        Panel(
            "Uploads by outcome",
            [Query(rate("footnote_upload_size_bytes_count", by="footnote_outcome"), "{{footnote_outcome}}")],
            "accepted: it is kept, and a job is in the queue; all else is a problem, by the name that clients get.",
            unit="ops",
            width=12,
            stacked=True,
        ),
        Panel(
            "Bytes uploaded",
            [Query(rate("footnote_upload_size_bytes_sum", by="footnote_outcome"), "{{footnote_outcome}}")],
            "A second; of what was refused, as far as it came.",
            unit="Bps",
            width=12,
            stacked=True,
        ),
    ],
)

WORK = Row(
    "Workers",
    [
        Panel(
            "Tries by outcome",
            [Query(f"sum by (footnote_outcome) ({TRIES})", "{{footnote_outcome}}")],
            "Of the last quarter of an hour, at each moment. retried: it will be tried again; failed: it is dead; "
            "returned: its worker stopped; lost: it was cancelled, or another worker has it.",
            width=6,
            stacked=True,
        ),
        Panel(
            "Jobs tried again",
            [
                Query(
                    f'sum by (footnote_job_kind) ({TRIES}{{footnote_outcome="retried"}}) '
                    f"/ (sum by (footnote_job_kind) ({TRIES}) > 0)",
                    "{{footnote_job_kind}}",
                )
            ],
            "Share of the tries of a quarter of an hour that ended with another one to come.",
            unit="percentunit",
            width=6,
            top=1,
        ),
        Panel(
            "Time of a try, p95",
            [
                Query(
                    quantile(0.95, TRY, by="footnote_job_kind, footnote_outcome", where=""),
                    "{{footnote_job_kind}} {{footnote_outcome}}",
                    exemplars=True,
                )
            ],
            "The points are traces, which begin with the request that submitted the job.",
            unit="s",
            width=6,
        ),
        Panel(
            "Wait for the first try, p95",
            [Query(quantile(0.95, WAIT, by="footnote_job_kind", where=""), "{{footnote_job_kind}}", exemplars=True)],
            "From the submission to a worker. Long: too few workers, or none for a while.",
            unit="s",
            width=6,
        ),
    ],
)

GENERATIONS = Row(
    "Generations",
    [
        AGE,
        Panel(
            "Flips",
            [
                Query(
                    f"max by (footnote_collection) (increase(footnote_generation_flips_total{{{ASKED}}}[{RATE}]))",
                    "{{footnote_collection}}",
                )
            ],
            "Times that another generation began to answer; going back is one, too. Every server counts them.",
        ),
        Panel(
            "Servers behind",
            [Query(f"max by (instance) (footnote_generations_behind{{{HERE}}})", "{{instance}}")],
            "Collections whose new generation a server cannot read: it goes on with the old one. /ready says why.",
            width=4,
            steps=[1, 1],
        ),
        Panel(
            "Old generations in use",
            [Query(f"sum by (instance) (footnote_generations_old{{{HERE}}})", "{{instance}}")],
            "They answer no more, but requests that began with them; they are not dropped meanwhile.",
            width=4,
        ),
    ],
)

JOBS = Dashboard(
    uid="footnote-jobs",
    title="Footnote: jobs and generations",
    says="Is what was asked for being done, and do all servers answer from the same?",
    variables=[
        Variable("instance", 'up{job="footnote"}', "instance"),
        Variable("collection", "footnote_collection_documents", "footnote_collection"),
    ],
    rows=[QUEUE, UPLOADS, WORK, GENERATIONS],
)
