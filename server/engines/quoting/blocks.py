"""The blocks of a passage: headings, paragraphs, list items, tables and code, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from textwrap import dedent
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

KEPT = 1024
"""Passages whose blocks are remembered: many questions find the same ones, and Markdown takes long to parse."""

Kind = Literal["heading", "paragraph", "item", "table", "code"]

PROSE_SHARE = 0.9  # of letters and blanks
_COMMAND = re.compile(
    r"[$#>] |\w*[A-Z]\w*=|\S*/\S+ .*  # |(?:sudo|python3?|pip|curl|make|git|docker|export|apt-get|cd|rm) "
)
_BAR = re.compile(r"(?<!\\)\|")
_NAMED_VALUE = re.compile(r"(\w[^:\n]{0,99}): (\S.*)")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a passage.

    Attributes:
        depth: of the list that it stands in; 0 outside of lists.
        level: of a heading, 1 to 6.
        text: without markup.
        code: whether all of a paragraph is set as code.
        line: number of its first line in the passage, from 0.
        rows: of a table, the header first, which may be empty; empty cells are "".

    """

    kind: Kind
    depth: int
    text: str
    code: bool = False
    line: int = 0
    rows: tuple[tuple[str, ...], ...] = ()
    level: int = 0


@lru_cache(maxsize=KEPT)
def blocks(text: str) -> tuple[Block, ...]:
    """Return the blocks of a passage, which may begin and end in the midst of one."""
    return tuple(_blocks(text))


def _blocks(text: str) -> Iterator[Block]:
    tokens, lines = _parser().parse(text), text.split("\n")
    depth, position, is_item = 0, 0, False
    while position < len(tokens):
        token = tokens[position]
        line = token.map[0] if token.map else 0
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            depth += 1
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            depth -= 1
        elif token.type == "list_item_open":
            is_item = True
        elif token.type in {"fence", "html_block"}:
            yield Block("code" if token.type == "fence" else "paragraph", depth, token.content.strip("\n"), line=line)
            is_item = False
        elif token.type == "table_open":
            end = next(n for n in range(position, len(tokens)) if tokens[n].type == "table_close")
            rows = tuple(_rows(tokens[position:end]))
            yield Block("table", depth, "\n".join(" ".join(row) for row in rows), line=line, rows=rows)
            position = end
        elif token.type == "paragraph_open" and (rows := _written_rows(tokens[position + 1].content)):
            yield Block("table", depth, "\n".join(" ".join(row) for row in rows), line=line, rows=rows)
            is_item = False
            position += 2
        elif token.type in {"heading_open", "paragraph_open"}:
            block = _text_block(token, tokens[position + 1], depth, is_item=is_item, lines=lines)
            if block.text:
                yield block
            is_item = False
            position += 2
        position += 1


def _text_block(token: Token, inline: Token, depth: int, *, is_item: bool, lines: Sequence[str]) -> Block:
    """Return a heading, a paragraph or an item; a paragraph that is code as such."""
    first, end = token.map or (0, 0)
    if token.type == "heading_open":
        return Block("heading", depth, _plain(inline), _is_code(inline), first, level=int(token.tag[1]))
    if not depth and _is_indented_code(lines[first:end]):
        return Block("code", depth, dedent("\n".join(lines[first:end]).expandtabs(4)).strip("\n"), line=first)
    return Block("item" if is_item else "paragraph", depth, _plain(inline), _is_code(inline), first)


def _is_indented_code(lines: Sequence[str]) -> bool:
    """Tell whether lines outside of lists are code: by Markdown's rule, and by their look; prose is indented, too."""
    if not lines or not all(line.startswith(("    ", "\t")) for line in lines):
        return False
    first, text = lines[0].strip(), " ".join(map(str.strip, lines))
    is_prose = sum(each.isalpha() or each.isspace() for each in text) >= PROSE_SHARE * len(text)
    return bool(_COMMAND.match(first)) or not is_prose


@cache
def _parser() -> MarkdownIt:
    # indented code is switched off: passages begin within lists, where it would be mere text; see `_is_indented_code`
    return MarkdownIt("commonmark").enable("table").disable("code")


def _rows(tokens: Sequence[Token]) -> Iterator[tuple[str, ...]]:
    row: list[str] = []
    for token in tokens:
        if token.type == "inline":
            row.append(_plain(token))
        elif token.type == "tr_close":
            yield tuple(row)
            row = []


def _written_rows(paragraph: str) -> tuple[tuple[str, ...], ...]:
    """Return the rows of a paragraph that is a part of a table, after an empty header, or a row as a reader writes it.

    Readers of spreadsheets and records write a row as lines of ``column: value``.
    """
    lines = paragraph.split("\n")
    if all(line.startswith("|") for line in lines):
        return ((), *(tuple(cell.strip() for cell in _BAR.split(line.strip().strip("|"))) for line in lines))
    found = [_NAMED_VALUE.fullmatch(line) for line in lines]
    named = [match for match in found if match is not None]
    if len(lines) == 1 or len(named) < len(lines):
        return ()
    return tuple(match[1] for match in named), tuple(match[2].strip() for match in named)


def _plain(inline: Token) -> str:
    """Return inline text without markup, each line break a blank."""
    parts = (
        child.content if child.type in {"text", "code_inline", "html_inline"} else " " if "break" in child.type else ""
        for child in inline.children or []
    )
    return " ".join("".join(parts).split())


def _is_code(inline: Token) -> bool:
    children = [child for child in inline.children or [] if child.content.strip() or "break" not in child.type]
    return bool(children) and all(child.type == "code_inline" for child in children if child.content.strip(" ,"))
