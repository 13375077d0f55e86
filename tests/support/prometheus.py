"""A real Prometheus, and what can be told of its expressions without one.

with start_prometheus(configuration) as prometheus:
    prometheus.wait_for_value('up{job="footnote"}')
    assert prometheus.firing() == {"FootnoteDown"}

The programs are those in PATH, else of Debian's package, which ``scripts/prometheus`` unpacks.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fasteners
import httpx
import pytest
import yaml
from support.nginx import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"
PATIENCE = 240.0
"""Seconds that something may take on a busy machine."""

INTERVAL = "1s"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_WORDS = frozenset(
    {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool"}
)
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"


def programs() -> Mapping[str, str]:
    """Return where prometheus and promtool are; skip the test where they cannot be had."""
    found, reason = _programs()
    if not found:
        pytest.skip(reason)
    return found


@functools.cache
def _programs() -> tuple[Mapping[str, str], str]:
    in_path = {name: path for name in ("prometheus", "promtool") if (path := shutil.which(name))}
    if len(in_path) > 1:
        return in_path, ""
    (ROOT / ".cache").mkdir(exist_ok=True)
    with fasteners.InterProcessLock(ROOT / ".cache" / "prometheus.lock"):  # one download, not one a worker
        done = subprocess.run([ROOT / "scripts" / "prometheus"], capture_output=True, text=True, check=False)
    if done.returncode:
        return {}, f"no Prometheus here: {done.stderr.strip()}"
    folder = Path(done.stdout.strip())
    return {name: str(folder / name) for name in ("prometheus", "promtool")}, ""


def promtool(*arguments: str | Path) -> str:
    """Run promtool; fail with its words where it finds fault."""
    done = subprocess.run([programs()["promtool"], *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """See `start_prometheus`."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=PATIENCE)

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the series that an expression has at this moment, without those that are no number."""
        result = self._get("query", query=expr)["result"]
        return [series for series in result if series["value"][1] != "NaN"]

    def ever(self, expr: str, *, since: float) -> list[dict[str, Any]]:
        """Return the series that an expression has now, or has had at any second since then (a Unix time)."""
        if now := self.query(expr):
            return now
        asked = {"query": expr, "start": str(since), "end": str(time.time()), "step": "1s"}
        series = self._get("query_range", **asked)["result"]
        return [each for each in series if any(value != "NaN" for _, value in each["values"])]

    def value(self, expr: str) -> float | None:
        """Return the value of the one series of an expression; None where there is none."""
        result = self.query(expr)
        return float(result[0]["value"][1]) if result else None

    def exemplars(self, expr: str, *, since: float) -> list[dict[str, Any]]:
        """Return the exemplars of an expression's series, as Grafana asks for them."""
        found = self._get("query_exemplars", query=expr, start=str(since), end=str(time.time()))
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def series(self, *, since: float) -> list[dict[str, str]]:
        """Return the labels of every series since then, ``__name__`` among them."""
        return list(self._get("series", **{"match[]": '{__name__!=""}', "start": str(since), "end": str(time.time())}))

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {each["labels"]["alertname"] for each in self.alerts() if each["state"] == "firing"}

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that fire, or are about to."""
        return list(self._get("alerts")["alerts"])

    def wait_for(self, look: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
        """Look again and again until there is something; return it."""
        end = time.monotonic() + seconds
        while not (seen := look()):
            assert time.monotonic() < end, f"it did not happen; targets: {self.targets()}; alerts: {self.alerts()}"
            time.sleep(0.1)
        return seen

    def targets(self) -> list[tuple[str, str, str]]:
        """Return who is scraped, how that went, and why not."""
        active = self._get("targets")["activeTargets"]
        return [(each["scrapeUrl"], each["health"], each["lastError"]) for each in active]

    def close(self) -> None:
        """Close the client."""
        self._http.close()

    def _get(self, path: str, **parameters: str) -> Any:
        answer = self._http.get(f"/{path}", params=parameters).json()
        assert answer["status"] == "success", f"{answer}: {parameters}"
        return answer["data"]


@contextlib.contextmanager
def start_prometheus(targets: Mapping[str, str], *, lapse: int = 1) -> Iterator[Prometheus]:
    """Run the Prometheus of ``deploy/``: its jobs, at other addresses (``host:port`` by job), and its rules.

    It looks twice a second. A job without an address is left out. Under a time `lapse` of 60 the rules see, and wait
    for, a second where they say a minute.
    """
    folder = Path(tempfile.mkdtemp(prefix="footnote-prometheus-"))
    port = free_port()
    (folder / "prometheus.yml").write_text(json.dumps(_configured(targets)))
    (folder / "rules").mkdir()
    for rules in RULES.glob("*.yml"):
        (folder / "rules" / rules.name).write_text(shortened(rules.read_text(), by=lapse))
    url = f"http://127.0.0.1:{port}"
    arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs()["prometheus"], *arguments, "--enable-feature=exemplar-storage"],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        _wait(url, process, folder / "log")
        prometheus = Prometheus(url)
        yield prometheus
        prometheus.close()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def shortened(rules: str, *, by: int) -> str:
    """Return rules with all their times (ranges, offsets, ``for``) divided."""

    def divided(found: re.Match[str]) -> str:
        milliseconds = int(found["number"]) * SECONDS[found["unit"]] * 1000 // by
        return f"{found['before']}{milliseconds}ms"

    return re.sub(r"(?P<before>\[|offset |for: )(?P<number>\d+)(?P<unit>[smhd])\b", divided, rules)


def _configured(targets: Mapping[str, str]) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL}
    config["scrape_configs"] = [
        {**job, "static_configs": [{"targets": [targets[job["job_name"]]]}]}
        for job in config["scrape_configs"]
        if job["job_name"] in targets
    ]
    return config


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/-/ready").is_success:
                return
        time.sleep(0.05)
    msg = f"Prometheus did not start: {log.read_text()[-1000:]}"
    raise RuntimeError(msg)


@dataclass(frozen=True)
class Asked:
    """A query as it stands in a file.

    Attributes:
        where: the dashboard and panel, or the rule.
        exemplars: whether it asks for traces, too.

    """

    where: str
    expr: str
    exemplars: bool = False

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics that it is about."""
        return set(re.findall(rf"(?<![\w:.]){_NAME}(?![\w:])(?!\s*\()", _bare(self.expr))) - _WORDS

    @property
    def labels(self) -> set[str]:
        """Names of the labels that it picks by, or groups by."""
        plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', self.expr)
        matched = re.findall(rf"({_NAME})\s*(?:=~|!~|!=|=)", " ".join(re.findall(r"\{([^}]*)\}", plain)))
        grouped = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", plain)
        return set(matched) | {name.strip() for names in grouped for name in names.split(",") if name.strip()}


def _bare(expr: str) -> str:
    """Leave out what is no metric: strings, matchers, ranges, labels that are grouped by, numbers."""
    for pattern in (
        r'"(?:[^"\\]|\\.)*"',
        r"\{[^}]*\}",
        r"\[[^\]]*\]",
        r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)",
        r"\boffset\s+\w+",
        r"(?<![\w:])[\d.]+(?:e-?\d+)?[smhdwy]?\b",
    ):
        expr = re.sub(pattern, " ", expr)
    return expr


def panels_queries() -> list[Asked]:
    """Return the dashboards' queries, with Grafana's variables filled in for a short load."""
    return [
        Asked(f"{path.stem}: {panel['title']}", _filled(target["expr"]), exemplars=target["exemplar"])
        for path in sorted(DASHBOARDS.glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]


def variables_queries() -> list[Asked]:
    """Return the series that dashboards' variables take their values from, grouped by the label that they show."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        for variable in json.loads(path.read_text())["templating"]["list"]:
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
            found.append(Asked(f"{path.stem}: ${variable['name']}", f"group by ({label}) ({series})"))
    return found


def rules_queries() -> list[Asked]:
    """Return the expressions of alerts and recording rules, of those that are not loaded, too."""
    return [
        Asked(f"{path.name}: {rule.get('alert') or rule['record']}", rule["expr"])
        for path in sorted((DEPLOY / "prometheus").glob("rules*/*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def _filled(expr: str) -> str:
    """Fill in what Grafana would: every instance, every collection, and times that fit a load of some seconds."""
    for name, value in {"$__rate_interval": "1m", "$__range": "5m", "$instance": ".*", "$collection": ".*"}.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr
