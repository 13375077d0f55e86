"""Settings for tests: a database of their own, no language model unless a test asks for one."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings


def make_settings(dsn: str, data_dir: Path, **groups: dict[str, object]) -> Settings:
    """Return settings, with further groups of values."""
    database = {"url": dsn, "connect_timeout": 5, **groups.pop("database", {})}
    llm = {"provider": "extractive", "prompt": "rules", "quote_uncited": False, **groups.pop("llm", {})}
    if "class" in llm:
        del llm["provider"]
    # scripted models answer whatever is asked, and need no examples
    retrieval = {"refuse": 0, **groups.pop("retrieval", {})}
    return Settings(data_dir=data_dir, database=database, llm=llm, retrieval=retrieval, **groups)  # type: ignore[arg-type]
