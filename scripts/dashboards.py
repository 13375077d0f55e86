"""Write Grafana's dashboards, ``deploy/grafana/dashboards/*.json``, from what is said of them in this folder.

python scripts/dashboards.py
"""

from __future__ import annotations

import json
from pathlib import Path

from dashboard_answers import ANSWERS
from dashboard_health import HEALTH
from dashboard_ingestion import INGESTION
from dashboard_jobs import JOBS

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"
DASHBOARDS = (HEALTH, ANSWERS, INGESTION, JOBS)


def rendered() -> dict[str, str]:
    """Return the files, by name."""
    return {f"{each.uid}.json": json.dumps(each.json(), indent=2, ensure_ascii=False) + "\n" for each in DASHBOARDS}


def main() -> None:
    """Write the files, and remove those that no dashboard stands for any more."""
    files = rendered()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
