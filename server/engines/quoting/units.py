"""The units of passages that an answer may quote: sentences, list items, whole lists, table rows, terms, code.

A unit is quoted whole. With it comes what says what it is about: the term that it explains, the sentence that leads a
list in, the header of a table, the section's heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from ingestion.chunking.sentences import sentences
from server.engines.quoting.blocks import Block, blocks
from server.engines.quoting.headings import Headings

Kind = Literal["sentence", "item", "list", "column", "row", "code"]

SHORTEST, LONGEST = 3, 1500  # characters of a unit
MAX_ITEM = 90  # characters of an item as the list shows it; a longer one is cut
LIST_ITEMS = range(2, 21)
MAX_TERM = 90
PARAGRAPH = 900  # characters of the paragraph that a sentence is compared with
PRONOUN = re.compile(
    r"^(it|its|this|these|those|they|that|such|he|she|in this case|the (former|latter)|otherwise|however|thus|therefore"
    r"|if not|also|then|here|dies|diese[rs]?|er|sie|es|dabei|dann|daher|il|elle|ils|elles|cela|ceci|este|esta|esto)\b",
    re.IGNORECASE,
)
"""How a sentence begins whose subject stands in the one before."""
_OPTION = re.compile(r"^(-{1,2}[\w?]|[a-z][\w-]*(\.[\w<>*-]+)+\W*$|[A-Z][A-Z_]{2,}\b|[a-z]+_\w+$)")
_NAVIGATION = re.compile(r"^(top|Available Languages:.*|Next|Prev|Up|Home)$")


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that is quoted from.

    Attributes:
        number: its number among the citations, from 1.
        name: what its document is called: title and file name.
        document: its document's id; `start`, `end`: characters in it, if known.

    """

    number: int
    text: str
    name: str = ""
    heading: str = ""
    document: str = ""
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that can be quoted whole.

    Attributes:
        number: of its passage.
        name: of its document, and the headings above its own.
        term: what it explains, ``--cached``; "" if nothing.
        lead: the sentence that leads its list in, ``Valid formats are:``.
        before: the sentence before it.
        paragraph: all of the paragraph or definition that it stands in.
        opens: whether it is the first below its heading.

    """

    kind: Kind
    text: str
    number: int
    name: str = ""
    heading: str = ""
    term: str = ""
    lead: str = ""
    before: str = ""
    paragraph: str = ""
    opens: bool = False

    @property
    def shown(self) -> str:
        """The unit under its term; code after the sentence before it."""
        if self.kind == "code" and self.before:
            return f"{self.before}\n{self.text}"
        return f"{self.term}: {self.text}" if self.term and self.term not in self.text else self.text


def units(sources: Sequence[Source]) -> list[Unit]:
    """Return the units of passages, each once; those of passages that touch are made of both together."""
    found: dict[tuple[str, str], Unit] = {}
    for text, source, numbers in _joined(sources):
        for line, unit in _Reader(source).read(text):
            number = next(number for start, number in reversed(numbers) if start <= line)
            if SHORTEST <= len(unit.text) <= LONGEST:
                found.setdefault((source.document, unit.shown), replace(unit, number=number))
    return list(found.values())


def _joined(sources: Sequence[Source]) -> Iterator[tuple[str, Source, list[tuple[int, int]]]]:
    """Yield texts, passages of a document that touch as one, with the line at which each passage begins."""
    rest = sorted(sources, key=lambda each: (each.document, each.start if each.start is not None else -1, each.number))
    text, first, end, numbers = "", None, -1, list[tuple[int, int]]()
    for each in rest:
        follows = (
            first is not None and first.document == each.document and each.start is not None and each.end is not None
        )
        if follows and end >= 0 and each.start <= end + 2 and len(each.text) == each.end - each.start:  # type: ignore[operator]
            new = each.text[max(0, end - each.start) :]  # type: ignore[operator]
            if each.end > end:  # type: ignore[operator]
                gap = "\n" * max(0, each.start - end)  # type: ignore[operator]
                numbers.append(((text + gap).count("\n"), each.number))
                text, end = text + gap + new, each.end  # type: ignore[assignment]
            continue
        if first is not None:
            yield text, first, numbers
        whole = each.start is not None and each.end is not None and len(each.text) == each.end - each.start
        text, first, end, numbers = each.text, each, (each.end or -1) if whole else -1, [(0, each.number)]
    if first is not None:
        yield text, first, numbers


class _Reader:
    """Makes units of one text's blocks."""

    def __init__(self, source: Source) -> None:
        self._document = source.name
        self._headings = Headings(source.heading)
        self._term = ""
        self._term_depth = 0
        self._lead = ""
        self._last = ""  # the last sentence
        self._opens = False  # the next unit is the first below a heading
        self._paragraph = ""
        self._items: list[str] = []
        self._items_lead = ""
        self._items_depth = 0

    def read(self, text: str) -> Iterator[tuple[int, Unit]]:
        """Yield units, each with the line where it stands."""
        found = [block for block in blocks(text) if not _NAVIGATION.match(block.text)]
        line = 0
        for place, block in enumerate(found):
            line = block.line
            following = found[place + 1] if place + 1 < len(found) else None
            if self._items and block.kind != "item" and block.depth < self._items_depth:
                yield from self._list(line)
            if block.kind == "code" and place and found[place - 1].depth > block.depth:
                self._last = ""  # an item of a list that has ended leads nothing in
            for unit in self._block(block, following):
                yield line, unit
        yield from self._list(line)

    def _block(self, block: Block, following: Block | None) -> Iterator[Unit]:
        if block.kind == "heading":
            self._headings.enter(block.text, block.level)
            self._term, self._lead, self._last = "", "", ""
            self._opens = True
        elif block.kind == "code":
            yield self._unit("code", block.text)
        elif block.kind == "table":
            yield from self._table(block)
        elif _is_term(block, following):
            self._enter_term(block)
        else:
            yield from self._prose(block)

    def _enter_term(self, block: Block) -> None:
        """Go on below a term; what follows explains it, and is shown with it."""
        if block.kind == "item":
            self._add_item(block)
        self._term, self._term_depth, self._last, self._paragraph = block.text, block.depth, "", ""

    def _prose(self, block: Block) -> Iterator[Unit]:
        if block.depth < self._term_depth:
            self._term, self._term_depth = "", 0
        if block.kind == "item":
            if block.depth <= self._term_depth:
                self._term = ""
            self._add_item(block)
        goes_on = bool(self._term) and block.kind == "paragraph"
        self._paragraph = f"{self._paragraph} {block.text}"[-PARAGRAPH:] if goes_on else block.text
        lead = self._items_lead if block.kind == "item" else self._lead
        for start, end in sentences(block.text, 0, len(block.text)):
            text = block.text[start:end]
            yield self._unit("item" if block.kind == "item" else "sentence", text, lead=lead)
            self._last = text
        if block.kind == "paragraph":
            self._lead = self._last if self._last.endswith(":") else "" if not block.depth else self._lead

    def _add_item(self, block: Block) -> None:
        if not self._items:
            self._items_lead = self._last if self._last.endswith(":") else self._lead
            self._items_depth = block.depth
        if block.depth == self._items_depth:
            self._items.append(block.text)

    def _list(self, line: int) -> Iterator[tuple[int, Unit]]:
        """Yield the list that has ended."""
        if len(self._items) in LIST_ITEMS:
            lead = f"{self._items_lead} " if self._items_lead else ""
            text = lead + "; ".join(_shortened(item) for item in self._items)
            yield line, replace(self._unit("list", text), term="", lead=self._items_lead)
        self._items, self._items_lead = [], ""

    def _table(self, block: Block) -> Iterator[Unit]:
        header, *rows = block.rows
        caption = self._last
        if is_keyed := all(row[0].endswith(":") for row in block.rows if row and row[0]):
            rows = [header, *rows] if any(header) else rows
            header = rows[0] if rows else header
        for row in rows:
            if is_keyed:
                text = " ".join(cell for cell in row if cell)
            else:
                text = "; ".join(
                    f"{name}: {cell}" if name else cell for name, cell in zip_longest(header, row, fillvalue="") if cell
                )
            unit = self._unit("row", text, lead=" ".join(header) if is_keyed else caption)
            yield replace(unit, term=self._headings.own if is_keyed else "", paragraph=block.text if is_keyed else text)
        if not is_keyed and len(rows) in LIST_ITEMS:
            named = caption if caption.endswith(":") else f"{header[0]}:" if header and header[0] else ""
            firsts = ", ".join(row[0] for row in rows if row and row[0])
            yield replace(self._unit("column", f"{named} {firsts}".strip(), lead=caption), term="")

    def _unit(self, kind: Kind, text: str, *, lead: str | None = None) -> Unit:
        opens, self._opens = self._opens, False
        return Unit(
            kind,
            text,
            0,
            name=f"{self._document} {self._headings.above}",
            heading=self._headings.own,
            term=self._term,
            lead=self._lead if lead is None else lead,
            before=self._last,
            paragraph=self._paragraph or text,
            opens=opens,
        )


def _is_term(block: Block, following: Block | None) -> bool:
    """Tell whether a block is a term that the following one explains: an option, a name, a few words without an end."""
    text = block.text
    if following is None or len(text) > MAX_TERM or following.kind not in {"paragraph", "code", "item"}:
        return False
    if block.kind == "item" and not (following.kind == "paragraph" and following.depth == block.depth):
        return False  # the item is all there is of it
    if following.depth < block.depth or text.endswith((".", ",", "?", ";", "!")):
        return False
    if block.code or _OPTION.match(text):
        return not text.endswith(":")
    if text.endswith(":"):
        return bool(re.fullmatch(r"[\w-]{1,24}( [\w-]+)?:", text)) and following.kind == "paragraph"
    return len(text) > 1 and len(text) <= 60 and len(text.split()) <= 6 and not text.isdigit()  # noqa: PLR2004 (see above)


def _shortened(item: str) -> str:
    return item if len(item) <= MAX_ITEM else item[:MAX_ITEM].rpartition(" ")[0] + " …"
