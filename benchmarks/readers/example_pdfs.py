"""Write the three PDFs that docs/ingestion.md shows: python -m benchmarks.readers.example_pdfs FOLDER.

A scan of a letter (pictures alone, a little crooked), a paper of two columns, and a price list of three pages.
"""

# ruff: noqa: E501, ISC004 (texts)

from __future__ import annotations

import io
import random
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pypdfium2
from PIL import Image, ImageFilter
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    FrameBreak,
    NextPageTemplate,
    PageTemplate,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
)

WIDTH, HEIGHT = A4
STYLES = getSampleStyleSheet()
LETTER = ParagraphStyle("letter", fontName="Courier", fontSize=11, leading=16, spaceAfter=12)
COLUMN = ParagraphStyle("column", fontName="Times-Roman", fontSize=11.5, leading=16, spaceAfter=7, alignment=4)
SECTION = ParagraphStyle("section", fontName="Times-Bold", fontSize=13, leading=17, spaceBefore=9, spaceAfter=4)
PAPER_TITLE = ParagraphStyle("paper", fontName="Times-Bold", fontSize=17, leading=21, alignment=1, spaceAfter=6)
AUTHORS = ParagraphStyle("authors", fontName="Times-Italic", fontSize=10.5, leading=13, alignment=1)

LETTERS = (
    [
        "NORHOLM HARBOUR AUTHORITY",
        "14 March 1987",
        "To all masters and owners of vessels berthed at the eastern quay",
        "Dear Sirs,",
        "The winter gales have moved the sandbank before the harbour's mouth further to the north than in any year "
        "since the survey of 1961. The buoys no longer mark its edge.",
        "Until the dredger has finished its work, vessels that draw more than 3.20 metres may enter at high water only, "
        "and must take a pilot on board at the outer roads. The pilot is called on channel 12 one hour before arrival.",
        "The eastern quay itself keeps its depth. Its northern ladder was carried away on 2 March and will be replaced "
        "in the week after Easter.",
    ],
    [
        "Work on the lighthouse begins on 6 April. The lamp is then dark between ten in the morning and four in the "
        "afternoon, when the fog horn is sounded by hand in poor sight: two long blasts each minute.",
        "Claims for damage to moorings during the gales are to be sent to the harbour office by 30 April, with the name "
        "of the vessel, the number of the berth and a drawing of what was lost. Claims that come later cannot be met.",
        "The dues for the quarter stay as they were.",
        "Yours faithfully,",
        "T. Aldersen, harbour master",
    ],
)

PAPER: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Abstract",
        (
            "Salt marshes along sheltered coasts take up carbon faster than most forests, yet the share that stays buried "
            "is known for few of them. We took 48 cores from four marshes of the Norholm sound between 2019 and 2023, "
            "dated them by lead-210, and followed the loss of organic carbon with depth. Burial is twice as fast where "
            "the marsh is grazed lightly as where sheep are kept out.",
        ),
    ),
    (
        "1 Introduction",
        (
            "A marsh grows upwards with the sea. Each tide that floods it leaves a film of silt, and the roots of the "
            "plants bind what has settled. Where the ground is wet and holds little oxygen, dead roots rot slowly, and "
            "their carbon is buried with the silt.",
            "How much is buried depends on how fast the surface rises, how much root is made each year, and how long it "
            "takes until the material lies below the depth that air reaches. Earlier work in the sound has looked at "
            "the surface alone. Markers of feldspar were laid in 1994 and read each spring, but no core was longer than "
            "twenty centimetres, and none was dated.",
            "Grazing is the one use that has shaped these marshes for centuries. Sheep keep the grass short and tread "
            "the ground firm; firm ground lets in less air. At the same time grazed grass makes fewer roots. Which of "
            "the two weighs more cannot be said without cores from plots that differ in nothing else.",
        ),
    ),
    (
        "2 Methods",
        (
            "Each of the four marshes has a fence that was set up between 1971 and 1978 and has been kept since. On "
            "either side of it we chose six plots of ten by ten metres, at equal distance from the creek and at equal "
            "height above the mean tide, within four centimetres.",
            "Cores of eight centimetres across were taken to a depth of one metre with a hand-driven tube of steel, "
            "sealed in the field and kept at four degrees. Compression was measured inside and outside of the tube and "
            "was below three per cent in all but two cores, which we left out.",
            "Slices of one centimetre were dried at 60 degrees for 72 hours, weighed, and ground. Organic carbon was "
            "measured after fumigation with acid. Ages follow from lead-210 by the model of constant supply, and were "
            "checked against the peak of caesium-137 of the year 1963.",
            "Roots were washed out of a second core beside each of the first, sorted by hand into living and dead, and "
            "weighed. The flux of methane was measured with closed chambers on nine days of each summer.",
        ),
    ),
    (
        "3 Results",
        (
            "The surface rises by 4.1 millimetres a year on the seaward plots and by 2.6 on those below the dike, with "
            "no difference between the two sides of the fence. The peak of caesium was found in 41 of 46 cores, on "
            "average at a depth of 21 centimetres.",
            "Grazed plots bury 186 grams of carbon per square metre and year, plots without sheep 91. The difference "
            "is made in the upper thirty centimetres: below them the content of carbon hardly changes with depth on "
            "either side. Living roots weigh a fifth less where sheep graze.",
            "Where more than two sheep were kept on a hectare the gain is lost. On the eastern marsh, which had five "
            "sheep a hectare until 2004, bare patches cover a tenth of the ground, and burial there does not differ "
            "from that of the plots behind the fence.",
            "Methane was below the limit of detection on all but eleven of 216 chamber days. All eleven followed heavy "
            "rain in August 2021, when the water of the creeks held less than eight grams of salt a litre.",
        ),
    ),
    (
        "4 Discussion",
        (
            "Firm ground seems to weigh more than roots that were not made. Air reached a depth of 19 centimetres "
            "behind the fence, as rust on steel rods showed after six weeks, and only 7 where sheep had trodden the "
            "ground. Material then spends about seventeen years less in reach of the air.",
            "Our plots say nothing of sandy marshes, where treading does not make the ground firm, and nothing of "
            "cattle. They also cannot tell whether the marsh will keep up with the sea: a rise of more than five "
            "millimetres a year would drown the plots below the dike by about 2070.",
            "We advise to graze with one to two sheep a hectare from May to September, and to leave the strip of ten "
            "metres beside the creeks to the birds. Fences that were set up to measure should stay.",
        ),
    ),
    (
        "Acknowledgements",
        (
            "We thank the commoners of Norholm, who let us dig, and the crew of the ferry, who carried 1.3 tonnes of mud "
            "without a word.",
        ),
    ),
)

HEADER = ["Article", "Description", "Material", "Weight kg", "Pack", "Price EUR"]
PARTS = (
    "Impeller",
    "Shaft seal",
    "Bearing",
    "Wear ring",
    "Gasket set",
    "Casing",
    "Coupling",
    "Check valve",
    "Strainer",
)
MATERIALS = ("bronze", "cast iron", "steel 1.4404", "NBR", "EPDM")
SIZES = (25, 32, 40, 50, 65, 80, 100, 125, 150)


def scan() -> bytes:
    """Return a letter of two pages, scanned: grey pictures, a little crooked, with the dust of the glass."""
    made = io.BytesIO()
    canvas = Canvas(made, pagesize=A4, invariant=True)
    for number, paragraphs in enumerate(LETTERS, 1):
        written = io.BytesIO()
        SimpleDocTemplate(written, pagesize=A4, margin=72).build([Paragraph(text, LETTER) for text in paragraphs])
        page = pypdfium2.PdfDocument(written.getvalue())[0].render(scale=150 / 72, grayscale=True).to_pil()
        page = page.rotate(0.7 if number == 1 else -0.5, Image.Resampling.BICUBIC, fillcolor=245)
        chance = random.Random(number)  # noqa: S311 (dust)
        for _ in range(400):
            page.putpixel((chance.randrange(page.width), chance.randrange(page.height)), chance.randrange(90, 200))
        page = page.filter(ImageFilter.GaussianBlur(0.6))
        file = io.BytesIO()
        page.save(file, "JPEG", quality=60)
        canvas.drawImage(ImageReader(file), 0, 0, WIDTH, HEIGHT)
        canvas.showPage()
    canvas.save()
    return made.getvalue()


def paper() -> bytes:
    """Return a paper of two pages with two columns below a title over both."""
    made = io.BytesIO()
    margin, gap, head = 54, 18, 78
    width, height = (WIDTH - 2 * margin - gap) / 2, HEIGHT - 2 * margin
    frame = partial(Frame, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0)
    columns = [margin, margin + width + gap]
    first = [frame(margin, HEIGHT - margin - head, 2 * width + gap, head)]
    first += [frame(x, margin, width, height - head - 12) for x in columns]
    document = BaseDocTemplate(
        made, pagesize=A4, title="Carbon burial in grazed and ungrazed salt marshes", invariant=1
    )
    document.addPageTemplates(
        [
            PageTemplate("first", first, onPage=_foot),
            PageTemplate("next", [frame(x, margin, width, height) for x in columns], onPage=_foot),
        ]
    )
    story: list[Any] = [
        NextPageTemplate("next"),
        Paragraph("Carbon burial in grazed and ungrazed salt marshes of the Norholm sound", PAPER_TITLE),
        Paragraph("M. Okafor, L. Brandt and S. Ilves", AUTHORS),
        FrameBreak(),
    ]
    for heading, paragraphs in PAPER:
        story += [Paragraph(heading, SECTION), *(Paragraph(text, COLUMN) for text in paragraphs)]
    document.build(story)
    return made.getvalue()


def price_list() -> bytes:
    """Return a price list of three pages: a ruled table whose header stands on each."""
    made = io.BytesIO()
    rows = []
    for part_number, part in enumerate(PARTS):
        for size_number, size in enumerate(SIZES):
            price = (part_number + 2) * size * 0.37 + 8.45
            material = MATERIALS[(part_number + size_number) % len(MATERIALS)]
            weight = f"{size * (part_number + 1) / 90:.2f}"
            rows.append([f"NP-{part_number + 1}{size:03}", f"{part} DN {size}", material, weight, "1", f"{price:,.2f}"])
    lines = [("GRID", (0, 0), (-1, -1), 0.4, "#777777"), ("BACKGROUND", (0, 0), (-1, 0), "#dddddd")]
    table = Table([HEADER, *rows], repeatRows=1, style=[*lines, ("ALIGN", (3, 0), (-1, -1), "RIGHT")])
    document = SimpleDocTemplate(made, pagesize=A4, title="Spare parts for pumps: price list 2026", invariant=1)
    heading = Paragraph("Spare parts for pumps: price list 2026", STYLES["Title"])
    terms = Paragraph("Prices without tax, ex works. Small orders below 50 EUR bear a surcharge of 12 EUR.", COLUMN)
    document.build([heading, terms, Spacer(0, 8), table], onFirstPage=_foot, onLaterPages=_foot)
    return made.getvalue()


def _foot(canvas: Any, document: Any) -> None:
    canvas.setFont("Times-Roman", 9)
    canvas.drawCentredString(WIDTH / 2, 30, f"{document.title} · {document.page}")


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("harbour-letter-1987", scan), ("salt-marshes", paper), ("pump-parts", price_list)):
        (folder / f"{name}.pdf").write_bytes(make())


if __name__ == "__main__":
    main()
