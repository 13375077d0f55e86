"""Makes PDFs that are laid out in the ways that people's are."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

A4 = (595.0, 842.0)


def drawn(*pages: Callable[[Any], None], size: tuple[float, float] = A4, **info: str) -> bytes:
    """Make a PDF; each function draws a page on reportlab's canvas."""
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=size, pageCompression=0)
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
