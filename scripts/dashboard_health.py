"""The dashboard ``Service health``: is Footnote well, and if not, which part of it?"""

from __future__ import annotations

from grafana import Dashboard, Panel, Query, Row, Variable
from promql import HERE, RATE, quantile, rate

HTTP = "http_server_request_duration_seconds"
DB = "db_client_operation_duration_seconds"
WAIT = "db_client_connection_wait_time_seconds"
MODEL = "gen_ai_client_operation_duration_seconds"
# Streams last as long as their answer; how long that is, is told on the other dashboard.
AT_ONCE = 'instance=~"$instance", http_route!~".*stream.*|/v1/chat/completions"'

NOW = Row(
    "Now",
    [
        Panel(
            "Servers",
            [Query('sum(up{job="footnote"})', "up"), Query('count(up{job="footnote"})', "known")],
            "Servers that Prometheus can read, of those that it knows.",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Requests",
            [Query(rate(f"{HTTP}_count"))],
            "Requests a second; /health, /ready and /metrics do not count.",
            unit="reqps",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "5xx",
            [Query("footnote:requests_failed:ratio_rate5m")],
            "Share of the requests of five minutes. Streams that fail after their 200 are on the dashboard Answers.",
            unit="percentunit",
            kind="stat",
            width=4,
            height=4,
            steps=[0.005, 0.05],
        ),
        Panel(
            "Answers that failed",
            [Query("footnote:answers_failed:ratio_rate5m")],
            "Share of the answers of five minutes, streams included, that failed for a reason on our side.",
            unit="percentunit",
            kind="stat",
            width=4,
            height=4,
            steps=[0.01, 0.05],
        ),
        Panel(
            "Being answered",
            [
                Query(f"sum(http_server_active_requests{{{HERE}}})", "requests"),
                Query(f"sum(footnote_streams_open{{{HERE}}})", "streams"),
            ],
            "Requests that are under way, and streams that are being written, also those whose reader is away.",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Alerts",
            [Query('count(ALERTS{alertname=~"Footnote.*", alertstate="firing"}) or vector(0)', "firing")],
            "Alerts that fire. Prometheus, under Alerts, names them; docs/operations/runbooks.md says what to do.",
            kind="stat",
            width=4,
            height=4,
            steps=[1, 1],
        ),
    ],
)

REQUESTS = Row(
    "Requests",
    [
        Panel(
            "Requests by route",
            [Query(rate(f"{HTTP}_count", by="http_route"), "{{http_route}}")],
            "What is asked for.",
            unit="reqps",
        ),
        Panel(
            "Requests that failed",
            [
                Query(
                    rate(
                        f"{HTTP}_count",
                        by="http_response_status_code, error_type",
                        where=f'{HERE}, http_response_status_code=~"4..|5.."',
                    ),
                    "{{http_response_status_code}} {{error_type}}",
                )
            ],
            "4xx: the caller's doing. 502: the model. 503: database, model, or too much at once. 504: too slow.",
            unit="reqps",
        ),
        Panel(
            "Time to answer, p95",
            [Query(quantile(0.95, HTTP, by="http_route", where=AT_ONCE), "{{http_route}}", exemplars=True)],
            "Requests that are no streams. The points are traces: click one to open it in Jaeger.",
            unit="s",
        ),
    ],
)

MODELS = Row(
    "Models",
    [
        Panel(
            "Circuit breakers",
            [
                Query(
                    f'max by (footnote_breaker) (2 * footnote_breaker_state{{{HERE}, footnote_state="open"}}) '
                    f'+ max by (footnote_breaker) (footnote_breaker_state{{{HERE}, footnote_state="half_open"}})',
                    "{{footnote_breaker}}",
                )
            ],
            "Open: the model failed so often that it is not called; half open: it is being tried again.",
            kind="state-timeline",
            names={0: "closed", 1: "half open", 2: "open"},
            steps=[1, 2],
        ),
        Panel(
            "Model calls that failed",
            [
                Query(
                    rate(f"{MODEL}_count", by="gen_ai_provider_name, error_type", where=f'{HERE}, error_type!=""'),
                    "{{gen_ai_provider_name}} {{error_type}}",
                ),
                Query(rate("footnote_model_retries_total"), "tried again"),
            ],
            "By kind; and calls that were tried again, whether or not that helped.",
            unit="ops",
        ),
        Panel(
            "Model calls, p95",
            [
                Query(
                    quantile(0.95, MODEL, by="gen_ai_provider_name, gen_ai_operation_name"),
                    "{{gen_ai_provider_name}} {{gen_ai_operation_name}}",
                    exemplars=True,
                )
            ],
            "To the last token.",
            unit="s",
        ),
    ],
)

DATABASE = Row(
    "Database",
    [
        Panel(
            "Statements, p95",
            [Query(quantile(0.95, DB, by="db_operation_name"), "{{db_operation_name}}", exemplars=True)],
            "As the client sees them: a lock that somebody holds shows here, and fills the pool beside it.",
            unit="s",
            width=6,
        ),
        Panel(
            "Connections",
            [
                Query(
                    f"sum by (db_client_connection_state) (db_client_connection_count{{{HERE}}})",
                    "{{db_client_connection_state}}",
                ),
                Query(f"sum(db_client_connection_max{{{HERE}}})", "most"),
            ],
            "Where used reaches most, requests wait.",
            width=6,
        ),
        Panel(
            "Waiting for a connection, p95",
            [Query(quantile(0.95, WAIT, by="instance"), "{{instance}}", exemplars=True)],
            "Every statement waits that long before it is sent.",
            unit="s",
            width=6,
            steps=[0.1, 0.5],
        ),
        Panel(
            "Statements that failed, waits that were given up",
            [
                Query(rate(f"{DB}_count", by="error_type", where=f'{HERE}, error_type!=""'), "{{error_type}}"),
                Query(rate("db_client_connection_timeouts_total"), "no connection in time"),
            ],
            "By the driver's name for it. Requests that get no connection in time are answered with 503.",
            unit="ops",
            width=6,
        ),
    ],
)

PROCESS = Row(
    "Processes",
    [
        Panel(
            "Event loop's lag, p99",
            [Query(quantile(0.99, "footnote_event_loop_lag_seconds", by="instance"), "{{instance}}")],
            "How late the loop comes to what is due. Everything in the process waits that long, tokens included.",
            unit="s",
            width=6,
            steps=[0.1, 0.25],
        ),
        Panel(
            "CPU",
            [Query(rate("process_cpu_time_seconds_total", by="instance"), "{{instance}}")],
            "Cores in use.",
            width=6,
        ),
        Panel(
            "Memory",
            [Query(f"sum by (instance) (process_memory_usage_bytes{{{HERE}}})", "{{instance}}")],
            "Physical memory.",
            unit="bytes",
            width=6,
        ),
        Panel(
            "Open files",
            [Query(f"sum by (instance) (process_unix_file_descriptor_count{{{HERE}}})", "{{instance}}")],
            "Files and sockets; each stream and each connection is one.",
            width=6,
        ),
    ],
)

TELEMETRY = Row(
    "Telemetry itself",
    [
        Panel(
            "Spans",
            [
                Query(rate("otel_sdk_processor_span_processed_total"), "servers sent"),
                Query(f"sum(rate(otelcol_receiver_accepted_spans_total[{RATE}]))", "collector took"),
                Query(f"sum(rate(otelcol_exporter_sent_spans_total[{RATE}]))", "Jaeger got"),
            ],
            "What servers make, what reaches the collector, and what it keeps: all that failed or was slow, and "
            "a share of the rest.",
            unit="ops",
            width=12,
        ),
        Panel(
            "Spans that were dropped",
            [
                Query(
                    rate("otel_sdk_processor_span_processed_total", by="error_type", where=f'{HERE}, error_type!=""'),
                    "server: {{error_type}}",
                ),
                Query(f"sum(rate(otelcol_receiver_refused_spans_total[{RATE}]))", "collector refused"),
                Query(f"sum(rate(otelcol_exporter_send_failed_spans_total[{RATE}]))", "Jaeger did not take"),
            ],
            "Traces have holes while this is above zero.",
            unit="ops",
            width=12,
        ),
    ],
)

HEALTH = Dashboard(
    uid="footnote-health",
    title="Footnote: service health",
    says="Is Footnote well, and if not, which part of it?",
    variables=[Variable("instance", 'up{job="footnote"}', "instance")],
    rows=[NOW, REQUESTS, MODELS, DATABASE, PROCESS, TELEMETRY],
)
