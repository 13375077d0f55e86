"""Makes PDFs that are laid out in the ways that people's are."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

A4 = (595.0, 842.0)


def drawn(
    *pages: Callable[[Any], None], size: tuple[float, float] = A4, compressed: bool = False, **info: str
) -> bytes:
    """Make a PDF; each function draws a page on reportlab's canvas."""
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=size, pageCompression=int(compressed))
    for key, value in info.items():
        getattr(canvas, f"set{key}")(value)
    for draw in pages:
        canvas.setFont("Helvetica", 10)
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def lines(canvas: Any, texts: Iterable[str], *, x: float = 60, y: float = 780, step: float = 13) -> None:
    """Draw lines one below the other."""
    for number, text in enumerate(texts):
        canvas.drawString(x, y - step * number, text)


def written(content: str, to_unicode: Mapping[int, str] | None = None, fields: Sequence[str] = ()) -> bytes:
    """Write a PDF of one page by hand: its operators, what codes of its font ``/F`` mean, its form fields."""
    pairs = "".join(f"<{code:02x}> <{text.encode('utf-16-be').hex()}>" for code, text in (to_unicode or {}).items())
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def 1 begincodespacerange <00> <ff> "
        f"endcodespacerange {len(to_unicode or {})} beginbfchar {pairs} endbfchar "
        "1 beginbfrange <20> <7e> <0020> endbfrange endcmap end end"
    )
    numbers = " ".join(f"{7 + index} 0 R" for index in range(len(fields)))
    box, resources = "/MediaBox [0 0 595 842]", "/Resources << /Font << /F 4 0 R >> >>"
    widget = "/Type /Annot /Subtype /Widget /F 4 /P 3 0 R /DA (/F 10 Tf 0 g)"
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [{numbers}] /DR << /Font << /F 4 0 R >> >> >> >>",
        "<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        f"<< /Type /Page /Parent 2 0 R {box} /Contents 5 0 R {resources} /Annots [{numbers}] >>",
        f"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica {'/ToUnicode 6 0 R' if to_unicode else ''} >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream",
        *(f"<< {widget} {field} >>" for field in fields),
    ]
    body, offsets = "%PDF-1.7\n", list[int]()
    for number, text in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF"
    return f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode("latin-1")


def flowing(*flowables: Any) -> bytes:
    """Make a PDF of reportlab's flowables."""
    from reportlab.platypus import SimpleDocTemplate

    buffer = io.BytesIO()
    SimpleDocTemplate(buffer).build(list(flowables))
    return buffer.getvalue()


def table(rows: Sequence[Sequence[str]], *style: tuple[Any, ...]) -> Any:
    """Make a table as a flowable, with the commands of a style."""
    from reportlab.platypus import Table

    made = Table([list(row) for row in rows])
    made.setStyle(list(style))
    return made


def grid() -> tuple[Any, ...]:
    """Lines around all cells."""
    from reportlab.lib.colors import black

    return ("GRID", (0, 0), (-1, -1), 0.5, black)


def scan(*pages: Sequence[str], turned: int = 0, size: int = 30) -> bytes:
    """Make a PDF whose pages are pictures of lines of text."""
    from reportlab.lib.utils import ImageReader

    images = [picture(texts, turned=turned, size=size) for texts in pages]
    return drawn(*(lambda canvas, image=image: canvas.drawImage(ImageReader(image), 0, 0, *A4) for image in images))


def picture(texts: Sequence[str], *, turned: int = 0, size: int = 30, skew: float = 0) -> Any:
    """Draw lines of text as a picture, turned by degrees clockwise."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (1240, 1754), "white")
    brush, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for number, text in enumerate(texts):
        brush.text((120, 120 + 2 * size * number), text, fill="black", font=font)
    return image.rotate(-turned - skew, expand=bool(turned), fillcolor="white")


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
