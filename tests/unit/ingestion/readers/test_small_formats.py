# ruff: noqa: E501 (samples, as they are written)
"""EPUB, notebooks, LaTeX, XML, subtitles, reStructuredText and Outlook messages, each made here."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compound import Tree, compound

from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.types import Extracted, ReadOptions

CONTAINER = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="O/c.opf"/></rootfiles></container>'


def made(name: str, data: bytes | str, **options: bool) -> Extracted:
    return read(Path(name), data=data.encode() if isinstance(data, str) else data, options=ReadOptions(**options))


def epub(pages: dict[str, str], *, spine: list[str] | None = None, package: bool = True) -> bytes:
    items = "".join(f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>' for name in pages)
    order = "".join(f'<itemref idref="{name}"/>' for name in spine or pages)
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>The Quay</dc:title><dc:creator>Ada</dc:creator></metadata><manifest>{items}</manifest>"
        f"<spine>{order}</spine></package>"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr("META-INF/container.xml", CONTAINER)
        if package:
            book.writestr("O/c.opf", opf)
        for name, body in pages.items():
            book.writestr(f"O/{name}.xhtml", f"<html><head><title>{name}</title></head><body>{body}</body></html>")
    return buffer.getvalue()


def test_a_book_is_its_chapters_in_the_order_of_its_spine() -> None:
    book = made(
        "a.epub",
        epub({"two": "<h1>Second</h1><p>Ebb.</p>", "one": "<h1>First</h1><p>Flood.</p>"}, spine=["one", "two"]),
    )
    assert (book.title, book.metadata) == ("The Quay", {"author": "Ada"})
    assert book.text == "# First\n\nFlood.\n\n# Second\n\nEbb."
    assert [(h.text, book.text[h.offset :].split("\n")[0]) for h in book.headings] == [
        ("First", "# First"),
        ("Second", "# Second"),
    ]


def test_a_book_without_its_table_of_parts_is_read_and_that_said() -> None:
    book = made("noname", epub({"b": "<p>Ebb.</p>", "a": "<p>Flood.</p>"}, package=False))
    assert book.text == "# a\n\nFlood.\n\n# b\n\nEbb."
    assert [warning.kind for warning in book.warnings] == ["part-unreadable"]


def test_a_missing_chapter_is_said() -> None:
    data = epub({"one": "<p>Flood.</p>"}).replace(b"O/one.xhtml", b"O/xxx.xhtml")
    with pytest.raises(Unreadable):
        made("a.epub", data)
    book = made("a.epub", epub({"one": "<p>Flood.</p>"}, spine=["one", "none"]))
    assert book.text == "# one\n\nFlood."


def test_a_book_that_unpacks_to_a_bomb_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("META-INF/container.xml", CONTAINER)
        book.writestr("O/a.xhtml", b"x" * (50 << 20))
    with pytest.raises(Unreadable, match="zip bomb"):
        made("a.epub", buffer.getvalue())


def notebook(*cells: dict[str, object]) -> str:
    return json.dumps({"cells": cells, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4})


def test_a_notebook_is_its_cells_with_what_they_printed() -> None:
    book = made(
        "a.ipynb",
        notebook(
            {"cell_type": "markdown", "source": ["# Tides\n", "Some *prose*."]},
            {
                "cell_type": "code",
                "source": "print(1)",
                "outputs": [
                    {"output_type": "stream", "text": ["1\n"]},
                    {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}},
                    {"output_type": "error", "ename": "KeyError", "evalue": "'x'", "traceback": []},
                    {"output_type": "stream", "text": "y" * 9000},
                ],
            },
        ),
    )
    assert book.title == "Tides"
    assert book.text.startswith("# Tides\nSome *prose*.\n\n```python\nprint(1)\n```\n\n```\n1\n```")
    assert "KeyError: 'x'" in book.text
    assert [warning.kind for warning in book.warnings] == ["picture-not-read", "truncated"]


def test_what_is_named_a_notebook_and_is_none_is_read_as_json() -> None:
    assert made("a.ipynb", '{"a": 1}').text == "a: 1"


LATEX = r"""\documentclass{article}\title{On \emph{Quays}} % hidden
\begin{document}
\section{Stone}\label{s} Gr\"u{\ss}e, 100\% of $x_1 \% 2$ --- see \cite{knuth}.
\subsection*{Wood} \begin{itemize}\item larch\item oak\end{itemize} Text\footnote{A note.} ends.
\begin{verbatim}
% kept {as} is
\end{verbatim}
\[ E = mc^2 \] \input{more} \unknown{kept words}
\end{document} after"""


def test_latex_is_its_text_with_headings_formulas_and_code() -> None:
    paper = made("a.tex", LATEX)
    assert paper.title == "On Quays"
    assert [(h.level, h.text) for h in paper.headings] == [(2, "Stone"), (3, "Wood")]
    for part in (
        "Grüße, 100% of $x_1 \\% 2$ — see [knuth].", "- larch\n- oak", "Text (A note.) ends.", "```\n% kept {as} is\n```",
        "$$\nE = mc^2\n$$", "kept words",
    ):  # fmt: skip
        assert part in paper.text
    assert "hidden" not in paper.text
    assert [warning.kind for warning in paper.warnings] == ["part-unreadable"]


def test_xml_is_values_under_their_paths_and_paragraphs_under_headings() -> None:
    catalog = made("a.xml", '<c><book id="b1"><author>Ada</author><price cur="USD">4</price></book></c>')
    assert catalog.text.strip() == "c.book@id: b1\nc.book.author: Ada\nc.book.price@cur: USD\nc.book.price: 4"
    manual = made(
        "a.xml", '<book><title>Pumps</title><ch id="c"><title>Care</title><p>Oil <i>it</i> daily.</p></ch></book>'
    )
    assert [(h.level, h.text) for h in manual.headings] == [(1, "Pumps"), (2, "Care")]
    assert "book.ch@id: c" in manual.text
    assert "Oil it daily." in manual.text


def test_entities_of_xml_read_no_files_and_make_no_bombs(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    assert "hunter2" not in made("a.xml", f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><x>hi &e;</x>').text
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "lol"}">' for n in range(12))
    bomb = made("a.xml", f"<!DOCTYPE x [{levels}]><x><t>&a11;</t><u>kept</u></x>")
    assert len(bomb.text) < 10_000
    assert "kept" in bomb.text


def test_broken_xml_keeps_its_text_and_says_so() -> None:
    found = made("a.xml", "<a><b>one<c>two</a>")
    assert ("one" in found.text, "two" in found.text) == (True, True)
    assert [warning.kind for warning in found.warnings] == ["part-unreadable"]


def test_subtitles_are_paragraphs_under_their_times() -> None:
    talk = made(
        "a.srt",
        "1\n00:00:01,000 --> 00:00:03,000\nHello <i>there</i>,\nfriend.\n\n2\n00:00:03,500 --> 00:00:05,000\nThe crane\n\n"
        "3\n00:01:20,000 --> 00:01:22,000\nLater.\n",
    )
    assert talk.text == "[00:00:01]\nHello there, friend. The crane\n\n[00:01:20]\nLater.\n\n"
    assert [h.text for h in talk.headings] == ["00:00:01", "00:01:20"]
    web = made("a.vtt", "WEBVTT\n\nNOTE x\n\n00:01.000 --> 00:02.000 align:start\n<v Ada>Hi &amp; bye</v>\n")
    assert web.text == "[00:00:01]\nAda: Hi & bye\n\n"


def test_headings_between_two_lines_are_found() -> None:
    found = made(
        "a.rst",
        "=====\nTitle\n=====\n\nText.\n\nPart ``x``\n----------\n\n:ref:`Some <x>` words\n~~~~~~~~~~~~~~~~~~~~~\n",
    )
    assert [(h.level, h.text) for h in found.headings] == [(1, "Title"), (2, "Part x"), (3, "Some words")]


def outlook(**streams: str | bytes) -> Tree:
    properties = bytes(32) + struct.pack("<IIQ", 0x00390040, 6, 133_723_028_960_000_000)
    tree: Tree = {"__properties_version1.0": properties}
    for tag, value in streams.items():
        tree[f"__substg1.0_{tag[1:]}"] = value.encode("utf-16-le") if isinstance(value, str) else value
    return tree


def test_an_outlook_message_is_its_letter_and_the_letters_in_it() -> None:
    tree = outlook(x0037001F="Grüße", x1000001F="Der Kran hebt.\r\n", x0C1A001F="Ulla", x5D01001F="u@example.org")
    inner = outlook(x0037001F="Inner", x1000001F="Inner words")
    inner["__properties_version1.0"] = bytes(24)
    tree["__attach_version1.0_#00000000"] = {"__substg1.0_3701000D": inner}
    tree["__attach_version1.0_#00000001"] = {
        "__substg1.0_3707001F": "plan.pdf".encode("utf-16-le"),
        "__substg1.0_37010102": b"%PDF-" * 1000,
    }
    letter = made("a.msg", compound(tree))
    assert letter.title == "Grüße"
    heads = "From: Ulla <u@example.org>\nDate: 2024-10-02T00:34:56+00:00\nSubject: Grüße"
    assert letter.text == f"{heads}\n\nDer Kran hebt.\n\n# Inner\n\nSubject: Inner\n\nInner words"
    assert letter.metadata == {
        "from": "Ulla <u@example.org>",
        "date": "2024-10-02T00:34:56+00:00",
        "attachments": ["plan.pdf"],
    }
    assert [warning.kind for warning in letter.warnings] == ["attachment-not-read"]


def test_an_outlook_message_in_html_or_rtf_is_read() -> None:
    page = "<html><body><h1>Über</h1><p>HTML body</p></body></html>".encode()
    assert made("a.msg", compound(outlook(x10130102=page))).text.endswith("\n\n# Über\n\nHTML body")
    rich = rb"{\rtf1\ansi\ansicpg1252\fromhtml1{\*\htmltag148 <p>}Der \'dcber\htmlrtf x\htmlrtf0 {\*\htmltag156 </p>}}"
    packed = struct.pack("<IIII", len(rich) + 12, len(rich), 0x414C454D, 0) + rich
    assert made("a.msg", compound(outlook(x10090102=packed))).text.endswith("\n\nDer Über")


def test_rtf_is_unpacked_as_its_specification_shows() -> None:
    from ingestion.readers.mail.outlook_rtf import unpacked

    example = bytes.fromhex(  # MS-OXRTFCP, 4.1.1
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert unpacked(example) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.tex", "\\["), ("a.tex", "\\footnote{"), ("a.tex", "\\begin{verbatim}"), ("a.tex", "\\begin{equation}"),
        ("a.tex", "$"), ("a.tex", "{"), ("a.md", "![a](data:image/png;base64,"), ("a.md", "[x]: data:"),
        ("a.xml", "<!--"), ("a.xml", "<!DOCTYPE x ["), ("a.srt", "-->\n"), ("a.json", "/*"), ("a.json", ",/**/"),
        ("a.html", "<button>"), ("a.html", "<sup>"), ("a.html", "<select><option>x"), ("a.rst", "=\n"),
        ("a.eml", "From: x\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\ny\n"),
    ],
)  # fmt: skip
def test_hostile_repetition_takes_bounded_time(name: str, data: str) -> None:
    began = time.process_time()
    with contextlib.suppress(Unreadable):
        made(name, data * (40_000 // len(data)))
    assert time.process_time() - began < 5


WORD = st.text("abcdefghijklmnopqrstuvwxyzäöüßéñł", min_size=3, max_size=9)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["h2", "p", "ul", "table", "pre", "dl", "blockquote", "div", "button"]), WORD),
        min_size=1,
        max_size=12,
    )
)
def test_every_word_of_a_page_comes_out_once(parts: list[tuple[str, str]]) -> None:
    shapes = {
        "ul": "<ul><li>{}</li></ul>", "table": "<table><tr><th>{}</th><th>z</th></tr><tr><td>1</td><td>2</td></tr></table>",
        "dl": "<dl><dt>{}</dt></dl>",
    }  # fmt: skip
    marked = [(shape, f"{word}{number}q") for number, (shape, word) in enumerate(parts)]
    body = "".join(shapes.get(shape, f"<{shape}>{{}}</{shape}>").format(word) for shape, word in marked)
    text = made("a.html", f"<html><body><main>{body}</main></body></html>").text
    book = made("a.epub", epub({"one": body})).text
    mail = made("a.eml", f"From: a@b\nContent-Type: text/html; charset=utf-8\n\n<html><body>{body}</body></html>").text
    for whole in (text, book, mail):
        assert [whole.count(word) for _, word in marked] == [1] * len(marked)


def test_a_percent_sign_in_a_url_of_latex_begins_no_comment() -> None:
    found = made("a.tex", r"See \url{http://a_b.c/%20} and \href{http://d/%21}{the quay} at $5 % gone")
    assert found.text.strip() == "See http://a_b.c/%20 and the quay at $5"


def test_records_with_commas_between_them_are_read() -> None:
    assert made("a.jsonl", '{"a": 1},\n{"a": NaN},\n').text == "a: 1\n\na: NaN"
