"""``python -m evaluation.small``: ingest Footnote's documentation into a database of its own, and ask about it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from config import logging as logs
from config.errors import FootnoteError
from config.extras import require_extra
from config.settings import DatabaseSettings, LLMSettings, Settings, SettingsError, load_settings
from evaluation import command, small
from evaluation.arguments import parse_arguments
from evaluation.opening import for_evaluation
from storage import schema_version
from storage.caller import LOCAL, acting_as
from storage.server import database_server


def main(further: list[str] | None = None) -> int:
    """Run it; further arguments are those of ``python -m evaluation run``. Return the exit code."""
    options = parse_arguments([*small.arguments(), *(further or [])], description=__doc__.splitlines()[0])
    try:
        require_extra("evaluation", purpose="make evaluate")
        settings = load_settings()
    except (FootnoteError, SettingsError) as exc:
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201 (the command's output)
        return 2
    logs.configure(settings.log.model_copy(update={"level": "warning"}))
    with tempfile.TemporaryDirectory(prefix="footnote-evaluation-") as folder:
        chosen = _own(settings, Path(folder))
        with database_server(chosen) as server:
            asyncio.run(schema_version.upgrade(server.dsn, chosen.database))
            with acting_as(LOCAL):
                asyncio.run(small.ingest(chosen))
                return asyncio.run(command.run(options, for_evaluation(chosen)))


def _own(settings: Settings, folder: Path) -> Settings:
    """Return the settings with a database of its own, and without a model: no answers are written."""
    own = {"data_dir": folder, "database": DatabaseSettings(), "llm": LLMSettings(provider="extractive")}
    return settings.model_copy(update=own)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
