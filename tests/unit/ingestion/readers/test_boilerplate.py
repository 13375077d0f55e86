from __future__ import annotations

from ingestion.readers.boilerplate import EdgeLine, boilerplate


def left_out(*pages: list[str]) -> list[list[str]]:
    lines = [[EdgeLine(text, place) for place, text in enumerate(page)] for page in pages]
    return [[page[index] for index in sorted(found)] for page, found in zip(pages, boilerplate(lines), strict=True)]


def test_a_header_stays_where_it_comes_first() -> None:
    pages = [["The Book", f"text {n * 77}", "more"] for n in range(1, 5)]
    assert [page[:1] for page in left_out(*pages)] == [[], ["The Book"], ["The Book"], ["The Book"]]


def test_page_numbers_go_from_all_pages() -> None:
    pages = [[f"words {'ab' * n}", f"Page {n} of 4"] for n in range(1, 5)]
    assert left_out(*pages) == [[f"Page {n} of 4"] for n in range(1, 5)]


def test_numbers_that_do_not_count_the_pages_are_text() -> None:
    pages = [[f"Fee {fee}"] for fee in (10, 31, 47, 90)]
    assert left_out(*pages) == [[], [], [], []]


def test_two_pages_have_no_boilerplate() -> None:
    assert left_out(["Same"], ["Same"]) == [[], []]


def test_lines_at_other_places_are_text() -> None:
    pages = [["x" * n, *["y" * n] * n, "Same words"] for n in range(1, 5)]
    assert left_out(*pages) == [[], [], [], []]
