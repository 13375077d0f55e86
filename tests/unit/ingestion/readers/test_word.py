"""Word documents with what writers of documents do in them, made by hand where no library writes it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import docx

from ingestion.readers import read
from ingestion.types import Extracted, ReadOptions

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
NAMESPACES = " ".join(
    f'xmlns:{prefix}="{name}"'
    for prefix, name in {
        "w": WORD,
        "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
        "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
        "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
        "wps": "wps", "v": "v", "o": "o", "a": "a", "dgm": "dgm",
    }.items()
)  # fmt: skip


def paragraph(text: str, properties: str = "") -> str:
    return f'<w:p><w:pPr>{properties}</w:pPr><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def styled(style: str, text: str) -> str:
    return paragraph(text, f'<w:pStyle w:val="{style}"/>')


def listed(number: int, level: int, text: str) -> str:
    return paragraph(text, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')


def level(at: int, form: str, text: str, more: str = "") -> str:
    return (
        f'<w:lvl w:ilvl="{at}"><w:start w:val="1"/>{more}<w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/></w:lvl>'
    )


def style(own: str, name: str, numbering: str = "", parent: str = "") -> str:
    based = f'<w:basedOn w:val="{parent}"/>' if parent else ""
    return (
        f'<w:style w:type="paragraph" w:styleId="{own}"><w:name w:val="{name}"/>{based}'
        f"<w:pPr><w:numPr>{numbering}</w:numPr></w:pPr></w:style>"
    )


def made(body: str, *, parts: dict[str, str] | None = None, options: ReadOptions | None = None) -> Extracted:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>")
        relations = ""
        for name, content in (parts or {}).items():
            archive.writestr(f"word/{name}.xml", f"<w:{name} {NAMESPACES}>{content}</w:{name}>")
            relations += f'<Relationship Id="{name}" Type="x/{name}" Target="{name}.xml"/>'
        archive.writestr("word/_rels/document.xml.rels", f"<Relationships>{relations}</Relationships>")
    return read(Path("a.docx"), data=stream.getvalue(), options=options)


def kinds(document: Extracted) -> set[str]:
    return {warning.kind for warning in document.warnings}


def test_headings_take_their_numbers_from_styles_that_rest_on_others() -> None:
    third = '<w:pStyle w:val="H3"/>'
    numbering = (
        f'<w:abstractNum w:abstractNumId="0">{level(0, "decimal", "Article %1.")}{level(1, "decimal", "%1.%2")}'
        f"{level(2, 'lowerLetter', '%1.%2(%3)', third)}</w:abstractNum>"
        f'<w:abstractNum w:abstractNumId="1">{level(0, "upperLetter", "Appendix %1")}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="3"><w:abstractNumId w:val="1"/></w:num>'
    )
    one = '<w:numId w:val="1"/>'
    styles = (
        style("H1", "heading 1", one)
        + style("H2", "heading 2", '<w:ilvl w:val="1"/>', "H1")
        + style("H3", "heading 3", one)
        + style("App", "Appendix", '<w:ilvl w:val="0"/><w:numId w:val="3"/>', "H1")
    )
    words = [
        ("H1", "Scope"),
        ("H2", "Of x"),
        ("H3", "Deep"),
        ("H3", "Deeper"),
        ("H1", "Next"),
        ("H2", "Of y"),
        ("App", "Lists"),
    ]
    document = made("".join(styled(*each) for each in words), parts={"styles": styles, "numbering": numbering})
    assert [heading.text for heading in document.headings] == [
        "Article 1. Scope", "1.1 Of x", "1.1(a) Deep", "1.1(b) Deeper", "Article 2. Next",
        "2.1 Of y", "Appendix A Lists",
    ]  # fmt: skip
    assert [heading.level for heading in document.headings] == [1, 2, 3, 3, 1, 2, 1]


def test_lists_have_their_numbers_and_start_anew_where_they_say_so() -> None:
    numbering = (
        f'<w:abstractNum w:abstractNumId="0">{level(0, "upperRoman", "%1.")}'
        f"{level(1, 'lowerLetter', '(%2)')}</w:abstractNum>"
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="0"/>'
        '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride></w:num>'
    )
    items = [(1, 0, "A"), (1, 1, "B"), (1, 1, "C"), (1, 0, "D"), (1, 1, "E")]
    body = "".join(listed(*item) for item in items) + paragraph("between") + listed(2, 0, "F")
    text = made(body, parts={"numbering": numbering}).text
    assert text == "I. A\n  (a) B\n  (b) C\nII. D\n  (a) E\n\nbetween\n\nI. F"


def test_a_text_box_is_read_once_whatever_its_forms() -> None:
    box = f"<w:txbxContent>{paragraph('in the box')}</w:txbxContent>"
    newer = f"<w:drawing><wps:wsp><wps:txbx>{box}</wps:txbx></wps:wsp></w:drawing>"
    older = f"<w:pict><v:shape><v:textbox>{box}</v:textbox></v:shape></w:pict>"
    forms = f"<mc:Choice>{newer}</mc:Choice><mc:Fallback>{older}</mc:Fallback>"
    both = f"<mc:AlternateContent>{forms}</mc:AlternateContent>"
    for form in (newer, older, both):
        assert made(f"<w:p><w:r><w:t>anchor</w:t></w:r><w:r>{form}</w:r></w:p>").text == "anchor\n\nin the box"


def test_formulas_are_plain_text_whatever_they_lack() -> None:
    def run(text: str) -> str:
        return f"<m:r><m:t>{text}</m:t></m:r>"

    total = (
        f'<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>{run("i=1")}</m:sub><m:sup>{run("n")}</m:sup>'
        f"<m:e><m:sSup><m:e>{run('x')}</m:e><m:sup>{run('2')}</m:sup></m:sSup></m:e></m:nary>"
    )
    root = f"<m:rad><m:deg/><m:e>{run('a+b')}</m:e></m:rad><m:odd>{run('q')}</m:odd><m:f/>"
    assert made(f"<w:p><m:oMath>{total}{root}</m:oMath></w:p>").text == "∑_(i=1)^n x^2√(a+b)q"


def test_notes_and_comments_stand_below_their_paragraph() -> None:
    body = (
        '<w:p><w:r><w:t>Text</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r>'
        '<w:r><w:commentReference w:id="0"/></w:r></w:p>' + paragraph("Next")
    )
    parts = {
        "footnotes": f'<w:footnote w:id="0" w:type="separator"/><w:footnote w:id="2">{paragraph("Below")}</w:footnote>',
        "comments": f'<w:comment w:id="0" w:author="Eve">{paragraph("Why?")}</w:comment>',
    }
    assert made(body, parts=parts).text == "Text[note 1]\n\n[note 1] Below\n\n[comment by Eve: Why?]\n\nNext"


def test_a_paragraph_whose_end_was_deleted_goes_on_with_the_next() -> None:
    body = paragraph("first half ", "<w:rPr><w:del/></w:rPr>") + paragraph("second half")
    assert made(body).text == "first half second half"


def test_blocks_nested_without_end_are_read_bare() -> None:
    deep = "<w:tbl><w:tr><w:tc>" * 300 + paragraph("deep") + "</w:tc></w:tr></w:tbl>" * 300
    document = made(paragraph("before") + deep + paragraph("after"))
    assert document.text == "before\n\ndeep\n\nafter"
    assert kinds(document) == {"part-unreadable"}


def test_entities_read_no_files_and_are_said(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        entity = f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
        body = f"<w:body>{paragraph('hi')}{paragraph('&x;')}</w:body>"
        archive.writestr("word/document.xml", f"{entity}<w:document {NAMESPACES}>{body}</w:document>")
    document = read(Path("a.docx"), data=stream.getvalue())
    assert document.text == "hi"
    assert kinds(document) == {"part-unreadable"}


def test_the_other_set_of_namespaces_is_read_too() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        names = NAMESPACES.replace(WORD, "http://purl.oclc.org/ooxml/wordprocessingml/main")
        archive.writestr(
            "word/document.xml", f"<w:document {names}><w:body>{paragraph('strict')}</w:body></w:document>"
        )
    assert read(Path("a.docx"), data=stream.getvalue()).text == "strict"


def test_merged_cells_headers_and_scripts_of_a_written_document() -> None:
    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "ACME"
    table = document.add_table(3, 3)
    for at in range(9):
        table.cell(at // 3, at % 3).text = f"{'abc'[at // 3]}{at % 3}"
    table.cell(1, 0).merge(table.cell(2, 0))
    line = document.add_paragraph("10")
    line.add_run("24").font.superscript = True
    line.add_run(" H")
    line.add_run("2").font.subscript = True
    line.add_run("O x")
    line.add_run("i").font.subscript = True
    line.add_run(" 1")
    line.add_run("st").font.superscript = True
    line.add_run("secret").font.hidden = True
    stream = io.BytesIO()
    document.save(stream)
    found = read(Path("a.docx"), data=stream.getvalue())
    assert found.text.startswith("ACME\n\n")
    assert "| b0 c0 | b1 | b2 |\n| b0 c0 | c1 | c2 |" in found.text
    assert found.text.endswith("10^24 H2O x_i 1st")
    assert kinds(found) == {"hidden-left-out"}
    assert "secret" in read(Path("a.docx"), data=stream.getvalue(), options=ReadOptions(hidden=True)).text
