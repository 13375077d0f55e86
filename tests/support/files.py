"""Makes the files that tests read: real ones, by the libraries that people make theirs with."""

from __future__ import annotations

import io
import zipfile
from email.message import EmailMessage

ONE_PIXEL_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000"
    "000049454e44ae426082"
)


def pdf(*pages: str, title: str = "", password: str | None = None, outline: dict[int, str] | None = None) -> bytes:
    """Make a PDF; a page's lines are drawn one below the other."""
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, encrypt=StandardEncryption(password) if password else None)
    canvas.setTitle(title)
    for number, page in enumerate(pages, 1):
        for row, line in enumerate(page.split("\n")):
            canvas.drawString(72, 780 - 14 * row, line)
        if outline and number in outline:
            canvas.bookmarkPage(str(number))
            canvas.addOutlineEntry(outline[number], str(number), 0)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def scanned_pdf(*, pages: int = 2) -> bytes:
    """Make a PDF of pictures only."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for _ in range(pages):
        canvas.drawImage(ImageReader(Image.new("RGB", (60, 80), "grey")), 0, 0, 595, 842)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def pdf_without_pages() -> bytes:
    """Make a PDF with an empty page tree, its cross-reference table right."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>"]
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 3\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer << /Size 3 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start
    return bytes(out)


def docx(*, title: str = "", sections: dict[str, str] | None = None, table: list[list[str]] | None = None) -> bytes:
    """Make a Word document with a heading a section."""
    from docx import Document

    document = Document()
    document.core_properties.title = title
    for heading, text in (sections or {}).items():
        document.add_heading(heading, level=1)
        document.add_paragraph(text)
    if table:
        cells = document.add_table(rows=len(table), cols=len(table[0]))
        for row, values in enumerate(table):
            for column, value in enumerate(values):
                cells.cell(row, column).text = value
    return _saved(document)


def pptx(*slides: tuple[str, str]) -> bytes:
    """Make a presentation of slides with a title and a text."""
    from pptx import Presentation

    presentation = Presentation()
    for title, text in slides:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    return _saved(presentation)


def xlsx(**sheets: list[list[object]]) -> bytes:
    """Make a workbook of named sheets."""
    from openpyxl import Workbook

    workbook = Workbook()
    workbook.remove(workbook.worksheets[0])
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return _saved(workbook)


def zip_bomb(*, suffix_folder: str = "word", unpacked: int = 200 << 20) -> bytes:
    """Make what looks like an Office file and unpacks to `unpacked` bytes of one letter."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open(f"{suffix_folder}/document.xml", "w", force_zip64=True) as entry:
            for _ in range(unpacked >> 20):
                entry.write(b"a" * (1 << 20))
    return buffer.getvalue()


def mail(*, subject: str, plain: str = "", html: str = "", attachment: str = "") -> bytes:
    """Make an e-mail from Ada to Bob."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "Ada <ada@example.org>", "bob@example.org"
    message["Date"] = "Tue, 03 Mar 2026 10:00:00 +0100"
    if plain:
        message.set_content(plain)
    if html:
        message.add_alternative(html, subtype="html") if plain else message.set_content(html, subtype="html")
    if attachment:
        message.add_attachment(b"data", maintype="application", subtype="octet-stream", filename=attachment)
    return message.as_bytes()


def _saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()
