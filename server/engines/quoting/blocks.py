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

WRAPPED = 0.6
"""Of the longest line of a paragraph: a line that had room for the next one's first word, and ends before, was not
wrapped."""
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
            yield from _text_blocks(token, tokens[position + 1], depth, is_item=is_item, lines=lines)
            is_item = False
            position += 2
        position += 1


def _text_blocks(token: Token, inline: Token, depth: int, *, is_item: bool, lines: Sequence[str]) -> Iterator[Block]:
    """Yield a heading, a paragraph or an item, and lines below that are none of it; a paragraph of code as such."""
    first, end = token.map or (0, 0)
    children = inline.children or []
    if token.type == "heading_open":
        if title := _plain(children):
            yield Block("heading", depth, title, _is_code(children), first, level=int(token.tag[1]))
    elif not depth and _is_indented_code(lines[first:end]):
        yield Block("code", depth, dedent("\n".join(lines[first:end]).expandtabs(4)).strip("\n"), line=first)
    else:
        kind: Kind = "item" if is_item else "paragraph"
        for line, part in _parts(children):
            if text := _plain(part):
                yield Block(kind, depth, text, _is_code(part), first + line)
            kind, depth = "paragraph", 0


def _parts(children: Sequence[Token]) -> Iterator[tuple[int, Sequence[Token]]]:
    """Yield the parts of a paragraph with their first lines, from 0.

    Plain texts have lines of their own where Markdown sees one paragraph: such a line ends long before the others do,
    and the next one begins like a sentence.
    """
    lines: list[list[Token]] = [[]]
    for child in children:
        if "break" in child.type:
            lines.append([])
        lines[-1].append(child)
    texts = [_plain(line) for line in lines]
    longest = max(map(len, texts))
    begin = 0
    for place in range(1, len(lines)):
        before, after = texts[place - 1], texts[place]
        filled = len(before) + 1 + len(after.partition(" ")[0])
        begins = after[:1].isupper() or after[:1].isdigit()
        if begins and before and before[-1].isalnum() and filled < WRAPPED * longest:
            yield begin, [child for line in lines[begin:place] for child in line]
            begin = place
    yield begin, [child for line in lines[begin:] for child in line]


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
            row.append(_plain(token.children or []))
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


def _plain(children: Sequence[Token]) -> str:
    """Return inline text without markup, each line break a blank."""
    parts = (
        child.content if child.type in {"text", "code_inline", "html_inline"} else " " if "break" in child.type else ""
        for child in children
    )
    return " ".join("".join(parts).split())


def _is_code(inline: Sequence[Token]) -> bool:
    children = [child for child in inline if child.content.strip() or "break" not in child.type]
    return bool(children) and all(child.type == "code_inline" for child in children if child.content.strip(" ,"))
