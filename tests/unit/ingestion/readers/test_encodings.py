"""Decoding: marks, labels, guesses, and what is said of them."""

from __future__ import annotations

import pytest

from ingestion.errors import Unreadable
from ingestion.readers.encodings.decoding import codec_of, decode

TEXTS = {
    "german": ("Artikel;Preis\nKäse;3,50 €\nBrötchen;0,45 €\n", ["cp1252", "iso8859-15"]),
    "french": ("Référence;Prix\nCrème fraîche;2,10\nPâté;4,80\n", ["cp1252"]),
    "spanish": ("Señora Núñez compró piñas en el almacén.", ["cp1252"]),
    "swedish": ("Åsa köpte räksmörgåsar på Öland.", ["cp1252", "cp850"]),
    "polish": ("Zażółć gęślą jaźń; Łódź", ["cp1250", "iso8859-2"]),
    "czech": ("Příliš žluťoučký kůň úpěl ďábelské ódy", ["cp1250", "iso8859-2"]),
    "hungarian": ("Árvíztűrő tükörfúrógép", ["cp1250", "iso8859-2"]),
    "russian": ("Цена товара: сто рублей", ["cp1251", "koi8-r", "cp866", "iso8859-5"]),
    "ukrainian": ("Її ціна невелика, а якість добра", ["cp1251", "koi8-u"]),
    "greek": ("Η τιμή είναι δέκα ευρώ", ["cp1253", "iso8859-7"]),
    "turkish": ("Şişe fiyatı değişti, İstanbul'da yağmur yağıyor", ["cp1254"]),
    "hebrew": ("המחיר הוא עשרה שקלים", ["cp1255"]),
    "arabic": ("السعر عشرة دنانير في السوق", ["cp1256"]),
    "japanese": ("価格は百円です。とても安い。", ["cp932", "euc-jp", "iso2022_jp"]),
    "chinese": ("价格是一百元，很便宜。", ["gb18030", "utf-16-le"]),
    "taiwanese": ("價格是一百元，很便宜。", ["big5"]),
    "korean": ("가격은 백 원입니다. 아주 쌉니다.", ["cp949"]),
    "english": ("it’s “quoted” – at 5 £", ["cp1252"]),
}


@pytest.mark.parametrize(
    ("text", "codec"),
    [(text, codec) for text, codecs in TEXTS.values() for codec in codecs if codec != "utf-16-le"],
)
def test_a_short_text_is_read_in_the_encoding_that_it_does_not_name(text: str, codec: str) -> None:
    data = text.encode(codec)
    assert decode(data).text == data.decode(codec)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["Grüße aus Köln, schöne Märkte.", "Привет, мир. Как дела?", "価格は百円です。\nとても安い。\n"]
)
def test_utf_16_without_a_mark_is_read(text: str, codec: str) -> None:
    found = decode(text.encode(codec))
    assert found.text == text
    assert [warning.kind for warning in found.warnings] == ["encoding-guessed"]


def test_the_collections_language_decides_between_encodings_that_fit_alike() -> None:
    data = "Başında böl".encode("cp1254")
    assert decode(data, language="turkish").text == "Başında böl"


@pytest.mark.parametrize("label", ["latin1", "ISO-8859-1", "us-ascii", " windows-1252 "])
def test_labels_are_read_as_browsers_read_them(label: str) -> None:
    found = decode("5 € – „so“".encode("cp1252"), declared=label)
    assert (found.text, found.warnings) == ("5 € – „so“", ())


@pytest.mark.parametrize(
    "label", ["unicode_escape", "rot13", "zlib", "utf-7", "idna", "punycode", "raw_unicode_escape", ""]
)
def test_labels_that_are_none_of_the_web_are_not_trusted(label: str) -> None:
    assert codec_of(label) is None
    assert decode("Fähre".encode("cp1252"), declared=label).text == "Fähre"


def test_utf_8_under_another_label_is_read_as_utf_8_and_said() -> None:
    found = decode("Grüße".encode(), declared="iso-8859-1")
    assert found.text == "Grüße"
    assert found.warnings[0].detail == "It is declared as iso-8859-1 and was read as UTF-8, which it is."


def test_a_multi_byte_encoding_that_is_utf_8_by_chance_is_believed() -> None:
    assert decode("联通".encode("gbk"), declared="gb2312").text == "联通"


def test_a_guess_and_what_was_lost_are_said() -> None:
    assert decode("Fähre".encode("cp1252")).warnings[0].detail == (
        "It does not say its encoding; it was read as Windows-1252."
    )
    damaged = decode("Grüße aus Köln. ".encode() * 20 + b"\xff")
    assert [warning.kind for warning in damaged.warnings] == ["part-unreadable"]
    assert decode(b"plain").warnings == ()


def test_binary_data_are_no_text() -> None:
    with pytest.raises(Unreadable):
        decode(bytes(range(256)) * 4)
