"""Metrics as Prometheus reads them."""

import pytest
from opentelemetry.sdk.resources import Resource
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.otlp import start_receiver

from config.settings import TelemetrySettings
from config.telemetry.exposition import ScrapedReader
from config.telemetry.metrics import COUNTS, Few, Gauge, tenant_label
from config.telemetry.setup import make_meter_provider, make_tracer_provider

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def reader():
    return ScrapedReader()


@pytest.fixture
def meter(reader):
    provider = make_meter_provider(reader, resource=Resource({}))
    yield provider.get_meter("tests")
    provider.shutdown()


@pytest.fixture
def tracer():
    return make_tracer_provider(TelemetrySettings(), resource=Resource({})).get_tracer("tests")


def exemplars(reader):
    text, content_type = reader.exposition(OPEN_METRICS)
    assert content_type.startswith("application/openmetrics-text")
    return {
        (sample.name, sample.labels.get("mode"), sample.labels["le"]): sample.exemplar
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.exemplar
    }


def test_each_bucket_has_the_exemplar_of_its_own_value(reader, meter, tracer):
    names = ("first", "second")
    histograms = [
        meter.create_histogram(name, explicit_bucket_boundaries_advisory=[*map(float, COUNTS)]) for name in names
    ]
    ids = {}
    for histogram, name in zip(histograms, names, strict=True):
        for mode, value in (("a", 0), ("b", 3), ("a", 4), ("b", 1000)):
            with tracer.start_as_current_span("it") as span:
                histogram.record(value, {"mode": mode})
                ids[name, mode, value] = f"{span.get_span_context().trace_id:032x}"
    found = exemplars(reader)
    buckets = {("a", 0): "0.0", ("b", 3): "3.0", ("a", 4): "5.0", ("b", 1000): "+Inf"}
    assert {key: exemplar.labels["trace_id"] for key, exemplar in found.items()} == {
        (f"{name}_bucket", mode, buckets[mode, value]): trace_id for (name, mode, value), trace_id in ids.items()
    }


def test_what_is_not_traced_has_no_exemplar(reader, meter):
    meter.create_histogram("first").record(1)
    assert exemplars(reader) == {}


def test_a_gauge_is_read_from_whoever_is_observed_at_that_time(reader, meter, monkeypatch):
    monkeypatch.setattr("config.telemetry.metrics._meter", meter)
    gauge = Gauge("things.there", "{thing}", "Things.", kind="sum")
    with gauge.observed(lambda: [(3, {"kind": "a"})]):
        assert b'things_there{kind="a"} 3.0' in reader.exposition()[0]
    assert b"things_there{" not in reader.exposition()[0]


def test_a_labels_values_stay_few():
    few = Few(most=2)
    assert [few(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]


def test_a_tenants_label_names_nobody():
    assert tenant_label("default") == "default"
    label = tenant_label("ada@example.org")
    assert len(label) == 12
    assert label != tenant_label("ada@example.com")


def test_a_receivers_base_address_may_name_a_signal():
    from config.telemetry.exporters import open_exporter

    with start_receiver() as receiver:
        settings = TelemetrySettings(endpoint=f"{receiver.http_url}/v1/traces", headers="a=b, c=d=e")
        exporter = open_exporter(settings, "metrics", timeout=5)
        assert exporter._endpoint == f"{receiver.http_url}/v1/metrics"
        exporter.shutdown()
