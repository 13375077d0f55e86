"""Source code and configuration: its definitions are headings, named as the code names them.

Python is parsed. Other languages are read line by line, by the words with which definitions begin and by indentation;
a parser for each of them (tree-sitter) would be many megabytes, and needs whole files without errors. A definition that
is not found is part of the one before it: nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePath

from ingestion.readers.cleaning import clean, name_as_title
from ingestion.readers.encodings.decoding import decode
from ingestion.readers.text.definitions import Definition, definitions
from ingestion.types import Extracted, Heading, ReadOptions

MAX_HEADINGS = 20_000
MAX_PARSED = 2_000_000  # characters of Python that are parsed; a syntax tree takes a hundred times its text
_TYPE = re.compile(r"[a-z_][\w \t*]{0,60}$|template\s*<")  # of what a function returns, on a line above its name
_WITH_TYPES = frozenset({"c", "h", "cc", "cpp", "cxx", "hpp", "hh", "m", "mm"})
_COMMENT = re.compile(r"[ \t]*(?://|#|--|;|%|\*|/\*|@|\[\w|<!--|\"\"\"|'(?!')|[Rr]em\b)")


def read_source(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read source code; the title is the file name with its suffix, definitions are headings."""
    decoded = decode(data, language=options.language)
    text = clean(decoded.text)
    headings = code_headings(text, name.suffix)
    return Extracted(text, title=name_as_title(name, suffix=True), headings=headings, warnings=decoded.warnings)


def code_headings(text: str, suffix: str) -> tuple[Heading, ...]:
    """Return the definitions of code as headings, each from the comment above it.

    What stands outside of definitions after one is a heading without a name, which ends it.

    Args:
        text: the code.
        suffix: of its file, ``.py`` say, which tells the language.

    """
    suffix = suffix.lower().lstrip(".")
    found = _python(text) if suffix in {"py", "pyi"} and len(text) <= MAX_PARSED else None
    lines = text.split("\n")
    starts = _starts(lines)
    headings: list[Heading] = []
    previous = -1
    for definition in islice(definitions(lines, suffix) if found is None else found, MAX_HEADINGS):
        if definition.line <= previous:
            continue  # on the line of another
        line = definition.line
        if suffix in _WITH_TYPES and line - 1 > previous and _TYPE.match(lines[line - 1]):
            line -= 1
        line = _with_comments(lines, line, after=previous)
        headings.append(Heading(starts[line], definition.level, definition.name[:200]))
        previous = definition.line
    return tuple(headings)


def _starts(lines: list[str]) -> list[int]:
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    return starts


def _with_comments(lines: list[str], line: int, *, after: int) -> int:
    """Return the first line of the comments and attributes right above a line, below the line `after`."""
    first = line
    while first - 1 > after and lines[first - 1].strip():
        above = lines[first - 1]
        if above.rstrip().endswith("*/") and "/*" not in above:
            opening = next((place for place in range(first - 1, after, -1) if "/*" in lines[place]), None)
            if opening is None:
                break
            first = opening
        elif _COMMENT.match(above):
            first -= 1
        else:
            break
    return first


def _python(text: str) -> list[Definition] | None:
    """Return the classes and functions of Python code; None if it cannot be parsed."""
    import ast
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return list(_members(tree, level=1))


def _members(node: object, *, level: int) -> Iterator[Definition]:
    import ast

    is_inside = False
    for child in getattr(node, "body", []):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            yield Definition(first - 1, level, child.name)
            if isinstance(child, ast.ClassDef):
                yield from _members(child, level=level + 1)
            is_inside = True
        elif is_inside:
            yield Definition(child.lineno - 1, level, "")
            is_inside = False
