"""Front matter of Markdown files: YAML between ``---``, TOML between ``+++``."""

from __future__ import annotations

import re
import tomllib

import yaml

from ingestion.errors import Unreadable
from ingestion.readers.values import as_json
from ingestion.types import Json

MAX_LENGTH = 65_536
_BLOCK = re.compile(r"\A(?P<fence>---|\+\+\+)[ \t]*\n(?P<body>(?:.*\n)*?)(?P=fence)[ \t]*(?:\n+|\Z)")
_KEY = re.compile(r"^\s*(?:#.*\n\s*)*[\"']?[\w .\-]{1,100}[\"']?\s*[:=]", re.UNICODE)


class _Loader(yaml.SafeLoader):
    """Plain data only, and no aliases: nine lines of them can expand to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            problem = "has aliases, which are not read"
            raise yaml.YAMLError(problem)
        return super().compose_node(parent, index)


def cut_front_matter(text: str) -> tuple[dict[str, Json], str]:
    """Return the metadata and the text below it; dates become ISO 8601 strings, other types are kept.

    Raises:
        Unreadable: there is a block that looks like front matter and cannot be read. Leaving it out quietly could
            leave out what a filter relies on.

    """
    head = text[: MAX_LENGTH + 1]
    if not head.startswith(("---", "+++")):
        return {}, text
    found = _BLOCK.match(head)
    if found is None or not _KEY.match(found["body"]):
        return {}, text
    try:
        values = tomllib.loads(found["body"]) if found["fence"] == "+++" else _yaml(found["body"])
        metadata = as_json(values)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as exc:
        msg = f"its front matter cannot be read ({_where(exc)})"
        raise Unreadable(msg) from exc
    return (metadata if isinstance(metadata, dict) else {}), text[found.end() :]


def _yaml(text: str) -> object:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _where(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 2}"
    return "nested too deeply" if isinstance(exc, RecursionError) else "line 2 or below"
