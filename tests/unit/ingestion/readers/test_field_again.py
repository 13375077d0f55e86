# ruff: noqa: E501 (samples, as they are written)
"""More inputs of the kinds of trouble from the field, of other makes and with other words."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import PurePath

import openpyxl
import pytest
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from ingestion.readers import read
from ingestion.types import Extracted, ReadOptions

PROSE = "<p>The mill at Osterby was built in 1742 by three brothers who quarrelled about its height, and burned down in 1911.</p>"
NAMESPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKED = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUg" * 40
MIXED = "From: a@b.c\nSubject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nsee\n--x\n"


def said(name: str, data: bytes | str) -> Extracted:
    return read(PurePath(name), data=data.encode() if isinstance(data, str) else data, options=ReadOptions())


def zipped(parts: Mapping[str, str]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return held.getvalue()


def without(data: bytes, left_out: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as whole, zipfile.ZipFile(held, "w") as rest:
        for name in whole.namelist():
            if left_out not in name:
                rest.writestr(name, whole.read(name))
    return held.getvalue()


def related(*relations: tuple[str, str, str]) -> str:
    found = "".join(
        f'<Relationship Id="{key}" Type="{RELATIONS}/{kind}" Target="{to}"/>' for key, kind, to in relations
    )
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{found}</Relationships>'
    )


def word(body: str, parts: Mapping[str, str] | None = None, *relations: tuple[str, str, str]) -> bytes:
    return zipped(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": related(("rId1", "officeDocument", "word/document.xml")),
            "word/_rels/document.xml.rels": related(*relations),
            "word/document.xml": f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>",
        }
        | dict(parts or {})
    )


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


@pytest.mark.parametrize(
    ("name", "data", "there", "absent"),
    [
        # tables
        ("hu.csv", "Név;Ár\nTűzhely;12 500 Ft\nŐszibarack;800 Ft\n".encode("cp1250"), ["Név: Tűzhely\nÁr: 12 500 Ft"], ["column"]),
        ("m.tex", r"\begin{tabular}{lr}\toprule Gate & Width \\ \midrule Ulm & 3\% \\ \multicolumn{2}{c}{Kiel} \\ \bottomrule\end{tabular}", ["| Gate | Width |\n| --- | --- |\n| Ulm | 3% |\n| Kiel | Kiel |"], ["rule"]),
        ("m.rtf", r"{\rtf1\ansi\trowd\cellx1\cellx2\intbl Name\cell Age\cell\row\trowd\clvmgf\cellx1\cellx2\intbl Bo\cell 1\cell\row\trowd\clvmrg\cellx1\cellx2\intbl\cell 2\cell\row\trowd\clmgf\cellx1\clmrg\cellx2\intbl both\cell\cell\row}", ["| Bo | 1 |\n| Bo | 2 |\n| both | both |"], []),
        # pages
        ("c.html", f"<main>{PROSE}<p><code>make build<br>make install</code></p></main>", ["make build\nmake install"], []),
        ("b.html", f'<main>{PROSE}<pre><span style="display:block">ADD r1</span><span style="display: block">SUB r2</span></pre></main>', ["ADD r1\nSUB r2"], []),
        ("w.html", f'<main>{PROSE}<div style="white-space:pre">m = 1\n  n = 2</div></main>', ["m = 1\n  n = 2"], []),
        ("s.html", f'<main>{PROSE}<p>10<span style="vertical-align:super">12</span> grains, CO<sub>2</sub></p></main>', ["10^12 grains, CO2"], []),
        ("a.html", f"<h1>Oven</h1>{PROSE}<aside><h4>Tip</h4><p>Soak first.</p></aside><aside><a href=x>Older posts</a></aside>", ["Tip", "Soak first."], ["Older"]),
        ("n.html", f'<article>{PROSE}{PROSE}<p>Salt is dear.<a href="#f1">1</a></p></article><section><h2>Notes</h2><ol><li id=f1><p>See the ledger.</p></li></ol></section>', ["# Notes", "See the ledger."], []),
        # records, notes, subtitles, XML
        ("twice.json", '{"size": "one", "size": "two"}', ["size: one\nsize (2): two"], []),
        ("pretty.jsonl", '{\n "text": "first"\n}\n{\n "text": "second"\n}\n', ["first", "second"], []),
        ("pretty.json", '{\n "a": 1.50\n}\n{\n "a": 2\n}\n', ["a: 1.50\n\na: 2"], []),
        ("i.json", json.dumps({"word": "moss", "image": PACKED}), ["word: moss"], ["iVBOR"]),
        ("i.rst", f"Head\n====\n\n.. image:: {PACKED}\n   :alt: lighthouse\n", ["lighthouse"], ["iVBOR"]),
        ("i.txt", f"See {PACKED} there.", ["See", "there."], ["iVBOR"]),
        ("tight.srt", "1\n00:00:01,000 --> 00:00:02,000\nOne\n2\n00:00:03,000 --> 00:00:04,000\nTwo in 1611\n3\n00:00:05,000 --> 00:00:06,000\nEnd", ["One Two in 1611 End"], ["-->"]),
        ("stray.xml", '<!DOCTYPE r [<!ENTITY co "A &#38; B">]><r><i id="K-1"><n>Big &lt;x&gt;</n><p>Salt & silt &co;</p></i></r>', ["i@id: K-1", "Big <x>", "Salt & silt &co;"], ["&lt;"]),
        ("mixed.xml", "<r><p><a>one</a><b>two</b> tail</p></r>", ["one two tail"], []),
        # mails
        ("f.eml", MIXED + "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nRnJvbTogekBiLmMKU3ViamVjdDogWmVkCgpPZiBwaWtlLgo=\n--x--\n", ["# Zed", "Of pike."], ["RnJv"]),
        ("o.eml", MIXED + "Content-Type: application/octet-stream; name=readme.md\nContent-Disposition: attachment; filename=readme.md\n\n# Lime\n\nIt sets hard.\n--x--\n", ["Lime", "It sets hard."], []),
        # Word
        ("style.docx", word("<w:p>" + run("10") + run("24", '<w:rStyle w:val="Up"/>') + "</w:p>", {"word/styles.xml": f'<w:styles {NAMESPACES}><w:style w:styleId="Up"><w:rPr><w:vertAlign w:val="superscript"/></w:rPr></w:style></w:styles>'}, ("s", "styles", "styles.xml")), ["10^24"], []),
        ("raised.docx", word("<w:p>" + run("10") + run("24", '<w:position w:val="12"/><w:sz w:val="14"/>') + "</w:p>"), ["10^24"], []),
        ("power.docx", word("<w:p>" + run("2") + run("n+1", '<w:vertAlign w:val="superscript"/>') + "</w:p>"), ["2^(n+1)"], []),
        ("root.docx", word("<w:p><m:oMath><m:rad><m:deg><m:r><m:t>3</m:t></m:r></m:deg><m:e><m:r><m:t>x</m:t></m:r></m:e></m:rad></m:oMath></w:p>"), ["root(x, 3)"], []),
        ("chunk.docx", word(f'<w:p>{run("Before.")}</w:p><w:altChunk r:id="c"/><w:p>{run("After.")}</w:p>', {"word/c.html": "<h1>Peat</h1><p>Of peat.</p>"}, ("c", "aFChunk", "c.html")), ["Before.\n\n# Peat\n\nOf peat.\n\nAfter."], []),
        ("mht.docx", word('<w:altChunk r:id="c"/>', {"word/c.mht": "MIME-Version: 1.0\nContent-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n<p>Of lime=\n kilns.</p>\n--b--\n"}, ("c", "aFChunk", "c.mht")), ["Of lime kilns."], []),
        ("bare.docx", zipped({"word/document.xml": f'<w:document {NAMESPACES}><w:body><w:p>{run("No content types.")}</w:p></w:body></w:document>'}), ["No content types."], []),
        ("bare.epub", zipped({"mimetype": "application/epub+zip", "x/1.html": "<p>Lone words.</p>"}), ["Lone words."], []),
    ],
)  # fmt: skip
def test_all_of_it_comes_out(name: str, data: bytes | str, there: list[str], absent: list[str]) -> None:
    text = said(name, data).text
    assert [part for part in there if part not in text] == [], text
    assert [part for part in absent if part in text] == [], text


@pytest.mark.parametrize("lost", ["ppt/charts/chart", "notesSlides/notesSlide1.xml"])
def test_a_part_of_a_slide_that_is_missing_is_said(lost: str) -> None:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Sluices"
    slide.notes_slide.notes_text_frame.text = "Of moss."
    data = CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["East"]
    data.add_series("Sales", (19.2,))  # type: ignore[no-untyped-call]
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 10, 10, data)
    held = io.BytesIO()
    deck.save(held)
    extracted = said("deck.pptx", without(held.getvalue(), lost))
    assert "Sluices" in extracted.text
    assert [warning.kind for warning in extracted.warnings] == ["part-unreadable"]
    assert extracted.warnings[0].detail.endswith("is missing.")


def test_raised_digits_in_a_cell_are_a_power() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["Name", "Count"])
    sheet["A2"] = CellRichText("10", TextBlock(InlineFont(vertAlign="superscript"), "24"), " m")
    sheet["B2"] = 1
    held = io.BytesIO()
    book.save(held)
    assert "Name: 10^24 m\nCount: 1" in said("b.xlsx", held.getvalue()).text


def test_front_matter_keeps_numbers_as_people_mean_them() -> None:
    found = said("n.md", "---\nzip: 01067\ntime: 12:30:00\nn: 12\nx: -1.5\ne: 6e3\nh: 0x1F\nb: true\n---\nBody.\n")
    assert found.metadata == {"zip": "01067", "time": "12:30:00", "n": 12, "x": -1.5, "e": 6000.0, "h": 31, "b": True}
    assert not found.warnings
