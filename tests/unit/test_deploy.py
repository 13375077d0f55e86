"""What operators apply, ``deploy/``: as far as it can be checked without running it."""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path

import pytest
import yaml
from support.prometheus import DASHBOARDS, DEPLOY, ROOT, promtool, shortened

RUNBOOKS = ROOT / "docs" / "operations" / "runbooks.md"


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def alerts():
    return [
        rule
        for path in sorted((DEPLOY / "prometheus").glob("rules*/*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


def dashboards():
    return [json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))]


def panels():
    return [panel for dashboard in dashboards() for panel in dashboard["panels"] if panel["type"] != "row"]


def test_promtool_finds_the_configuration_and_every_rule_valid():
    promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", *(DEPLOY / "prometheus").glob("rules*/*.yml"))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.soak] if path.stem == "days" else [], id=path.stem)  # most of the time
        for path in sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))
    ],
)
def test_alerts_fire_and_stay_silent_as_their_tests_say(path):
    promtool("test", "rules", path)


def test_every_alert_has_a_test_or_a_forced_outage():
    tests = [
        *(DEPLOY / "prometheus" / "tests").glob("*.yml"),
        ROOT / "tests" / "integration" / "config" / "telemetry" / "test_alerts.py",
    ]
    told = " ".join(path.read_text() for path in tests)
    assert {rule["alert"] for rule in alerts() if rule["alert"] not in told} == set()


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_where_to_read_on(rule):
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    path, anchor = rule["annotations"]["runbook"].split("#")
    assert (ROOT / path) == RUNBOOKS
    headings = re.findall(r"^### (.+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()  # as GitHub makes anchors of headings


def test_every_runbook_is_of_an_alert_and_its_links_lead_somewhere():
    text = RUNBOOKS.read_text()
    headings = re.findall(r"^### (.+)$", text, flags=re.MULTILINE)
    assert set(headings) == {rule["alert"] for rule in alerts()}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= {heading.lower() for heading in headings}


def test_panels_that_the_runbooks_and_alerts_name_exist():
    titles = {panel["title"] for panel in panels()}
    titles |= {"Service health", "Answers", "Ingestion and generations", "Jobs and generations"}
    named = re.findall(r"(?<![*\w])\*([^*\n]+)\*(?!\*)", RUNBOOKS.read_text().replace("\n", " "))
    quoted = re.findall(r'panel "([^"]+)"', " ".join(rule["annotations"]["description"] for rule in alerts()))
    assert set(chain(named, quoted)) - titles == set()


def test_dashboards_are_plain_json_named_by_their_uid():
    for path in DASHBOARDS.glob("*.json"):
        text = path.read_text()
        dashboard = json.loads(text)
        assert text == json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"  # so that diffs stay small
        assert path.stem == dashboard["uid"]


def test_dashboards_differ_in_their_title_variables_and_panels_only():
    own = {"uid", "title", "description", "templating", "panels"}
    first, *others = [{key: each[key] for key in each.keys() - own} for each in dashboards()]
    assert all(other == first for other in others)
    assert [link["tags"] for link in first["links"]] == [first["tags"]]  # each leads to the others
    (alerts_firing,) = first["annotations"]["list"]
    assert alerts_firing["expr"] == 'ALERTS{alertname=~"Footnote.*", alertstate="firing"}'


def test_variables_are_used_and_offer_several_values_or_all():
    for dashboard in dashboards():
        variables = dashboard["templating"]["list"]
        asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ()))
        assert set(re.findall(r"\$(?!__)(\w+)", asked)) == {each["name"] for each in variables}
        for each in variables:
            assert each["query"] == {"query": each["definition"], "refId": each["name"]}
            assert (each["multi"], each["includeAll"], each["allValue"]) == (True, True, ".*")
            assert each["refresh"] == 2  # with the time range: instances come and go


def test_panels_of_a_kind_look_alike():
    looks = {}
    for panel in panels():
        defaults = panel["fieldConfig"]["defaults"]
        custom = defaults.get("custom", {})
        limits = len(defaults["thresholds"]["steps"]) > 1
        kind = (panel["type"], custom.get("stacking", {}).get("mode"), panel["type"] == "timeseries" and limits)
        look = (panel["options"], panel["fieldConfig"]["overrides"], custom, defaults.get("color"), defaults["min"])
        assert look == looks.setdefault(kind, look), panel["title"]
        colors = [step["color"] for step in defaults["thresholds"]["steps"]]
        assert colors == ["green", "orange", "red"][: len(colors)]


def test_a_panel_on_two_dashboards_is_the_same_on_both():
    by_query = {}
    for panel in panels():
        shown = {key: panel[key] for key in panel.keys() - {"id", "gridPos"}}
        query = tuple(target["expr"] for target in panel["targets"])
        assert shown == by_query.setdefault(query, shown)


def test_panels_have_a_word_for_the_reader_and_do_not_overlap():
    for dashboard in dashboards():
        taken = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(panel["description"] and panel["targets"] for panel in panels())


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_rates_follow_the_graphs_step_and_quantiles_keep_the_buckets(panel):
    for target in panel["targets"]:
        assert set(re.findall(r"(?:rate|increase)\([^[]*\[([^\]]+)\]", target["expr"])) <= {
            "$__rate_interval",
            "$__range",
        }
        if "histogram_quantile" in target["expr"]:
            assert re.search(r"sum by \(le\b", target["expr"])
        if "footnote_tenant" in target["expr"]:
            assert target["expr"].startswith("topk(")  # thousands of lines are no graph
        if target["exemplar"]:
            assert "_bucket" in target["expr"]
        assert target["instant"] != target["range"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_units_are_those_of_the_metrics():
    units = {r"^histogram_quantile.*_seconds_bucket": "s", "_cost_": "currencyUSD", ":ratio_": "percentunit"}
    for panel in panels():
        unit = panel["fieldConfig"]["defaults"]["unit"]
        assert unit
        for target in panel["targets"]:
            assert {units[each] for each in units if re.search(each, target["expr"])} <= {unit}, panel["title"]


def test_queries_count_what_they_should():
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]

    def about(metric):
        found = [query for query in queries if re.search(metric, query)]
        assert found
        return found

    # A retrieval without an answer is counted as an answer, by its own operation; it would make answers look fast.
    assert all('footnote_operation!="retrieve"' in query for query in about(r"footnote_answer_"))
    # A run's counters begin with what its first minute counted, and end with the run: an increase leaves that part out.
    assert not any("rate(" in query or "increase(" in query for query in about(r"footnote_ingestion_\w+_total"))
    # Each server counts the whole queue, and follows every flip: a sum over servers counts it several times.
    assert all(query.startswith("max") for query in about(r"footnote_jobs|footnote_generation_flips"))


def test_grafana_is_given_what_the_dashboards_ask_for():
    sources = {each["uid"]: each for each in read("grafana/provisioning/datasources/datasources.yml")["datasources"]}
    asked = [each["datasource"] for panel in panels() for each in (panel, *panel["targets"])]
    asked += [each["datasource"] for board in dashboards() for each in board["templating"]["list"]]
    asked += [each["datasource"] for board in dashboards() for each in board["annotations"]["list"]]
    assert all(sources[each["uid"]]["type"] == each["type"] for each in asked)
    destinations = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert {each["name"] for each in destinations} == {"trace_id"}  # as config/telemetry/exposition.py names it
    assert destinations[0]["datasourceUid"] in sources


def test_the_collectors_pipelines_use_what_is_defined_and_all_of_it():
    config = read("otel-collector.yaml")
    for kind in ("receivers", "processors", "exporters"):
        used = set(chain.from_iterable(pipeline[kind] for pipeline in config["service"]["pipelines"].values()))
        assert used == config[kind].keys()
    assert set(config["service"]["extensions"]) == config["extensions"].keys()
    assert all(pipe["processors"][0] == "memory_limiter" for pipe in config["service"]["pipelines"].values())


def test_every_sampling_policy_has_the_settings_of_its_type():
    policies = read("otel-collector.yaml")["processors"]["tail_sampling"]["policies"]
    assert all(policy.keys() == {"name", "type", policy["type"]} for policy in policies)
    assert {"status_code", "latency", "ottl_condition", "probabilistic"} <= {policy["type"] for policy in policies}


def test_the_collector_keeps_the_spans_of_feedback_by_their_name():
    from server.services.feedback import REMARK

    (policy,) = (
        p for p in read("otel-collector.yaml")["processors"]["tail_sampling"]["policies"] if p["name"] == "rated"
    )
    assert policy["ottl_condition"]["span"] == [f'name == "{REMARK}"']


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture(scope="module")
def observers(compose):
    return {name: each for name, each in compose.items() if each.get("profiles") == ["observability"]}


def test_the_profile_starts_four_pinned_programs_for_this_machine_only(observers):
    assert observers.keys() == {"otel-collector", "jaeger", "prometheus", "grafana"}
    for service in observers.values():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        assert service["ports"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])  # whatever BIND_ADDRESS is: no logins
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]


def test_without_the_profile_nothing_is_sent_anywhere(compose):
    assert compose["server"]["environment"]["FOOTNOTE_TELEMETRY__ENDPOINT"] == "${FOOTNOTE_TELEMETRY__ENDPOINT:-}"
    assert not {"otel-collector", "jaeger"} & set(compose["server"]["depends_on"])


def test_what_the_containers_mount_exists(observers):
    mounted = [volume.split(":") for service in observers.values() for volume in service["volumes"]]
    own = [Path(parts[0]) for parts in mounted if parts[0].startswith("./")]
    assert len(own) == 6
    assert all((ROOT / path).exists() for path in own)
    assert all(parts[-1] == "ro" for parts in mounted if parts[0].startswith("./"))


def test_addresses_that_the_parts_call_each_other_by_are_services_of_compose(compose):
    scraped = [
        t for job in read("prometheus/prometheus.yml")["scrape_configs"] for t in job["static_configs"][0]["targets"]
    ]
    sources = [each["url"] for each in read("grafana/provisioning/datasources/datasources.yml")["datasources"]]
    collector = read("otel-collector.yaml")["exporters"]["otlp_grpc/jaeger"]["endpoint"]
    hosts = {re.sub(r"^https?://", "", address).split(":")[0] for address in [*scraped, *sources, collector]}
    assert hosts <= compose.keys()


def test_a_lapse_of_time_reaches_every_duration_of_a_rule():
    rule = "expr: rate(a[5m] offset 1h) > 5\nfor: 2m"
    assert shortened(rule, by=60) == "expr: rate(a[5000ms] offset 60000ms) > 5\nfor: 2000ms"
