"""LaTeX as text: sections as headings, comments and layout commands left out, formulas and code as written."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePath

from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.encodings.decoding import decode
from ingestion.readers.sections import counted
from ingestion.readers.tables.table import as_markdown, tables_in
from ingestion.types import Extracted, Heading, ReadOptions, ReadWarning

_LEVELS = {
    "part": 1,
    "chapter": 1,
    "section": 2,
    "subsection": 3,
    "subsubsection": 4,
    "paragraph": 5,
    "subparagraph": 6,
}
_HEADING = re.compile(rf"\\({'|'.join(_LEVELS)})\*?\s*(?:\[[^\]]{{0,300}}\])?\s*(?=\{{)")
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*(?:\n[ \t]*)?")
# verbatim text and formulas, which stay as they are written
# each alternative ends where it would begin anew, so that no input is searched twice
_AS_WRITTEN = re.compile(
    r"\$\$(?P<display>[^$]+)\$\$|\\\[(?P<bracket>(?:[^\\]|\\(?![\[\]]))+)\\\]|\\\((?P<paren>(?:[^\\]|\\(?![()]))+)\\\)|"
    r"(?<!\\)\$(?P<inline>[^$]{1,2000}?)(?<!\\)\$"
)
_HELD_WHOLE = re.compile(
    r"\\begin\{(verbatim\*?|Verbatim|lstlisting|minted|comment|tikzpicture|equation\*?|align\*?|gather\*?|multline\*?|"
    r"eqnarray\*?|displaymath|math)\}|\\verb\*?([^\w\s*])|\\(url|href)\s*\{"
)
_FORMULAS = ("equation", "align", "gather", "multline", "eqnarray", "displaymath", "math")
_BRACES = re.compile(r"(\\footnote(?:\[\d*\])?\s*\{|(?<!\\)[{}])")
_DROPPED = re.compile(  # with what they take, which is no text
    r"\\(?:label|usepackage|documentclass|bibliographystyle|pagestyle|thispagestyle|vspace\*?|hspace\*?|setlength|addtolength|"
    r"setcounter|addtocounter|newcommand\*?|renewcommand\*?|providecommand|def|hypersetup|geometry|graphicspath|pagenumbering|"
    r"newtheorem|RequirePackage|PassOptionsToPackage|input@path|index|nocite|fontsize|selectlanguage|color|definecolor)"
    r"\s*(?:\\\w+)?\s*(?:\[[^\]]{0,500}\])*\s*(?:\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}\s*){0,3}"
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{([^{}]{1,40})\}((?:\[[^\]\n]{0,200}\])?)(\{[^{}\n]{0,100}\})?")
_INCLUDED = re.compile(r"\\(?:input|include|subfile|lstinputlisting(?:\[[^\]]*\])?|verbatiminput)\s*\{([^{}]{1,200})\}")
_PICTURE = re.compile(r"\\includegraphics\*?\s*(?:\[[^\]]{0,300}\])?\s*\{[^{}]{0,300}\}")
_CITE = re.compile(
    r"\\(?:[cC]ite\w*|[A-Za-z]*[rR]ef|[fF]ootcite\w*|textcite|parencite)\*?\s*((?:\[[^\]]{0,200}\])*)\s*\{([^{}]{0,500})\}"
)
_ACCENT = re.compile(r"\\([`'^\"~=.uvHcdbrk])\s*(?:\{\s*(\\?[A-Za-z])\s*\}|(\\[ij](?![A-Za-z])|[A-Za-z]))")
_MARKS = dict(zip("`'^\"~=.uvHcdbrk", map(chr, (
    0x300, 0x301, 0x302, 0x308, 0x303, 0x304, 0x307, 0x306, 0x30C, 0x30B, 0x327, 0x323, 0x331, 0x30A, 0x328,
)), strict=True))  # fmt: skip
_LETTERS = {
    "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "o": "ø", "O": "Ø", "aa": "å", "AA": "Å", "l": "ł", "L": "Ł",
    "i": "ı", "j": "ȷ", "dots": "…", "ldots": "…", "textellipsis": "…", "S": "§", "P": "¶", "copyright": "©",
    "pounds": "£", "euro": "€", "EUR": "€", "texteuro": "€", "textbackslash": "\x02", "LaTeX": "LaTeX", "TeX": "TeX",
    "textdegree": "°", "textendash": "–", "textemdash": "—", "textasciitilde": "~", "textasciicircum": "^",
    "textbar": "|", "textless": "<", "textgreater": ">", "quad": " ", "qquad": " ", "newline": "\n", "linebreak": "\n",
    "par": "\n\n", "times": "×", "pm": "±",
}  # fmt: skip
_LETTER = re.compile(rf"\\({'|'.join(sorted(_LETTERS, key=len, reverse=True))})(?![A-Za-z])(?:\{{\}}|[ \t]+)?")
_COMMAND = re.compile(r"\\[A-Za-z@]+\*?(?:\[[^\]\n]{0,200}\])?[ \t]*")
_TABLE = re.compile(
    r"\\begin\s*\{(tabular[xy*]?|longtable|longtabu|tabu|array|supertabular|xltabular)\}\s*"
    r"(?P<body>(?:(?!\\begin\s*\{|\\end\s*\{).)*)\\end\s*\{\1\}",
    re.DOTALL,
)
_COLUMNS = re.compile(r"(?:\s*\[[^\]]{0,50}\])?(?:\s*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}){1,2}")
_ROW_END = re.compile(r"\\\\\*?(?:\[[^\]\n]{0,30}\])?|\\tabularnewline\b")
_RULE = re.compile(
    r"\\(?:[hv]line|(?:top|mid|bottom)rule|c(?:line|midrule)(?:\([lr]+\))?\s*\{[^{}]*\}|end(?:first)?(?:head|foot)|endlast(?:head|foot)|"
    r"addlinespace|specialrule(?:\{[^{}]*\}){3})(?![A-Za-z])(?:\[[^\]]*\])?"
)
_SPAN = re.compile(r"\s*\\multicolumn\s*\{\s*(\d{1,2})\s*\}\s*\{[^{}]*\}\s*(?=\{)")
_MOST_CELLS = 200_000
_HELD = re.compile("\ue000(\\d+)\ue001")


def read_latex(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read LaTeX; the text of commands that are not known stays, without their names."""
    decoded = decode(data, language=options.language)
    source = re.sub("[\ue000\ue001]", "", clean(decoded.text))
    title = one_line(_plain(_argument(source, source.find("\\title"))))
    held: list[str] = []
    body = _AS_WRITTEN.sub(lambda found: _hold_formula(found, held), _body(_code_held(source, held)))
    warnings = [*decoded.warnings, *_said(body)]
    text, headings = _with_headings(_TABLE.sub(lambda found: _table(found["body"], held), body), held)
    found = title or (headings[0].text if headings else name_as_title(name))
    return Extracted(text, title=found, headings=tuple(headings), warnings=tuple(warnings))


def _code_held(source: str, held: list[str]) -> str:
    """Put placeholders where code stands, and cut comments elsewhere."""
    parts: list[str] = []
    end = 0
    unclosed: set[str] = set()
    for found in _HELD_WHOLE.finditer(source):
        closing = f"\\end{{{found[1]}}}" if found[1] else found[2] or "}"
        if found.start() < end or closing in unclosed:
            continue
        close = source.find(closing, found.end(), len(source) if found[1] else _line_end(source, found.end()))
        if close < 0:
            unclosed |= {closing} if found[1] else set()
            continue
        parts += [
            _COMMENT.sub(r"\1", source[end : found.start()]),
            _held_code(found[1] or found[3], source[found.end() : close], held),
        ]
        end = close + len(closing)
    return "".join([*parts, _COMMENT.sub(r"\1", source[end:])])


def _line_end(source: str, at: int) -> int:
    end = source.find("\n", at)
    return len(source) if end < 0 else end


def _held_code(name: str | None, code: str, held: list[str]) -> str:
    if name in {"comment", "tikzpicture", "href"}:  # of a link the text stays, which comes next
        return ""
    if name == "url":  # where a percent sign begins no comment
        return _placeholder(code, held)
    if name is None:
        return _placeholder(f"`{code}`", held)
    if name.rstrip("*") in _FORMULAS:
        formula = _unlabelled(re.sub(r"(?<!\\)%[^\n]*", "", code))
        return _placeholder(f"\n\n$$\n{formula}\n$$\n\n", held)
    body = re.sub(r"\A(?:\[[^\]]*\])?(?:\{\w*\})?[ \t]*\n", "", code)
    return _placeholder(f"\n\n```\n{body.strip(chr(10))}\n```\n\n", held)


def _placeholder(written: str, held: list[str]) -> str:
    held.append(written)
    return f"\ue000{len(held) - 1}\ue001"


def _body(source: str) -> str:
    """Return what stands between the begin and the end of the document; with the title and author before it."""
    found = re.search(r"\\begin\s*\{document\}", source)
    if found is None:
        return source
    head = [_argument(source[: found.start()], source.find(mark)) for mark in ("\\title", "\\author", "\\date")]
    end = source.find("\\end{document}", found.end())
    return "\n\n".join([*(part for part in head if part), source[found.end() : end if end > 0 else len(source)]])


def _argument(text: str, at: int) -> str:
    """Return what stands in the braces after a command; empty if there are none."""
    start = text.find("{", at) if at >= 0 else -1
    if start < 0 or start - at > 300:  # noqa: PLR2004
        return ""
    return text[start + 1 : _closing(text, start)]


def _closing(text: str, start: int) -> int:
    depth = 0
    for at in range(start, min(len(text), start + 5000)):
        if text[at] in "{}" and text[at - 1 : at] != "\\":
            depth += 1 if text[at] == "{" else -1
            if depth == 0:
                return at
    return min(len(text), start + 200)


def _hold_formula(found: re.Match[str], held: list[str]) -> str:
    """Put a placeholder where a formula stands, which stays as it is written."""
    inline = found["paren"] or found["inline"]
    if inline:
        return _placeholder(f"${inline}$", held)
    return _placeholder(f"\n\n$$\n{_unlabelled(found['display'] or found['bracket'])}\n$$\n\n", held)


def _unlabelled(formula: str) -> str:
    return re.sub(r"\\label\{[^{}]*\}", "", formula).strip()


def _said(body: str) -> list[ReadWarning]:
    warnings = []
    files = [one_line(found[1], limit=80) for found in _INCLUDED.finditer(body)]
    if files:
        names = ", ".join(files[:10]) + (" and more" if len(files) > 10 else "")  # noqa: PLR2004
        warnings.append(
            ReadWarning(
                "part-unreadable",
                f"{counted(len(files), 'included file is', 'included files are')} not read with it: {names}.",
            )
        )
    pictures = len(_PICTURE.findall(body))
    if pictures:
        warnings.append(
            ReadWarning("picture-not-read", f"{counted(pictures, 'picture was', 'pictures were')} not read.")
        )
    return warnings


def _table(body: str, held: list[str]) -> str:
    """Put a placeholder where a table stands, which becomes Markdown, its header found as in any other."""
    columns = _COLUMNS.match(body)
    rows = [_row(row, held) for row in _ROW_END.split(body[columns.end() if columns else 0 :])]
    rows = [row for row in rows if any(row)]
    if sum(map(len, rows)) > _MOST_CELLS or max(map(len, rows), default=0) < 2:  # noqa: PLR2004 (a column is a layout)
        return "\n\n".join(cell for row in rows for cell in row)
    return _placeholder("\n\n" + "\n\n".join(as_markdown(table) for table in tables_in(rows)) + "\n\n", held)


def _row(row: str, held: list[str]) -> list[str]:
    """Return the cells of a row, one over several columns in each of them."""
    cells: list[str] = []
    for cell in re.split(r"(?<!\\)&", _RULE.sub("", row)):
        span = _SPAN.match(cell)
        text = _restored(_plain(cell[span.end() :] if span else cell), held)
        cells += [text] * (int(span[1]) if span else 1)
    return cells


def _with_headings(body: str, held: list[str]) -> tuple[str, list[Heading]]:
    parts: list[str] = []
    headings: list[Heading] = []
    length, end = 0, 0

    def write(text: str) -> None:
        nonlocal length
        if text:
            parts.append(f"{text}\n\n")
            length += len(parts[-1])

    for found in _HEADING.finditer(body):
        if found.start() < end:
            continue
        write(_restored(_plain(body[end : found.start()]), held))
        close = _closing(body, found.end())
        name = one_line(_restored(_plain(body[found.end() + 1 : close]), held), limit=200)
        level = _LEVELS[found[1]]
        if name:
            headings.append(Heading(length, level, name))
            write(f"{'#' * level} {name}")
        end = close + 1
    write(_restored(_plain(body[end:]), held))
    return "".join(parts), headings


def _restored(text: str, held: list[str]) -> str:
    whole = _HELD.sub(lambda mark: held[int(mark[1])] if int(mark[1]) < len(held) else "", text)
    return clean(re.sub(r"\n{3,}", "\n\n", whole)).strip("\n ")


def _plain(text: str) -> str:
    """Return text without commands: accents composed, cells and rows of tables kept apart, items marked."""
    text = _ACCENT.sub(_accented, text)
    text = _CITE.sub(lambda found: f"[{found[2].strip()}]", text)
    text = _PICTURE.sub("", _INCLUDED.sub("", text))
    text = re.sub(r"\\href\s*\{([^{}]{0,500})\}\s*\{([^{}]{0,500})\}", r"\2", text)
    text = _footnotes(text)
    text = _DROPPED.sub("", text)
    text = _ENVIRONMENT.sub("\n\n", text)
    text = re.sub(r"\\item\s*\[([^\]]{0,200})\]", r"\n- \1:", text)
    text = re.sub(r"\\item(?![A-Za-z])\s*", "\n- ", text)
    text = re.sub(r"\\\\\*?(?:\[[^\]\n]{0,30}\])?", "\n", text)
    text = re.sub(r"(?<!\\)&", " | ", text)
    text = _LETTER.sub(lambda found: _LETTERS[found[1]], text)
    text = re.sub(r"(?<!\\)~|\\[,;: ]", " ", text)
    text = _COMMAND.sub("", text)
    text = re.sub(r"\\-|\\[!/@]", "", text)
    text = re.sub(r"(?<!\\)[{}]", "", text)
    text = re.sub(r"\\([&%$#_{}])", r"\1", text).replace("\x02", "\\")
    for written, sign in (("---", "—"), ("--", "–"), ("``", "“"), ("''", "”")):
        text = text.replace(written, sign)
    text = re.sub(r"[ \t]*\n[ \t]*", "\n", text)
    return re.sub(r"(?<!\n)\n(?![\n-])(?!\|)", " ", text) if " | " not in text else text


def _footnotes(text: str) -> str:
    """Put a footnote's text in brackets where its mark stands."""
    out: list[str] = []
    is_note: list[bool] = []
    for part in _BRACES.split(text):
        if part in {"{", "}"} or part.startswith("\\footnote"):
            closes = part == "}" and bool(is_note) and is_note.pop()
            if part != "}":
                is_note.append(part != "{")
            out.append(")" if closes else " (" if part not in {"{", "}"} else part)
        else:
            out.append(part)
    return "".join(out)


def _accented(found: re.Match[str]) -> str:
    if found[1].isalpha() and found[2] is None:
        return found[0]  # ``\cite``: a command, no cedilla
    letter = (found[2] or found[3]).lstrip("\\")
    return unicodedata.normalize("NFC", letter + _MARKS[found[1]])
