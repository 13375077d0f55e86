"""The state of an RTF document while it is read: groups, destinations, encodings, tables, notes."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ingestion.readers.assembly import Piece, is_page_number
from ingestion.readers.rtf.tokens import Token, tokens
from ingestion.readers.scripts import subscript, superscript
from ingestion.readers.tables.table import as_markdown, tables_in

_SIGNS = {
    "par": "\n", "line": "\n", "tab": "\t", "emdash": "\u2014", "endash": "\u2013", "bullet": "•", "lquote": "\u2018",
    "rquote": "\u2019", "ldblquote": "“", "rdblquote": "”", "emspace": " ", "enspace": " ", "qmspace": " ", "~": "\xa0",
    "_": "-", "page": "\n", "column": "\n", "softline": "\n",
}  # fmt: skip
_SKIPPED_WORDS = """
colortbl listtable listoverridetable revtbl rsidtbl generator filetbl themedata colorschememapping
latentstyles datastore xmlnstbl fldinst pict object bkmkstart bkmkend atnid atnauthor atndate atnref atnicn
atrfstart atrfend private nonshppict mmathPr objdata shpinst blipuid pgptbl ftnsep ftnsepc aftnsep aftnsepc xe
tc rxe formfield datafield defchp defpap pntxta
pntxtb listname wgrffmtfilter
"""
_SKIPPED = frozenset(_SKIPPED_WORDS.split())
_FRAMES = frozenset({"header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf"})
_READ = frozenset({"shptxt", "shprslt", "pntext", "listtext", "fldrslt", "result", "upr", "ud", "shppict"})
_CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 134: "gb18030", 136: "big5", 161: "cp1253", 162: "cp1254",
    163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250",
}  # fmt: skip
_MOST_GROUPS = 10_000


@dataclass(frozen=True, slots=True)
class State:
    """What a group inherits from the one around it."""

    into: str = "body"
    skipped: bool = False
    encoding: str = "cp1252"
    fallback: int = 1
    hidden: bool = False
    script: str = ""
    deleted: bool = False


@dataclass
class RtfDocument:
    """A document as far as it is read."""

    hidden: bool = False
    pieces: list[Piece] = field(default_factory=list)
    title: str = ""
    frames: dict[str, None] = field(default_factory=dict)
    pictures: int = 0
    objects: int = 0
    left_hidden: bool = False
    unbalanced: bool = False
    _state: State = field(default_factory=State)
    _stack: list[State] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)
    _bytes: bytearray = field(default_factory=bytearray)
    _skip: int = 0
    _star: bool = False
    _opened: bool = False
    _default: str = "cp1252"
    _fonts: dict[int, str] = field(default_factory=dict)
    _font: int = 0
    _names: dict[int, str] = field(default_factory=dict)
    _style: int | None = None
    _outline: int | None = None
    _listed: str = ""
    _in_table: bool = False
    _cells: list[str] = field(default_factory=list)
    _rows: list[list[str]] = field(default_factory=list)
    _merges: list[str] = field(default_factory=list)
    _merge: str = ""
    _notes: list[str] = field(default_factory=list)
    _note_count: int = 0
    _side: dict[str, list[str]] = field(default_factory=dict)

    def read(self, data: bytes) -> None:
        """Read all of it."""
        for token in tokens(data):
            if token.kind != "bytes":
                self._flush()
            getattr(self, f"_on_{token.kind}")(token)
        self._flush()
        self.unbalanced = bool(self._stack)
        self._end_paragraph()
        self._end_table()

    def _on_open(self, _: Token) -> None:
        if len(self._stack) < _MOST_GROUPS:
            self._stack.append(self._state)
        self._opened, self._star = True, False

    def _on_close(self, _: Token) -> None:
        if not self._stack:
            return
        inner, self._state = self._state, self._stack.pop()
        if inner.into != self._state.into:
            self._leave(inner.into)
        self._opened = False

    def _leave(self, into: str) -> None:
        text = " ".join("".join(self._side.pop(into, [])).split())
        if into == "title":
            self.title = text
        elif into == "listtext":
            self._listed = text
        elif into.startswith("style ") and text:
            number = int(into[6:])
            self._names.setdefault(number, text.rstrip(";").lower())
        elif into.startswith("note ") and text:
            self._notes.append(f"[note {into[5:]}] {text}")
        elif into == "frame" and text and not is_page_number(text):
            self.frames.setdefault(text, None)
        elif into == "annotation" and text:
            self._notes.append(f"[comment: {text}]")

    def _on_word(self, token: Token) -> None:
        word, number = token.text.decode(), token.number
        opened, self._opened = self._opened, False
        if opened and self._begins(word, number):
            return
        if self._state.skipped and word not in {"f", "fcharset", "s"}:
            return
        handler = _HANDLERS.get(word)
        if handler is not None:
            handler(self, number)
        elif word in _SIGNS and word != "par":
            self.add(_SIGNS[word])
        self._star = False

    def _begins(self, word: str, number: int | None) -> bool:
        """Enter a destination; what a star marks and is not known is left out, as the specification has it."""
        star, self._star = self._star, False
        if word in {"pict", "object"} and not self._state.skipped:
            self.pictures += word == "pict"
            self.objects += word == "object"
        into = self._destination(word, number)
        if into is not None:
            skipped = into in {"fonttbl", "info"} or (self._state.skipped and into not in {"stylesheet", "title"})
            self._state = replace(self._state, into=into, skipped=skipped)
        elif word == "shptxt":
            self._state = replace(self._state, skipped=False)
        elif word in _SKIPPED or (star and word not in _READ):
            self._state = replace(self._state, skipped=True)
        else:
            return False
        return True

    def _destination(self, word: str, number: int | None) -> str | None:
        """Return where the text of a group goes that begins with a word; None if that stays as it is."""
        within = self._state.into
        if within == "stylesheet" and word in {"s", "cs", "ds", "ts"}:
            return f"style {number or 0}" if word == "s" else "other style"
        if word == "title" and within == "info":
            return "title"
        if word == "footnote" and not self._state.skipped:
            self._note_count += 1
            self.add(f"[note {self._note_count}]")
            return f"note {self._note_count}"
        if word in _FRAMES and not self._state.skipped:
            return "frame"
        return {
            "fonttbl": "fonttbl", "stylesheet": "stylesheet", "info": "info", "annotation": "annotation",
            "listtext": "listtext", "pntext": "listtext",
        }.get(word)  # fmt: skip

    def _on_sign(self, token: Token) -> None:
        sign = token.text.decode("latin-1")
        if sign == "*":
            self._star = True
            return
        if sign in "\r\n":
            self._end_paragraph()
        elif sign in "\\{}":
            self.add(sign)
        elif sign in _SIGNS:
            self.add(_SIGNS[sign])
        self._opened = False

    def _on_bytes(self, token: Token) -> None:
        self._opened = False
        text = token.text
        if self._skip:
            dropped = min(self._skip, len(text))
            self._skip -= dropped
            text = text[dropped:]
        if not self._state.skipped:
            self._bytes += text

    def _flush(self) -> None:
        if self._bytes:
            data, self._bytes = bytes(self._bytes), bytearray()
            self.add(data.decode(self._state.encoding, "replace"))

    def add(self, text: str) -> None:
        """Add text where the group's goes."""
        if self._state.skipped or self._state.deleted:
            return
        if self._state.hidden and not self.hidden:
            self.left_hidden = self.left_hidden or bool(text.strip())
            return
        target = self._text if self._state.into == "body" else self._side.setdefault(self._state.into, [])
        if self._state.script and text.strip():
            before = "".join(target[-3:])
            text = (superscript if self._state.script == "super" else subscript)(text, before)
        target.append(text)

    def unicode(self, number: int | None) -> None:
        """Add a character by its number; those who cannot read it are given others, which are skipped."""
        code = (number or 0) % 65_536
        target = self._text if self._state.into == "body" else self._side.setdefault(self._state.into, [])
        if 0xDC00 <= code <= 0xDFFF and target and 0xD800 <= ord(target[-1][-1:] or " ") <= 0xDBFF:  # noqa: PLR2004
            high = ord(target[-1][-1])
            target[-1] = target[-1][:-1] + chr(0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00))
        else:
            self.add(chr(code))
        self._skip = self._state.fallback

    def paragraph(self, _: int | None = None) -> None:
        """End a paragraph; within a cell it is a line."""
        if self._state.into != "body" or self._in_table:
            self.add("\n")
        else:
            self._end_paragraph()

    def _end_paragraph(self) -> None:
        text, self._text = "".join(self._text), []
        listed, self._listed = self._listed, ""
        if not self._in_table:
            self._end_table()
        if text.strip():
            level = self._level()
            if level:
                self.pieces.append(Piece(f"{listed} {text}".strip(), level))
            elif listed:
                self.pieces.append(Piece(f"{_bullet(listed)} {text.strip()}", in_list=True))
            else:
                self.pieces.append(Piece(text))
        self.pieces += [Piece(note) for note in self._notes]
        self._notes = []

    def _level(self) -> int:
        name = self._names.get(self._style or 0, "") if self._style is not None else ""
        if name.startswith("heading ") and name[8:9].isdigit():
            return int(name[8:9])
        if name == "title":
            return 1
        return self._outline + 1 if self._outline is not None and self._outline < 9 else 0  # noqa: PLR2004 (body text)

    def plain_paragraph(self, _: int | None = None) -> None:
        """Forget the formats of paragraphs."""
        self._style = self._outline = None
        self._in_table = False

    def cell(self, _: int | None = None) -> None:
        """End a cell."""
        text, self._text = "".join(self._text), []
        self._cells.append(f"{self._listed} {text}".strip())
        self._listed = ""

    def row(self, _: int | None = None) -> None:
        """End a row; a cell that is merged with the one above or before it has the same text."""
        above = self._rows[-1] if self._rows else []
        for at, merge in enumerate(self._merges[: len(self._cells)]):
            if merge == "up" and at < len(above):
                self._cells[at] = above[at]
            elif merge == "left" and at:
                self._cells[at] = self._cells[at - 1]
        if self._cells:
            self._rows.append(self._cells)
        self._cells = []

    def row_begins(self, _: int | None = None) -> None:
        """Forget how the cells of the row before were merged."""
        self._merges, self._merge = [], ""
        self.in_table()

    def merged(self, way: str) -> None:
        """Say that the next cell to be defined is merged with its neighbour: `up` or `left`."""
        self._merge = way

    def cell_defined(self, _: int | None = None) -> None:
        """End the definition of a cell."""
        self._merges.append(self._merge)
        self._merge = ""

    def _end_table(self) -> None:
        if self._cells:
            self.row()
        if self._rows:
            rows, self._rows = self._rows, []
            self.pieces.append(Piece("\n\n".join(as_markdown(table) for table in tables_in(rows))))

    def set(self, **changes: object) -> None:
        """Change the state of the group."""
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]

    def code_page(self, number: int | None) -> None:
        """Take the encoding of the document."""
        self._default = _known(f"cp{number}")
        self.set(encoding=self._default)

    def font(self, number: int | None) -> None:
        """Begin a font's entry, or take its encoding."""
        self._font = number or 0
        if self._state.into != "fonttbl":
            self.set(encoding=self._fonts.get(self._font, self._default))

    def charset(self, number: int | None) -> None:
        """Take a font's encoding; 1 is the document's."""
        if number in _CHARSETS:
            self._fonts[self._font] = _CHARSETS[number]

    def in_table(self, _: int | None = None) -> None:
        """Say that the paragraph is in a table."""
        if not self._in_table and self._text and "".join(self._text).strip():
            self._end_paragraph()
        self._in_table = True

    def style(self, number: int | None) -> None:
        """Take a paragraph's style."""
        self._style = number

    def outline(self, number: int | None) -> None:
        """Take a paragraph's level in the outline, from 0."""
        if self._state.into == "body":
            self._outline = number


def _bullet(label: str) -> str:
    return "-" if len(label) == 1 and not label.isalnum() else label


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        return "cp1252"


def _plain(document: RtfDocument, _: int | None) -> None:
    document.set(hidden=False, script="", deleted=False)


_HANDLERS: dict[str, Callable[[RtfDocument, int | None], None]] = {
    "u": RtfDocument.unicode,
    "uc": lambda document, number: document.set(fallback=min(max(number or 0, 0), 10)),
    "par": RtfDocument.paragraph,
    "sect": RtfDocument.paragraph,
    "pard": RtfDocument.plain_paragraph,
    "cell": RtfDocument.cell,
    "nestcell": lambda document, _: document.add("; "),
    "row": RtfDocument.row,
    "intbl": RtfDocument.in_table,
    "trowd": RtfDocument.row_begins,
    "clvmrg": lambda document, _: document.merged("up"),
    "clmrg": lambda document, _: document.merged("left"),
    "cellx": RtfDocument.cell_defined,
    "s": RtfDocument.style,
    "outlinelevel": RtfDocument.outline,
    "ansicpg": RtfDocument.code_page,
    "mac": lambda document, _: document.set(encoding="mac_roman"),
    "pc": lambda document, _: document.set(encoding="cp437"),
    "f": RtfDocument.font,
    "fcharset": RtfDocument.charset,
    "v": lambda document, number: document.set(hidden=number != 0),
    "deleted": lambda document, number: document.set(deleted=number != 0),
    "super": lambda document, number: document.set(script="" if number == 0 else "super"),
    "sub": lambda document, number: document.set(script="" if number == 0 else "sub"),
    "nosupersub": lambda document, _: document.set(script=""),
    "plain": _plain,
}
