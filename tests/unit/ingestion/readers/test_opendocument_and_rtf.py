"""OpenDocument and RTF files with what no library at hand writes: numbers, notes, repeated rows, odd encodings."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.types import Extracted

NAMES = " ".join(
    f'xmlns:{prefix}="{prefix}"' for prefix in ("office", "text", "table", "style", "draw", "xlink", "dc", "manifest")
)


def made(kind: str, body: str, *, styles: str = "", parts: dict[str, str] | None = None) -> Extracted:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        content = (
            f"<office:styles>{styles}</office:styles><office:body><office:{kind}>{body}</office:{kind}></office:body>"
        )
        archive.writestr("content.xml", f"<office:document-content {NAMES}>{content}</office:document-content>")
        for name, text in (parts or {}).items():
            archive.writestr(name, text)
    return read(Path("a.xyz"), data=stream.getvalue())


def test_headings_and_lists_of_a_text_have_their_numbers_and_deleted_text_is_gone() -> None:
    styles = (
        '<text:outline-style><text:l text:level="1" style:num-format="1"/>'
        '<text:l text:level="2" style:num-format="1" text:display-levels="2"/></text:outline-style>'
        '<text:list-style style:name="L"><text:n text:level="1" style:num-format="a" style:num-suffix=")"/>'
        "</text:list-style>"
    )
    body = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        '<text:h text:outline-level="1">A</text:h><text:h text:outline-level="2">B</text:h>'
        '<text:h text:outline-level="2">C</text:h><text:list text:style-name="L"><text:list-item><text:p>one</text:p>'
        "</text:list-item><text:list-item><text:p>two</text:p></text:list-item></text:list>"
    )
    document = made("text", body, styles=styles)
    assert document.text == "# 1 A\n\n## 1.1 B\n\n## 1.2 C\n\na) one\nb) two"


def test_formulas_notes_and_comments_of_a_text_are_read() -> None:
    math = (
        '<math xmlns="m"><mfrac><mrow><mn>2</mn><mi>W</mi></mrow><mi>S</mi></mfrac><annotation>no</annotation></math>'
    )
    body = (
        '<text:p>v=<draw:frame><draw:object xlink:href="./O"/></draw:frame> is<text:s text:c="2"/>fast'
        "<office:annotation><dc:creator>Eve</dc:creator><text:p>Why?</text:p></office:annotation>"
        "<text:note><text:note-body><text:p>Below</text:p></text:note-body></text:note></text:p>"
    )
    document = made("text", body, parts={"O/content.xml": math})
    assert document.text == "v=(2W)/S is  fast[note 1]\n\n[comment by Eve: Why?]\n\n[note 1] Below"


def test_rows_that_are_repeated_without_end_are_bounded_and_said() -> None:
    def cell(text: str, more: str = "") -> str:
        return f"<table:table-cell {more}><text:p>{text}</text:p></table:table-cell>"

    spanned = 'table:number-rows-spanned="2"'
    rows = f"<table:table-row>{cell('Name')}{cell('Age')}</table:table-row>"
    rows += f"<table:table-row>{cell('Ada', spanned)}{cell('7')}</table:table-row>"
    rows += f"<table:table-row><table:covered-table-cell/>{cell('8')}</table:table-row>"
    rows += f'<table:table-row table:number-rows-repeated="1048576">{cell("Z")}{cell("9")}</table:table-row>'
    sheet = made("spreadsheet", f'<table:table table:name="S">{rows}</table:table>')
    assert sheet.text.startswith("# S\n\nName: Ada\nAge: 7\n\nName: Ada\nAge: 8\n\nName: Z\nAge: 9")
    assert len(sheet.rows) < 20_000
    assert {warning.kind for warning in sheet.warnings} == {"truncated"}


def test_an_encrypted_text_is_refused_for_what_it_is() -> None:
    with pytest.raises(Unreadable, match="an encrypted OpenDocument file"):
        made("text", "", parts={"META-INF/manifest.xml": "<manifest:encryption-data/>"})


RTF = rb"""{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fcharset0 A;}{\f1\fcharset204 B;}}{\stylesheet{\s1 heading 1;}}
{\info{\title My Doc}}{\header ACME}\pard\s1 Chapter {\b One}\par
\pard Caf\'e9 costs \u8364?12 {\f1\'cf\'f0\'e8} H{\sub 2}O \u-10179?\u-8704?{\footnote A note.}.{\v secret}\par
{\listtext 1.\tab}First\par\trowd\intbl Name\cell Age\cell\row\trowd\intbl Ada\cell 7\cell\row
\pard {\field{\*\fldinst PAGE}{\fldrslt shown}} {\deleted gone}{\*\unknown junk}\par}"""


def test_an_rtf_document_has_headings_tables_notes_and_its_encodings() -> None:
    document = read(Path("a.rtf"), data=RTF)
    assert document.title == "My Doc"
    assert document.text.rstrip() == (
        "ACME\n\n# Chapter One\n\nCafé costs €12 При H2O 😀[note 1].\n\n[note 1] A note.\n\n1. First\n\n"
        "| Name | Age |\n| --- | --- |\n| Ada | 7 |\n\nshown"
    )
    assert {warning.kind for warning in document.warnings} == {"hidden-left-out"}


def test_an_rtf_document_cut_off_or_nested_without_end_is_read() -> None:
    cut = read(Path("a.rtf"), data=rb"{\rtf1 Hello {\b wor")
    assert cut.text == "Hello wor"
    assert {warning.kind for warning in cut.warnings} == {"part-unreadable"}
    assert read(Path("a.rtf"), data=rb"{\rtf1 " + b"{" * 50_000 + b"x" + b"}" * 50_000 + b" end}").text == "x end"
