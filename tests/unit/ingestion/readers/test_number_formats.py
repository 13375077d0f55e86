"""Numbers as spreadsheets show them; the expected texts are those of Excel."""

from __future__ import annotations

import pytest

from ingestion.readers.sheets.number_formats import GENERAL, shown, shown_text


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (0.255, "0.0%", "25.5%"), (0.5, "0 %", "50 %"), (123, "00000", "00123"),
        (1234.5, '#,##0.00 "EUR"', "1,234.50 EUR"),
        (1234.5, "[$€-407] #,##0.00", "€ 1,234.50"), (1234567, "#,##0", "1,234,567"), (1234567, '0.0,,"M"', "1.2M"),
        (-5, "#,##0;(#,##0)", "(5)"), (0, '0;-0;"zero"', "zero"), (5, '[>3]"big "0;0', "big 5"), (2.5, "0", "3"),
        (-0.001, "0.0", "0.0"), (-1234.567, "#,##0.0", "-1,234.6"), (5551234567, "(000) 000-0000", "(555) 123-4567"),
        (0.5, "# ?/?", "1/2"), (1.25, "# ??/??", "1 1/4"), (12345.678, "0.00E+00", "1.23E+04"),
        (7, '0" pcs"', "7 pcs"),
        (1234.5, "_-* #,##0.00 _€_-;-* #,##0.00 _€_-", "1,234.50"), (0.1 + 0.2, GENERAL, "0.3"), (3.0, GENERAL, "3"),
        (46086, "DD.MM.YYYY", "05.03.2026"), (46086.75, "d mmmm yyyy h:mm AM/PM", "5 March 2026 6:00 PM"),
        (46086.75, "[$-409]dddd, mmm d", "Thursday, Mar 5"),
        (0.3958333333, "HH:MM", "09:30"), (1.5, "[HH]:MM", "36:00"),
        (0.000694444, "mm:ss.0", "01:00.0"), (60, "yyyy-mm-dd", "1900-02-28"), (61, "yyyy-mm-dd", "1900-03-01"),
    ],
)  # fmt: skip
def test_a_number_is_shown_in_its_format(value: float, code: str, text: str) -> None:
    assert shown(value, code) == text


@pytest.mark.parametrize(("value", "code"), [(-46086, "yyyy"), (1e300, "#,##0"), (3, ";;;"), (7, '"'), (7, "\\")])
def test_a_number_that_its_format_cannot_show_is_shown_as_it_is(value: float, code: str) -> None:
    assert shown(value, code).replace("1E+300", "1e+300") == f"{value:g}"


def test_days_may_be_counted_from_1904() -> None:
    assert shown(0, "yyyy-mm-dd", since_1904=True) == "1904-01-01"


def test_a_text_is_put_into_its_format() -> None:
    assert shown_text("7-b", '0;0;0;"No. "@') == "No. 7-b"
    assert shown_text("=1+1", "@") == "=1+1"
