from __future__ import annotations

import contextlib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.readers.cleaning import clean, one_line
from ingestion.readers.encodings.decoding import decode
from ingestion.types import Extracted, Heading


def made(name: str, data: bytes | str) -> Extracted:
    return read(Path(name), data=data.encode() if isinstance(data, str) else data)


def refusal(name: str, data: bytes | str) -> str:
    with pytest.raises(Unreadable) as caught:
        made(name, data)
    return str(caught.value)


@given(st.text())
def test_cleaned_text_is_nfc_and_has_no_control_characters(text: str) -> None:
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    cleaned.encode()
    assert not [char for char in cleaned if unicodedata.category(char) == "Cc" and char not in "\n\t"]
    assert clean(cleaned) == cleaned


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_either_text_or_refused(data: bytes) -> None:
    for name in (
        "a.txt",
        "a.md",
        "a.rst",
        "a.csv",
        "a.json",
        "a.jsonl",
        "a.eml",
        "a.mbox",
        "a.html",
        "a.ipynb",
        "a.tex",
        "a.xml",
        "a.srt",
        "noname",
    ):
        extracted = None
        with contextlib.suppress(Unreadable):
            extracted = made(name, data)
        if extracted:
            extracted.text.encode()
            assert extracted.text.strip()
            assert 0 < len(extracted.title) <= 300


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "iso-8859-15"]
)
def test_encodings_are_told_apart(encoding: str) -> None:
    text = "Das Mädchen aß fünf Brötchen. Über die Brücke ging es weiter, es war schön."
    assert made("a.txt", text.encode(encoding)).text == text


def test_japanese_in_an_old_encoding_is_read() -> None:
    text = "日本語のテキストです。これは文字コードのテストです。東京は日本の首都であり、人口が多い都市です。"
    assert made("a.txt", text.encode("shift_jis")).text == text


def test_utf_8_with_a_broken_byte_stays_utf_8() -> None:
    data = ("Grüße aus Köln, schöne Märkte überall. " * 20).encode()
    assert made("a.log", data + b"\xff" + data).text.count("Grüße") == 40
    assert decode("Caf\xe9 au lait, s'il vous pla\xeet, monsieur.".encode("latin-1")).text.startswith("Café")


def test_marks_piled_on_one_letter_do_not_take_quadratic_time() -> None:
    assert len(clean("e" + "\u0301\u0323" * 1_000_000)) < 50  # without the limit on piles this runs for hours


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n ", b"\0\0\0", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_an_empty_file_is_refused(data: bytes) -> None:
    assert refusal("a.txt", data) in {"the file is empty", "there is no text in it"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\x02\x01\x01" + bytes(100), "a program"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a damaged image"),
        (b"\x1f\x8b\x08" + bytes(100), "an archive; unpack it first"),
        (b"PK\x03\x04" + bytes(100), "a damaged archive or Office file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "an old Office file"),
        (bytes(range(256)) * 10, "binary data, no text"),
    ],
)
def test_what_lies_about_its_kind_is_refused_for_what_it_is(data: bytes, reason: str) -> None:
    assert refusal("notes.md", data).startswith(reason)


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.pptx", "a.xlsx"])
def test_text_under_the_name_of_another_kind_is_refused(name: str) -> None:
    assert "though it is named so" in refusal(name, "just text")


def test_html_under_the_name_of_a_text_is_read_as_html() -> None:
    extracted = made(
        "page.txt", "<!DOCTYPE html><html><head><title>Page</title></head><body><p>Words</p></body></html>"
    )
    assert (extracted.title, extracted.text) == ("Page", "Words")


def test_titles_are_one_line_and_bounded() -> None:
    assert one_line("a\n b\t c\0") == "a b c"
    assert len(one_line("word " * 1000)) <= 300
    assert made("a.md", "# " + "long " * 500).title.endswith("…")
    assert made(".md", "x").title == ".md"


def test_a_file_name_of_odd_bytes_makes_a_title() -> None:
    assert made("caf\udce9.txt", "text").title == "caf�"


def test_markdown_headings_are_those_of_a_parser() -> None:
    text = (
        "Intro\n\n# One `code` *two*\n\n```sh\n# no heading\n```\n\nSetext\n---\n\n"
        "    # code\n\n> # quoted\n\n## Sub ##\n"
    )
    extracted = made("a.md", text)
    assert [(h.level, h.text) for h in extracted.headings] == [(1, "One code two"), (2, "Setext"), (2, "Sub")]
    assert [text[h.offset :].partition("\n")[0] for h in extracted.headings] == [
        "# One `code` *two*",
        "Setext",
        "## Sub ##",
    ]
    assert extracted.title == "One code two"
    assert extracted.text == text


def test_front_matter_becomes_metadata_with_its_types() -> None:
    extracted = made(
        "a.md",
        "---\ntitle: From above\ndate: 2026-03-01\nat: 2026-03-01T10:00:00Z\nn: 3\nx: 1.5\nok: yes\n"
        "none:\ntags: [a, 'b']\n"
        "id: '010'\nbig: 99999999999999999999\nnan: .nan\nmap: {k: 1}\n---\n\n# Body\n\ntext",
    )
    assert extracted.metadata == {
        "title": "From above", "date": "2026-03-01", "at": "2026-03-01T10:00:00+00:00", "n": 3, "x": 1.5, "ok": True,
        "none": None, "tags": ["a", "b"], "id": "010", "big": 99999999999999999999, "nan": "nan", "map": {"k": 1},
    }  # fmt: skip
    assert extracted.title == "From above"
    assert extracted.text.startswith("# Body")
    assert extracted.headings[0].offset == 0


def test_toml_front_matter_is_read_too() -> None:
    extracted = made("a.md", "+++\ntitle = 'T'\ndraft = false\n+++\nbody")
    assert (extracted.metadata, extracted.text) == ({"title": "T", "draft": False}, "body")


@pytest.mark.parametrize("text", ["---\n\nA rule, then text.\n\n---\n", "---\nno end\n", "--- \n- a\n- b\n---\n"])
def test_a_rule_at_the_top_is_no_front_matter(text: str) -> None:
    extracted = made("a.md", text)
    assert extracted.metadata == {}
    assert extracted.text == text


def test_restructured_text_headings_are_found() -> None:
    extracted = made("a.rst", "Title\n=====\n\nText.\n\nPart\n----\n\nMore.\n\nNext\n====\n")
    assert [(h.level, h.text) for h in extracted.headings] == [(1, "Title"), (2, "Part"), (1, "Next")]
    assert extracted.title == "Title"


def test_source_code_stays_as_it_is_under_its_whole_name() -> None:
    code = "def f():\n\treturn '# no heading'\n"
    assert made("tool.py", code) == Extracted(code, title="tool.py", headings=(Heading(0, 1, "f"),))


def test_json_becomes_lines_of_paths_and_values() -> None:
    extracted = made(
        "a.json", '{"title": "T", "text": "Prose here.", "by": {"name": "Ada"}, "tags": ["a", 1], "l": [{"x": true}]}'
    )
    assert extracted.title == "T"
    assert extracted.text == "title: T\nby.name: Ada\ntags: a, 1\nl[0].x: true\n\nProse here."


def test_json_keeps_numbers_as_written_and_metadata_typed() -> None:
    extracted = made("a.json", '{"n": 1e400, "i": %s, "metadata": {"page": "3", "ok": null}}' % ("9" * 6000))
    assert "n: 1e400" in extracted.text
    assert "9" * 6000 in extracted.text
    assert extracted.metadata == {"page": "3", "ok": None}


def test_json_lines_are_records() -> None:
    assert made("a.jsonl", '{"a": 1}\n\n{"a": 2, "text": "T"}\n').text == "a: 1\n\na: 2\n\nT"
    assert refusal("a.jsonl", '\n{"a": \n') == "not valid JSON, line 2"


@pytest.mark.parametrize("data", [b"[" * 100_000 + b'"x"' + b"]" * 100_000, b'{"a":' * 100_000])
def test_json_nested_too_deeply_is_text_and_said(data: bytes) -> None:
    found = made("a.json", data)
    assert found.text == data.decode()
    assert [warning.kind for warning in found.warnings] == ["part-unreadable"]


def test_halves_of_surrogate_pairs_are_left_out() -> None:
    extracted = made("a.json", '{"title": "a\\ud800b", "x\\udc00": "y"}')
    assert extracted.title == "ab"
    assert extracted.text == "title: ab\nx: y"
