"""Several expositions as one."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain

from server.peers.metrics import merged

ONE = """\
# HELP asked_total Questions.
# TYPE asked_total counter
asked_total{mode="hybrid"} 3.0
# HELP up Whether it runs.
# TYPE up gauge
up 1.0
"""
OTHER = """\
# HELP up Whether it runs.
# TYPE up gauge
up 1.0
# HELP asked_total Questions.
# TYPE asked_total counter
asked_total{mode="vector",said="a } b"} 2.0
asked_total{} 1.0
# HELP only_here Of one worker.
# TYPE only_here gauge
only_here 7.0
"""


def test_each_family_comes_once_with_the_samples_of_all_workers():
    text = merged([("aa", ONE), ("bb", OTHER)])
    families = {family.name: family for family in plain(text)}
    assert text.count("# TYPE") == 3
    assert {
        (sample.labels["worker"], sample.labels.get("mode"), sample.value) for sample in families["asked"].samples
    } == {
        ("aa", "hybrid", 3.0),
        ("bb", "vector", 2.0),
        ("bb", None, 1.0),
    }
    assert [sample.labels for sample in families["up"].samples] == [{"worker": "aa"}, {"worker": "bb"}]
    assert families["only_here"].samples[0].labels == {"worker": "bb"}


def test_open_metrics_keeps_exemplars_and_has_one_end():
    part = """\
# HELP wait_seconds Waiting.
# TYPE wait_seconds histogram
# UNIT wait_seconds seconds
wait_seconds_bucket{le="0.1"} 4.0 # {trace_id="ab"} 0.05 1.5
wait_seconds_bucket{le="+Inf"} 4.0
wait_seconds_count 4.0
wait_seconds_sum 0.2
# EOF
"""
    text = merged([("aa", part), ("bb", part)])
    assert text.count("# EOF") == 1
    assert text.endswith("# EOF\n")
    (family,) = open_metrics(text)
    assert family.unit == "seconds"
    assert sum(sample.value for sample in family.samples if sample.name == "wait_seconds_count") == 8
    assert {sample.exemplar.labels["trace_id"] for sample in family.samples if sample.exemplar} == {"ab"}


def test_nothing_makes_nothing():
    assert merged([]) == ""
