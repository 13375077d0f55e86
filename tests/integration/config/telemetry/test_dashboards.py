"""The dashboards' and rules' queries against a real server under a little load, through a real Prometheus."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from support.collector import start_exporter
from support.flips import submit
from support.otlp import start_receiver
from support.prometheus import Asked, panels_queries, programs, rules_queries, start_prometheus, variables_queries
from support.traffic import add_empty_collection, ingest, traffic
from support.workers import started

PRICES = {"m": {"input": 1000, "output": 5000}}
# Metrics that nothing here can emit: the collector's own, by https://opentelemetry.io/docs/collector/internal-telemetry/
# and processor/tailsamplingprocessor/documentation.md of its source.
OF_THE_COLLECTOR = {
    "otelcol_exporter_enqueue_failed_spans_total",
    "otelcol_exporter_send_failed_spans_total",
    "otelcol_exporter_sent_spans_total",
    "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total",
    "otelcol_receiver_accepted_spans_total",
    "otelcol_receiver_refused_spans_total",
}
DROPPED = 'otel_sdk_processor_span_processed_total{error_type!=""}'
OF_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity", "job", "instance"}}
SECONDS_OF_LOAD = 6.0


@pytest.fixture(scope="module")
def loaded(stack, tmp_path_factory):
    """Lend Prometheus, and the time since when it has seen a server, its users and troubles, an ingestion, a worker."""
    programs()
    add_empty_collection(stack)
    second = {"provider": "openai_like", "base_url": stack.model.openai_url, "api_key": "k", "model": "m"}
    second |= {"max_retries": 1, "breaker_failures": 0}
    with ExitStack() as opened:
        receiver = opened.enter_context(start_receiver())
        server = opened.enter_context(
            stack.process(
                DATABASE__POOL_MAX="4",
                DATABASE__ACQUIRE_TIMEOUT="1",
                DATABASE__STATEMENT_TIMEOUT="2",
                LLM__MAX_RETRIES="1",
                LOG__LEVEL="error",  # nobody reads what it writes until its end
                LLM__BREAKER_FAILURES="0",
                LLM__PRICES=json.dumps(PRICES),
                LLMS=json.dumps({"second": second}),
                LLM__FALLBACK='["second"]',
                STREAMS__GRACE="0",
                TELEMETRY__ENDPOINT=receiver.http_url,
                TELEMETRY__QUEUE_SPANS="512",
            )
        )
        targets = {
            "footnote": server.url.removeprefix("http://"),
            "footnote-ingestion": opened.enter_context(start_exporter(receiver)),
        }
        opened.enter_context(_worker(stack, tmp_path_factory.mktemp("worker"), endpoint=receiver.http_url))
        prometheus = opened.enter_context(start_prometheus(targets))
        since = time.time()
        with ThreadPoolExecutor(1) as pool, traffic(stack, server.url) as people:
            ingested = pool.submit(ingest, stack, *_files(tmp_path_factory.mktemp("files")), endpoint=receiver.http_url)
            _let(people, dsn=stack.dsn)
            assert ingested.result().returncode in {1, 3}, ingested.result().stderr
            prometheus.wait_for(lambda: prometheus.query("footnote:ingested_documents:increase15m"))
            receiver.hang()
            prometheus.wait_for(lambda: people.ask_much() or prometheus.query(f"rate({DROPPED}[1m])"))
            receiver.recover()
        yield prometheus, since


def _files(folder):
    (folder / "good.md").write_text("# Tides\n\nThe tide at Ostrava Bay rises four metres.")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnot a document")
    return [folder]


def _worker(stack, folder, *, endpoint):
    """Run a worker that gives a job up after a moment, and tries it twice."""
    (folder / "go").touch()
    telemetry = {"endpoint": endpoint, "metrics_interval": 1}
    return started(stack.dsn, folder, telemetry=telemetry, timeout=0.2, attempts=2)


def _let(people, *, dsn):
    """Do everything until each series has been seen to grow."""
    end, round_ = time.monotonic() + SECONDS_OF_LOAD, 0
    while time.monotonic() < end or round_ < 3:
        round_ += 1
        people.well()
        people.again(f"key-{round_}")
        people.in_vain()
        people.of_a_failing_model()
        people.and_leave()
        people.http.post("/documents", files={"file": ("a.txt", f"Tide {round_}")}).raise_for_status()
        submit(dsn, "wait", "stubborn", "unheard-of")  # the first is done, the second tried again, the third dies
        assert set(people.in_front_of_a_lock(8)) <= {503, 504}
        time.sleep(1.2)  # each round is in a scrape of its own


@pytest.mark.parametrize("asked", panels_queries(), ids=lambda asked: asked.where)
def test_every_panel_shows_something_under_load(loaded, asked):
    prometheus, since = loaded
    if asked.metrics & OF_THE_COLLECTOR:
        pytest.skip("the collector cannot run here")
    assert prometheus.ever(asked.expr, since=since), asked.expr


@pytest.mark.parametrize("asked", variables_queries(), ids=lambda asked: asked.where)
def test_every_choice_at_the_head_of_a_dashboard_has_values(loaded, asked):
    prometheus, _ = loaded
    assert prometheus.query(asked.expr)


@pytest.fixture(scope="module")
def known(loaded):
    """Return the labels of every metric that there is: what was scraped, and what the rules record."""
    prometheus, since = loaded
    known = {name: set(labels) for name, labels in OF_PROMETHEUS.items()} | dict.fromkeys(OF_THE_COLLECTOR)
    for series in prometheus.series(since=since):
        known.setdefault(series["__name__"], set())
        known[series["__name__"]] |= set(series)
    return known


@pytest.mark.parametrize("asked", [*panels_queries(), *rules_queries()], ids=lambda asked: asked.where)
def test_queries_name_metrics_and_labels_that_the_server_emits(known, asked):
    assert asked.metrics
    assert asked.metrics - known.keys() == set()
    labels = [known[name] for name in asked.metrics]
    if None not in labels:  # the collector's are known by name only
        assert asked.labels - set().union(*labels) == set()


def test_points_of_a_histogram_lead_to_traces(loaded):
    prometheus, since = loaded
    asked = [each for each in panels_queries() if each.exemplars and "answer_duration" in each.expr]
    assert asked
    for each in asked:
        traces = {exemplar["labels"]["trace_id"] for exemplar in prometheus.exemplars(each.expr, since=since)}
        assert traces
        assert all(len(trace) == 32 for trace in traces)


@pytest.mark.parametrize(
    ("expr", "metrics", "labels"),
    [
        (
            'sum by (le, b) (rate(a_bucket{c=~"x{2}", d!="up"}[5m] offset 1m)) > 0.5',
            {"a_bucket"},
            {"le", "b", "c", "d"},
        ),
        ("a:b:rate5m and on (c) d or vector(0)", {"a:b:rate5m", "d"}, {"c"}),
        ("topk(10, -a ^ 2) * 1e-3", {"a"}, set()),
    ],
)
def test_metrics_and_labels_are_told_from_the_rest_of_an_expression(expr, metrics, labels):
    asked = Asked("here", expr)
    assert asked.metrics == metrics
    assert asked.labels == labels
