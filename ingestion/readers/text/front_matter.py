"""Front matter of Markdown files: YAML between ``---``, TOML between ``+++``.

What cannot be read as a whole is read line by line, as far as lines are ``key: value``, and the rest is said: a colon
in a title is no reason to lose a note. A filter that relies on a key that is said to be unreadable finds nothing, and
the warning says why.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from ingestion.readers.cleaning import clean
from ingestion.readers.values import as_json
from ingestion.types import Json, ReadWarning

MAX_LENGTH = 65_536
MAX_NODES = 10_000  # of YAML, aliases written out: nine lines of them can stand for gigabytes
_BLOCK = re.compile(r"\A(?P<fence>---|\+\+\+)[ \t]*\n(?P<body>(?:.*\n)*?)(?P=fence)[ \t]*(?:\n+|\Z)")
_KEY = re.compile(r"^\s*(?:#.*\n\s*)*[\"']?[\w .\-]{1,100}[\"']?\s*[:=]", re.UNICODE)
_LINE = re.compile(r"(?P<key>[\w.\-][\w .\-]{0,99}?)\s*[:=]\s+(?P<value>\S.{0,2000}?)\s*")
_TEMPLATE = re.compile(r"\{\{.*\}\}|\{%.*%\}|<%.*%>")
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_ERRORS = (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError)


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """Metadata, and what of it could not be read."""

    metadata: dict[str, Json] = field(default_factory=dict)
    warnings: tuple[ReadWarning, ...] = ()


class _TooLarge(yaml.YAMLError):
    pass


class _Loader(yaml.SafeLoader):
    """Plain data only, of bounded size with its aliases written out."""

    def construct_document(self, node: yaml.Node) -> object:
        self._weigh(node, {}, 0)
        return super().construct_document(node)

    def _weigh(self, node: yaml.Node, known: dict[int, int], depth: int) -> int:
        """Return how many nodes it stands for; an alias is the node that it names."""
        found = known.get(id(node))
        if found is not None:
            return found
        known[id(node)] = MAX_NODES + 1  # while it is open: one that contains itself has no end
        inner = node.value if isinstance(node.value, list) else []
        parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(self._weigh(part, known, depth + 1) for part in parts)
        if known[id(node)] > MAX_NODES:
            problem = "stands for too much"
            raise _TooLarge(problem)
        return known[id(node)]


# numbers as people mean them, not as YAML 1.1 does: ``01067`` is no octal number, ``12:30:00`` no number in base 60
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {_INT, _FLOAT}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _INT, re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0b[01]+)\Z"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"[-+]?(?:(?:0|[1-9][0-9_]*)?\.[0-9]+|(?:0|[1-9][0-9_]*)\.?)(?:[eE][-+]?[0-9]+)?\Z|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
    ),
    list("-+0123456789."),
)


def cut_front_matter(text: str) -> tuple[FrontMatter, str]:
    """Return the metadata and the text below it; dates become ISO 8601 strings, other types are kept."""
    head = text[: MAX_LENGTH + 1]
    if not head.startswith(("---", "+++")):
        return FrontMatter(), text
    found = _BLOCK.match(head)
    if found is None or not _KEY.match(found["body"]):
        return FrontMatter(), text
    rest = text[found.end() :]
    try:
        values = tomllib.loads(found["body"]) if found["fence"] == "+++" else _yaml(found["body"])
        metadata = as_json(values)
    except _ERRORS as exc:
        return _by_lines(found["body"], _where(exc)), rest
    return FrontMatter(metadata if isinstance(metadata, dict) else {}), rest


def _yaml(text: str) -> object:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _by_lines(body: str, where: str) -> FrontMatter:
    """Read key by key, with the indented lines below each; say which lines could not be read."""
    metadata: dict[str, Json] = {}
    lost: list[int] = []
    for number, entry in _entries(body):
        found = _entry(entry)
        if found is None:
            lost += range(number, number + len(entry))
        else:
            metadata |= found
    lines = ", ".join(map(str, lost[:10])) + (" and more" if len(lost) > 10 else "")  # noqa: PLR2004
    left = f"; line{'' if len(lost) == 1 else 's'} {lines} left out" if lost else ""
    detail = f"Its front matter is not valid ({where}) and was read line by line{left}."
    return FrontMatter(metadata, (ReadWarning("front-matter-unreadable", detail),))


def _entries(body: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each key's lines and the number of the first in the file; comments and empty lines belong to none."""
    entry: list[str] = []
    first = 0
    for number, line in enumerate(body.split("\n"), 2):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if entry and line[:1] not in " \t-":
            yield first, entry
            entry = []
        first = first if entry else number
        entry.append(line)
    if entry:
        yield first, entry


def _entry(lines: list[str]) -> dict[str, Json] | None:
    """Return a key with its value; one whose value is not valid is a text, unless it is a template or many lines."""
    try:
        value = as_json(_yaml("\n".join(lines)))
    except _ERRORS:
        value = None
    if isinstance(value, dict) and not _TEMPLATE.search(lines[0]):
        return value
    found = _LINE.fullmatch(lines[0])
    if found is None or len(lines) > 1 or _TEMPLATE.search(lines[0]):
        return None
    return {clean(found["key"]): _value(found["value"])}


def _value(text: str) -> Json:
    """Return a value as YAML reads it, else its text."""
    try:
        value = as_json(_yaml(text))
    except _ERRORS:
        value = None
    if value is None or isinstance(value, dict):  # ``Re: the old quay`` is a text with a colon
        return clean(text.strip("\"'"))
    return value


def _where(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 2}"
    if isinstance(exc, _TooLarge):
        return "its aliases stand for too much"
    return "nested too deeply" if isinstance(exc, RecursionError) else "line 2 or below"
