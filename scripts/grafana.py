"""Grafana's dashboards as data: panels with their queries, laid out in rows, and the JSON that Grafana reads.

The JSON is the classic dashboard model (https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/),
which every Grafana since version 8 loads, and newer ones migrate by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
WIDTH = 24
SCHEMA_VERSION = 39


@dataclass(frozen=True)
class Query:
    """One PromQL expression of a panel.

    Attributes:
        legend: Grafana's template, ``{{label}}``.
        exemplars: show traces as points; for histograms, whose buckets carry them.
        now: the value of this moment, not of each step.

    """

    expr: str
    legend: str = ""
    exemplars: bool = False
    now: bool = False


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        says: what one can tell from it; shown at its corner.
        unit: Grafana's name of it: s, percentunit, reqps, bytes, currencyUSD, short.
        steps: values from which it turns orange, and red.
        names: for a value's name, ``{1: "open"}``.
        top: where its axis ends.

    """

    title: str
    queries: Sequence[Query]
    says: str
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    stacked: bool = False
    steps: Sequence[float] = ()
    names: dict[float, str] = field(default_factory=dict)
    top: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels under a heading, left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice at the head of a dashboard; the values are those of a label."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True)
class Dashboard:
    """A dashboard; `uid` is the last part of its address, and the name of its file."""

    uid: str
    title: str
    says: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()

    def json(self) -> dict[str, Any]:
        """Return what Grafana reads."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.says,
            "tags": ["footnote"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "graphTooltip": 1,  # one cross-hair over all panels
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": [_alerts()]},
            "links": [_others()],
            "templating": {"list": [_variable(each) for each in self.variables]},
            "panels": list(_laid_out(self.rows)),
        }


def _laid_out(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, below = 0, 0
    for row in rows:
        number += 1
        yield {**_place(number, (WIDTH, 1), (0, below)), "type": "row", "title": row.title, "collapsed": False}
        below += 1
        left, tallest = 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                left, below, tallest = 0, below + tallest, 0
            number += 1
            yield {**_place(number, (panel.width, panel.height), (left, below)), **_panel(panel)}
            left, tallest = left + panel.width, max(tallest, panel.height)
        below += tallest


def _place(number: int, size: tuple[int, int], at: tuple[int, int]) -> dict[str, Any]:
    return {"id": number, "gridPos": {"w": size[0], "h": size[1], "x": at[0], "y": at[1]}}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": PROMETHEUS,
        "targets": [_target(query, chr(ord("A") + place), panel) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(query: Query, ref: str, panel: Panel) -> dict[str, Any]:
    return {
        "refId": ref,
        "datasource": PROMETHEUS,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "exemplar": query.exemplars,
        "instant": query.now,
        "range": not query.now,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _field(panel: Panel) -> dict[str, Any]:
    colors = ["green", "orange", "red"]
    steps = [{"color": color, "value": value} for color, value in zip(colors, [None, *panel.steps], strict=False)]
    shown: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.top is not None:
        shown["max"] = panel.top
    if panel.names:
        options = {
            f"{value:g}": {"text": text, "index": place} for place, (value, text) in enumerate(panel.names.items())
        }
        shown["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        shown["custom"] = {
            "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
        }
        shown["color"] = {"mode": "palette-classic"}
    return shown


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        legend = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind in {"stat", "bargauge"}:
        return {"reduceOptions": {"calcs": ["lastNotNull"], "values": False, "fields": ""}}
    return {}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        "name": variable.name,
        "type": "query",
        "datasource": PROMETHEUS,
        "definition": query,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,  # with the time range
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": PROMETHEUS,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Footnote.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "step": "1m",
    }


def _others() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "Footnote",
        "tags": ["footnote"],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": True,
    }
