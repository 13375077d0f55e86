"""Writes a page's content as Markdown: block by block, in the order of the tree."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ingestion.readers.cleaning import clean
from ingestion.readers.html.formulas import as_text, lowered, raised
from ingestion.readers.html.tables import is_layout, table_of
from ingestion.readers.html.tree import INLINE, tag_of
from ingestion.readers.tables.table import as_markdown
from ingestion.types import Heading

if TYPE_CHECKING:
    from lxml.html import HtmlElement

_BREAK = "\x01"  # a line break that was written; text has no control characters
_BLANKS = re.compile(r"[ \t\n\r\f]+")
_AROUND_BREAK = re.compile(rf" *{_BREAK} *")
_CODE = frozenset(("code", "kbd", "samp", "tt"))
_QUOTED_LINES = frozenset(("div", "p", "li", "tr", "ol", "ul", "table", "dd", "dt"))
_SHOWN_AS_BLOCK = re.compile(r"display\s*:\s*(?:block|flex|grid|list-item|table-row)", re.IGNORECASE)
_AS_WRITTEN = re.compile(r"white-space\s*:\s*(?:pre\b(?!-line)|break-spaces)", re.IGNORECASE)
_SHIFTED = re.compile(r"vertical-align\s*:\s*(super|sub)\b", re.IGNORECASE)
_TEXT_INPUTS = frozenset("text email tel url number date time month week datetime-local search color range".split()) | {
    ""
}
_ITEM = re.compile(r"- |\d{1,9}\. ")
_LANGUAGE = re.compile(r"(?:lang(?:uage)?|highlight(?:-source)?|brush)[-:]\s*([\w+#.-]{1,20})")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, heading, list item, table or code block.

    Attributes:
        text: its lines.
        level: of a heading, from 1; else 0.
        close: it follows the block before it without an empty line, as items of a list do.

    """

    text: str
    level: int = 0
    close: bool = False
    name: str = ""


@dataclass(slots=True)
class _Sink:
    """Where text is collected: finished blocks, and the pieces of the paragraph that has begun."""

    blocks: list[Block] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    def flush(self, *, close: bool = False) -> None:
        """End the paragraph."""
        text = _AROUND_BREAK.sub("\n", _BLANKS.sub(" ", "".join(self.pieces))).strip(" \n")
        self.pieces.clear()
        if text:
            self.blocks.append(Block(text, close=close))

    def last(self) -> str:
        """Return the last characters of the paragraph that has begun."""
        return next((piece for piece in reversed(self.pieces) if piece), "")


def blocks_of(element: HtmlElement) -> list[Block]:
    """Return the blocks of an element's content."""
    sink = _Sink()
    _children(element, sink)
    sink.flush()
    return sink.blocks


def written(blocks: Sequence[Block]) -> tuple[str, tuple[Heading, ...]]:
    """Return the blocks as Markdown, and the headings among them."""
    parts: list[str] = []
    headings: list[Heading] = []
    length = 0
    for block in blocks:
        gap = "" if not parts else "\n" if block.close else "\n\n"
        if block.level:
            headings.append(Heading(length + len(gap), block.level, clean(block.name)))
        text = clean(block.text)  # of each: what is left out or composed moves what comes after
        parts += [gap, text]
        length += len(gap) + len(text)
    return "".join(parts), tuple(headings)


def line_of(element: HtmlElement) -> str:
    """Return an element's text on one line, without marks of blocks."""
    sink = _Sink()
    _children(element, sink)
    sink.flush()
    return " ".join(" ".join(_plain(block).split()) for block in sink.blocks)


def _plain(block: Block) -> str:
    return block.name if block.level else block.text


def _children(element: HtmlElement, sink: _Sink) -> None:
    sink.pieces.append(element.text or "")
    for child in element:
        if isinstance(child.tag, str):
            _visit(child, sink)
        sink.pieces.append(child.tail or "")


def _visit(element: HtmlElement, sink: _Sink) -> None:
    tag = tag_of(element)
    handler = _HANDLERS.get(tag)
    if element.get("role") == "heading" and not element.tag.startswith("h"):
        _heading(element, sink)
    elif _keeps_lines(element, tag):
        _preformatted(element, sink)
    elif handler is not None:
        handler(element, sink)
    elif tag in INLINE:
        shift = _SHIFTED.search(element.get("style", ""))
        {None: _children, "super": _raised, "sub": _lowered}[shift[1].lower() if shift else None](element, sink)
    else:
        _block(element, sink)


def _keeps_lines(element: HtmlElement, tag: str) -> bool:
    """Tell whether it is code in lines by its style alone."""
    if tag not in {"div", "code", "samp"} or not _AS_WRITTEN.search(element.get("style", "")):
        return False
    return "\n" in "".join(element.itertext()).strip() and not _within(element, "pre") and not _within(element, "table")


def _block(element: HtmlElement, sink: _Sink) -> None:
    sink.flush()
    _children(element, sink)
    sink.flush()


def _heading(element: HtmlElement, sink: _Sink) -> None:
    sink.flush()
    name = line_of(element)
    level = _level(element)
    if name:
        sink.blocks.append(Block(f"{'#' * level} {name}", level=level, name=name[:200].rstrip()))


def _level(element: HtmlElement) -> int:
    given = element.get("aria-level") or element.tag[1:]
    return min(max(int(given), 1), 6) if given.isascii() and given.isdigit() else 2


def _preformatted(element: HtmlElement, sink: _Sink) -> None:
    sink.flush()
    text = "".join(_lines(element)).strip("\n")
    if text.strip():
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        sink.blocks.append(Block(f"{fence}{_language(element)}\n{text.rstrip()}\n{fence}"))


def _lines(element: HtmlElement) -> list[str]:
    """Return the pieces of preformatted text; a block inside it is a line of its own, unless it ends with one."""
    pieces = [element.text or ""]
    for child in element:
        if isinstance(child.tag, str):
            inner = ["\n"] if child.tag == "br" else _lines(child)
            if child.tag in _QUOTED_LINES or _SHOWN_AS_BLOCK.search(child.get("style", "")):
                _end_line(pieces)
                pieces += inner
                _end_line(pieces)
            else:
                pieces += inner
        pieces.append(child.tail or "")
    return pieces


def _end_line(pieces: list[str]) -> None:
    last = next((piece for piece in reversed(pieces) if piece), "\n")
    if not last.endswith("\n"):
        pieces.append("\n")


def _language(element: HtmlElement) -> str:
    inner = [element, *(child for child in element if child.tag == "code")]
    for candidate in inner:
        found = _LANGUAGE.search(candidate.get("class", "")) or _LANGUAGE.fullmatch(candidate.get("data-lang", ""))
        if found:
            return found[1]
    return ""


def _list(element: HtmlElement, sink: _Sink) -> None:
    sink.flush()
    number = _start(element) if element.tag == "ol" else None
    first = True
    for child in element:
        if not isinstance(child.tag, str):
            continue
        if child.tag != "li":
            _visit(child, sink)  # not allowed there, and shown by browsers
            sink.flush()
            continue
        item = blocks_of(child)
        mark = "- " if number is None else f"{number}. "
        sink.blocks += [
            replace(block, close=block.close or (not first and at == 0)) for at, block in enumerate(_item(item, mark))
        ]
        first = first and not item
        number = None if number is None else number + 1
        sink.pieces.append(child.tail or "")
        sink.flush()


def _start(element: HtmlElement) -> int:
    given = element.get("start", "1")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 9 else 1  # noqa: PLR2004


def _item(blocks: Sequence[Block], mark: str) -> list[Block]:
    indent = " " * len(mark)
    out = []
    for at, block in enumerate(blocks):
        text = "\n".join(f"{indent}{line}" if line else line for line in block.text.split("\n"))
        is_list = _ITEM.match(block.text) is not None
        out.append(
            replace(
                block, text=mark + text[len(indent) :] if at == 0 else text, close=block.close or (at > 0 and is_list)
            )
        )
    return out


def _quote(element: HtmlElement, sink: _Sink) -> None:
    sink.flush()
    for at, block in enumerate(blocks_of(element)):
        text = "\n".join(f"> {line}".rstrip() for line in block.text.split("\n"))
        sink.blocks.append(replace(block, text=text if at == 0 or block.close else f">\n{text}", close=at > 0, level=0))


def _definition(element: HtmlElement, sink: _Sink) -> None:
    """Write a term, or what it means, as paragraphs of their own; terms that share a meaning stand below each other."""
    sink.flush()
    before = element.getprevious()
    goes_on = element.tag == "dt" and before is not None and before.tag == "dt"
    sink.blocks += [
        replace(block, close=block.close or (at == 0 and goes_on)) for at, block in enumerate(blocks_of(element))
    ]


def _table(element: HtmlElement, sink: _Sink) -> None:
    sink.flush()
    if is_layout(element):
        _children(element, sink)
        sink.flush()
        return
    table = table_of(element, line_of)
    if table.rows or table.columns:
        sink.blocks.append(Block(as_markdown(table)))


def _break(element: HtmlElement, sink: _Sink) -> None:
    sink.pieces.append(_BREAK)
    _children(element, sink)


def _image(element: HtmlElement, sink: _Sink) -> None:
    sink.pieces.append(element.get("alt") or element.get("aria-label") or "")


def _code(element: HtmlElement, sink: _Sink) -> None:
    inner = _Sink()
    _children(element, inner)
    if inner.blocks:  # blocks inside: no code span
        sink.flush()
        inner.flush()
        sink.blocks += inner.blocks
        return
    written = _BLANKS.sub(" ", "".join(inner.pieces))
    if _BREAK in written.strip(f"{_BREAK} ") and not _within(element, "table"):  # many lines are a block
        sink.flush()
        lines = _AROUND_BREAK.sub("\n", written).strip("\n")
        sink.blocks.append(Block(f"```\n{lines}\n```"))
        return
    text = written.replace(_BREAK, " ")
    marked = bool(text.strip()) and "`" not in text
    sink.pieces.append(f"`{text.strip()}`" if marked else text)


def _raised(element: HtmlElement, sink: _Sink) -> None:
    is_note = next(element.iter("a"), None) is not None or _within(element, "a")
    text = line_of(element)
    sink.pieces.append(text if is_note else raised(text, after=sink.last()))


def _lowered(element: HtmlElement, sink: _Sink) -> None:
    sink.pieces.append(lowered(line_of(element), after=sink.last()))


def _within(element: HtmlElement, tag: str) -> bool:
    return any(above.tag == tag for above in element.iterancestors())


def _math(element: HtmlElement, sink: _Sink) -> None:
    sink.pieces.append(as_text(element))


def _reading(element: HtmlElement, sink: _Sink) -> None:
    """Write how a word is read in brackets after it, which the page may have written itself, in ``<rp>``."""
    text = line_of(element)
    before = element.getprevious()
    own = before is not None and before.tag == "rp"
    sink.pieces.append(text if own or not text else f"({text})")


def _quotation(element: HtmlElement, sink: _Sink) -> None:
    sink.pieces.append("“")
    _children(element, sink)
    sink.pieces.append("”")


def _struck(element: HtmlElement, sink: _Sink) -> None:
    text = line_of(element)
    sink.pieces.append(f"~~{text}~~" if text else "")


def _input(element: HtmlElement, sink: _Sink) -> None:
    kind = element.get("type", "").lower()
    if kind in {"checkbox", "radio"}:
        sink.pieces.append("[x] " if element.get("checked") is not None else "[ ] ")
    elif kind in _TEXT_INPUTS:
        sink.pieces.append(f" {element.get('value') or ''} ")


def _select(element: HtmlElement, sink: _Sink) -> None:
    options = list(element.iter("option"))
    chosen = [option for option in options if option.get("selected") is not None]
    names = [" ".join(option.text_content().split()) for option in options]
    shown = [
        f"[{name}]" if option in chosen and len(options) > 1 else name
        for option, name in zip(options, names, strict=True)
    ]
    sink.pieces.append(" " + ", ".join(name for name in shown if name) + " ")


def _control(element: HtmlElement, sink: _Sink) -> None:
    """Keep words of neighbouring buttons, labels and options apart."""
    sink.pieces.append(" ")
    _children(element, sink)
    sink.pieces.append(" ")


def _nothing(element: HtmlElement, sink: _Sink) -> None:
    pass


_HANDLERS: Mapping[str, Callable[[HtmlElement, _Sink], None]] = {
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), _heading),
    **dict.fromkeys(("pre", "listing", "xmp", "plaintext"), _preformatted),
    **dict.fromkeys(("ul", "ol", "menu", "dir"), _list),
    **dict.fromkeys(_CODE, _code),
    **dict.fromkeys(("del", "s", "strike"), _struck),
    **dict.fromkeys(("button", "label", "textarea", "output", "legend"), _control),
    **dict.fromkeys(("dt", "dd"), _definition),
    **dict.fromkeys(("script", "style", "title"), _nothing),
    "blockquote": _quote, "table": _table, "br": _break, "img": _image, "sup": _raised, "sub": _lowered, "math": _math,
    "rt": _reading, "q": _quotation, "input": _input, "select": _select,
}  # fmt: skip
