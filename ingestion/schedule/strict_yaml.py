"""Strict YAML for untrusted input: limited alias expansion, no duplicate keys, errors with lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from ingestion.errors import CommandRefused

MAX_BYTES = 1 << 20
MAX_NODES = 100_000  # with aliases expanded


class SourcesInvalid(CommandRefused):
    """A file of sources is invalid; the message names the line and the fault."""


class _Loader(yaml.SafeLoader):
    """The pure Python safe loader: deep nesting raises an error where the C one would crash the process."""


def compose(path: Path) -> yaml.Node:
    """Return the nodes of a file.

    Raises:
        SourcesInvalid: it cannot be read, or contains something forbidden.

    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise invalid(path, f"it is larger than {MAX_BYTES} bytes")
        node = yaml.compose(data.decode("utf-8"), Loader=_Loader)
        if node is None:
            raise invalid(path, "it is empty; sources: is wanted, with a list")
        _weigh(node, path, {})
    except (OSError, UnicodeDecodeError) as exc:
        raise invalid(path, f"it cannot be read as UTF-8 text ({type(exc).__name__})") from exc
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line if exc.problem_mark else None
        raise invalid(path, f"it is no YAML: {exc.problem or exc.context}", line=line) from exc
    except yaml.YAMLError as exc:
        raise invalid(path, "it is no YAML: a character that may not be there") from exc
    except RecursionError as exc:
        raise invalid(path, "it is nested too deeply") from exc
    return node


def construct(node: yaml.Node, path: Path) -> object:
    """Convert nodes to plain Python objects.

    Raises:
        SourcesInvalid: a value is invalid.

    """
    try:
        return _Loader("").construct_document(node)
    except yaml.MarkedYAMLError as exc:
        raise invalid(path, f"{exc.problem}", line=exc.problem_mark.line if exc.problem_mark else None) from exc
    except (ValueError, RecursionError) as exc:  # an invalid date, for example
        raise invalid(path, f"a value cannot be read ({type(exc).__name__})") from exc


def _weigh(node: yaml.Node, path: Path, known: dict[int, int]) -> int:
    """Count nodes with aliases expanded; reject too many, cycles and duplicate keys."""
    if id(node) in known:
        if known[id(node)] < 0:
            raise invalid(path, "an alias stands within what it stands for", line=node.start_mark.line)
        return known[id(node)]
    known[id(node)] = -1
    weight = 1 + sum(_weigh(child, path, known) for child in _children(node))
    if weight > MAX_NODES:
        raise invalid(path, f"with its aliases it has more than {MAX_NODES} values", line=node.start_mark.line)
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                raise invalid(path, f"{key.value!r} comes twice", line=key.start_mark.line)
            keys.add(key.value)
    known[id(node)] = weight
    return weight


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def line_of(node: yaml.Node, place: Sequence[int | str]) -> int:
    """Return the line of a value, or of the nearest node around it."""
    for part in place:
        inner = at(node, part)
        if inner is None:
            break
        node = inner
    return int(node.start_mark.line)


def at(node: yaml.Node | None, part: int | str) -> yaml.Node | None:
    """Return the value at a key or list index; None if there is none."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None


def invalid(path: Path, reason: str, *, line: int | None = None) -> SourcesInvalid:
    """Return the error for a file; `line` counts from 0."""
    where = f", line {line + 1}" if line is not None else ""
    return SourcesInvalid(f"{path}{where}: {reason}")
