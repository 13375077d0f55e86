"""What stands on a page beside its own text: the values of form fields at their places, and people's notes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ingestion.readers.cleaning import clean
from ingestion.readers.pdf.frames import Frame
from ingestion.readers.pdf.words import Word

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_MAX_ANNOTATIONS = 3000  # of a page
_MAX_BYTES = 200_000  # of a value
_HIDDEN = 0b100010  # flags: hidden, no view
_PASSWORD = 1 << 13  # flag of a text field that shows asterisks
_LINE = 12.0  # points from line to line in a field of several


class Annotations:
    """Reads the annotations of the pages of one document.

    Args:
        form: pypdfium2's form environment, or None if the document has no form.

    """

    def __init__(self, form: Any | None) -> None:  # noqa: ANN401 (pointers of ctypes, here and below)
        import pypdfium2.raw as pdfium

        self._pdfium: Any = pdfium
        self._form = form
        self._texts = {pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX}
        self._lists = {pdfium.FPDF_FORMFIELD_LISTBOX, pdfium.FPDF_FORMFIELD_COMBOBOX}
        self._marks = {pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON}
        self._not_notes = {
            pdfium.FPDF_ANNOT_WIDGET,
            pdfium.FPDF_ANNOT_LINK,
            pdfium.FPDF_ANNOT_POPUP,  # repeats the note that it belongs to
        }

    def read(self, page: PdfPage, frame: Frame) -> tuple[list[Word], list[str]]:
        """Return the words of a page's field values, and the texts of its notes."""
        words: list[Word] = []
        notes: list[str] = []
        for annotation in self._annotations(page):
            kind = self._pdfium.FPDFAnnot_GetSubtype(annotation)
            if kind == self._pdfium.FPDF_ANNOT_WIDGET:
                words += self._value_words(annotation, frame)
            elif kind not in self._not_notes and (note := self._string(annotation, b"Contents")):
                notes.append(note)
        return words, list(dict.fromkeys(notes))

    def _annotations(self, page: PdfPage) -> Iterator[Any]:
        pdfium = self._pdfium
        for index in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), _MAX_ANNOTATIONS)):
            annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
            if annotation:
                try:
                    if not pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
                        yield annotation
                finally:
                    pdfium.FPDFPage_CloseAnnot(annotation)

    def _value_words(self, annotation: Any, frame: Frame) -> Iterator[Word]:  # noqa: ANN401
        rect = self._pdfium.FS_RECTF()
        if not self._pdfium.FPDFAnnot_GetRect(annotation, rect):
            return
        left, right = sorted((rect.left, rect.right))
        bottom, top = sorted((rect.bottom, rect.top))
        box = frame.box(left, bottom, right, top)
        lines = [line.split() for line in self._value(annotation).split("\n") if line.strip()]
        for number, words in enumerate(lines):
            height = min(box.height / len(lines), _LINE)
            upper = box.top + number * height if len(lines) > 1 else box.middle[1] - height / 2
            x = box.left
            for word in words:
                width = box.width * len(word) / max(sum(len(other) + 1 for other in words), 1)
                yield Word(
                    word, word, -1, box._replace(left=x, right=x + width, top=upper, bottom=upper + height), frame.turn
                )
                x += width

    def _value(self, annotation: Any) -> str:  # noqa: ANN401
        """Return a field's value as text: ``[x]`` and ``[ ]`` for what is ticked or not."""
        pdfium, form = self._pdfium, self._form
        if form is None:
            return self._string(annotation, b"V")
        kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
        if kind in self._marks:
            return "[x]" if pdfium.FPDFAnnot_IsChecked(form, annotation) else "[ ]"
        chosen = ", ".join(self._chosen(annotation)) if kind in self._lists else ""
        if kind in self._texts and not chosen and not self._is_password(annotation, kind):
            return self._text(lambda *buffer: pdfium.FPDFAnnot_GetFormFieldValue(form, annotation, *buffer))
        return chosen

    def _is_password(self, annotation: Any, kind: int) -> bool:  # noqa: ANN401
        flags = self._pdfium.FPDFAnnot_GetFormFieldFlags(self._form, annotation)
        return kind == self._pdfium.FPDF_FORMFIELD_TEXTFIELD and bool(flags & _PASSWORD)

    def _chosen(self, annotation: Any) -> Iterator[str]:  # noqa: ANN401
        pdfium, form = self._pdfium, self._form
        for option in range(min(pdfium.FPDFAnnot_GetOptionCount(form, annotation), _MAX_ANNOTATIONS)):
            if pdfium.FPDFAnnot_IsOptionSelected(form, annotation, option):
                label = self._text(
                    lambda *buffer, option=option: pdfium.FPDFAnnot_GetOptionLabel(form, annotation, option, *buffer)
                )
                if label:
                    yield label

    def _string(self, annotation: Any, key: bytes) -> str:  # noqa: ANN401
        return self._text(lambda *buffer: self._pdfium.FPDFAnnot_GetStringValue(annotation, key, *buffer))

    def _text(self, fill: Callable[[Any, int], int]) -> str:
        """Return a string that PDFium writes into a buffer as UTF-16."""
        length = min(fill(None, 0), _MAX_BYTES)
        if length <= 2:  # noqa: PLR2004 (bytes of the NUL at its end)
            return ""
        buffer = (ctypes.c_ushort * (length // 2))()
        fill(buffer, length)
        return clean(bytes(buffer).decode("utf-16-le", "replace").rstrip("\0")).strip()
