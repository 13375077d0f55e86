"""What of a mail becomes documents of their own, and what stays in the letter."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compound import Tree, compound
from support.mails import mail

from config.settings import IngestionSettings
from ingestion.errors import Unreadable
from ingestion.read_options import read_options
from ingestion.readers import read
from ingestion.readers.mail import files as attached_files
from ingestion.types import Extracted, ReadOptions

DOCUMENTS = ReadOptions(attachments="documents")
PDF = b"%PDF-1.4\nnot much of one\n"


def made(name: str, data: bytes | EmailMessage, options: ReadOptions = DOCUMENTS) -> Extracted:
    return read(Path(name), data=data if isinstance(data, bytes) else data.as_bytes(), options=options)


def parts(*written: str, kind: str = "multipart/mixed") -> bytes:
    body = "".join(f"--x\n{part}\n" for part in written)
    return f"From: a@b\nSubject: S\nMIME-Version: 1.0\nContent-Type: {kind}; boundary=x\n\n{body}--x--\n".encode()


def names(found: Extracted) -> list[str]:
    return [each.name for each in found.attachments]


def test_files_leave_the_letter_and_know_the_message_that_brings_them() -> None:
    found = made("a.eml", mail("The letter.", ("prices.pdf", PDF), ("ports.csv", b"port,depth\nAlba,12\n")))
    assert found.text.strip().endswith("\n\nThe letter.")
    assert found.metadata["attachments"] == names(found) == ["prices.pdf", "ports.csv"]
    prices, ports = found.attachments
    assert (prices.media_type, prices.data, prices.utf8) == ("application/pdf", PDF, None)
    assert ports.message == {
        "mail_subject": "The offer", "mail_from": "Ulla <ulla@example.org>", "mail_to": "Bo <bo@example.org>",
        "mail_date": "2024-10-01T19:00:00+00:00",
    }  # fmt: skip
    assert found.warnings == ()


def test_by_the_other_choices_they_are_sections_or_named() -> None:
    message = mail("The letter.", ("notes.md", b"# Notes\n\nOf pike.\n"), ("a.rtf", rb"{\rtf1 Of eel.}"))
    sections = made("a.eml", message, ReadOptions(attachments="sections"))
    assert ("Of pike." in sections.text, "Of eel." in sections.text, sections.attachments) == (True, True, ())
    named = made("a.eml", message, ReadOptions())
    assert ("Of pike." in named.text, "Of eel." in named.text, named.attachments) == (True, False, ())
    assert [warning.kind for warning in named.warnings] == ["attachment-not-read"]


@pytest.mark.parametrize(("before", "now"), [("true", "sections"), (True, "sections"), ("False", "no"), ("0", "no")])
def test_the_switch_of_before_keeps_its_meaning(before: object, now: str) -> None:
    told = IngestionSettings(attachments=before)  # type: ignore[arg-type]
    assert read_options(told, language="simple").attachments == now


def test_the_body_is_no_attachment_though_it_has_a_name() -> None:
    named = "Content-Type: text/html; name=body.html\n\n<p>The letter.</p>"
    found = made("a.eml", parts(named, "Content-Type: text/plain; name=n.txt\n\nA note."))
    assert ("The letter." in found.text, names(found)) == (True, ["n.txt"])
    plain = "Content-Type: text/plain; name=body.txt\n\nThe letter in plain."
    found = made("a.eml", parts(plain, named, kind="multipart/alternative"))
    assert ("plain" in found.text, names(found)) == (True, [])


def test_text_that_no_reader_takes_by_its_name_stays_in_the_letter() -> None:
    invitation = "Content-Type: text/calendar; name=i.ics\nContent-Disposition: attachment\n\nSUMMARY:Quay"
    found = made("a.eml", parts("\nThe letter.", invitation))
    assert ("SUMMARY:Quay" in found.text, names(found)) == (True, [])


def test_files_inside_a_form_of_the_text_that_was_not_chosen_are_there() -> None:
    page = "Content-Type: text/html\n\n<p>The letter.</p>"
    html = f"Content-Type: multipart/mixed; boundary=y\n\n--y\n{page}\n--y\n{ATTACHED}\n--y--"
    found = made("a.eml", parts("Content-Type: text/plain\n\nThe letter.", html, kind="multipart/alternative"))
    assert found.text.strip().endswith("\n\nThe letter.")
    assert names(found) == ["a.pdf"]


ATTACHED = "Content-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment\n\n%PDF-1.4"


def test_text_in_an_encoding_that_only_the_mail_tells_keeps_its_bytes_and_is_read_right() -> None:
    head = b"From: a@b\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nLetter.\n--x\n"
    part = b"Content-Type: text/plain; charset=koi8-r; name=n.txt\nContent-Disposition: attachment\n\n"
    (note,) = made("a.eml", head + part + b"\xf0\xcf\xcb\xc1\n--x--\n").attachments
    assert note.data == "Пока".encode("koi8-r")
    assert note.utf8 is not None
    assert read(Path("n.txt"), data=note.utf8).text.strip() == "Пока"


def test_what_no_reader_takes_is_said_and_not_carried_along() -> None:
    found = made("a.eml", mail("Letter.", ("a.zip", b"PK\x03\x04" + bytes(40)), ("b.exe", b"MZ\x90\x00" + bytes(9))))
    assert found.attachments == ()
    assert [warning.kind for warning in found.warnings] == ["attachment-not-read"] * 2
    assert "b.exe: a program" in found.warnings[1].detail


def test_a_file_without_a_name_gets_one() -> None:
    found = made("a.eml", parts("\nThe letter.", "Content-Type: application/pdf\n\n%PDF-1.4"))
    assert names(found) == ["attachment-1.pdf"]
    assert found.metadata["attachments"] == ["attachment-1.pdf"]


def test_a_long_name_keeps_its_suffix() -> None:
    (name,) = names(made("a.eml", mail("Letter.", (f"{'long name ' * 40}.pdf", PDF))))
    assert (len(name), name[-5:]) == (200, "….pdf")


def test_files_beyond_the_bound_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached_files, "MAX_FILES", 2)
    letters = [mail("Letter.", (f"{number}.md", b"Of pike.")).as_bytes() for number in range(5)]
    box = b"".join(b"From u@x Tue Oct  1 12:00:00 2024\n" + letter + b"\n\n" for letter in letters)
    found = made("a.mbox", box)
    assert names(found) == ["0.md", "1.md"]
    (said,) = found.warnings
    assert "3 attachments were not read, beyond the number that one file may have: 2.md, 3.md, 4.md" in said.detail


def outlook(*attachments: Tree, subject: str = "Offer", body: str = "The letter.") -> bytes:
    tree: Tree = {"__properties_version1.0": bytes(32) + struct.pack("<IIQ", 0x00390040, 6, 133_723_028_960_000_000)}
    for tag, value in (("0037", subject), ("1000", body), ("0C1A", "Ulla")):
        if value:
            tree[f"__substg1.0_{tag}001F"] = value.encode("utf-16-le")
    for number, each in enumerate(attachments):
        tree[f"__attach_version1.0_#{number:08}"] = each
    return compound(tree)


def file_of(name: str, data: bytes, *, kind: str = "", flags: int = 0) -> Tree:
    tree: Tree = {
        "__substg1.0_37010102": data,
        "__properties_version1.0": bytes(8) + struct.pack("<IIQ", 0x37140003, 6, flags),
    }
    for tag, value in (("3707", name), ("370E", kind)):
        if value:
            tree[f"__substg1.0_{tag}001F"] = value.encode("utf-16-le")
    return tree


def test_files_of_an_outlook_message_are_documents_and_pictures_in_its_text_are_not() -> None:
    inline = file_of("image001.png", b"\x89PNG\r\n\x1a\n" + bytes(9), flags=4)
    found = made("a.msg", outlook(file_of("a.pdf", PDF, kind="application/pdf"), inline, file_of("", PDF)))
    assert names(found) == ["a.pdf", "attachment-2"]
    assert found.attachments[0].media_type == "application/pdf"
    assert found.attachments[0].message == {
        "mail_subject": "Offer", "mail_from": "Ulla", "mail_date": "2024-10-02T00:34:56+00:00",
    }  # fmt: skip
    assert found.metadata["attachments"] == ["a.pdf", "image001.png", "attachment-2"]
    assert [warning.kind for warning in found.warnings] == ["picture-not-read"]


def test_an_outlook_message_of_files_alone_is_its_headers() -> None:
    assert made("a.msg", outlook(file_of("a.pdf", PDF), body="")).text == (
        "From: Ulla\nDate: 2024-10-02T00:34:56+00:00\nSubject: Offer"
    )


@pytest.mark.parametrize("start", ["", "\ufeff", "From MAILER Tue Oct 1 12:00:00 2024\n", "X-One: a\n b\nX-Two: c\n"])
def test_a_mail_as_text_is_read_though_it_is_named_as_outlook_s(start: str) -> None:
    found = made("a.msg", f"{start}From: a@b\nSubject: The quay\n\nIt is closed.\n".encode())
    assert (found.title, found.text.strip()) == ("The quay", "From: a@b\nSubject: The quay\n\nIt is closed.")


@pytest.mark.parametrize("text", ["Dear all,\n\nFrom: here on.\n", "Note: one\n\nFrom: b\n", "x" * 20_000])
def test_other_text_named_so_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="not an Outlook file, though it is named so"):
        made("a.msg", text.encode())


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("2024-10-01 19:00:00 +0200", "2024-10-01T19:00:00+02:00"),
        ("2024-10-01 19:00:00 +0200 (CEST)", "2024-10-01T19:00:00+02:00"),
        ("2024-10-01T19:00:00Z", "2024-10-01T19:00:00+00:00"),
        ("2024-10-01 19:00:00", "2024-10-01T19:00:00+00:00"),
        ("Tue, 1 Oct 2024 19:00:00 +0200 (CEST)", "2024-10-01T19:00:00+02:00"),
        ("1 Oct 24 19:00 -0000", "2024-10-01T19:00:00+00:00"),
        ("2024-13-41 19:00:00 +0200", None),
        ("Tue, 1 Oct 2024 19:00:00 +9999", None),
    ],
)
def test_dates_are_read_as_mailers_and_programs_write_them(written: str, date: str | None) -> None:
    found = made("a.eml", f"From: a@b\nDate: {written}\n\nText.\n".encode())
    assert found.metadata["date"] == (date or written)


@pytest.mark.parametrize("raw", ["Fähre.pdf".encode(), "Fähre.pdf".encode("cp1252")])
def test_names_in_bytes_beyond_ascii_are_read(raw: bytes) -> None:
    head = (
        b"From: a@b\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nLetter.\n--x\nContent-Type: application/pdf\n"
    )
    mail_ = head + b'Content-Disposition: attachment; filename="' + raw + b'"\n\n%PDF-1.4\n--x--\n'
    assert names(made("a.eml", mail_)) == ["Fähre.pdf"]


KINDS = ("text/plain", "text/html", "text/csv", "text/calendar", "application/octet-stream", "application/x-own")
SUFFIXES = ("", ".txt", ".md", ".html", ".ics", ".csv", ".bin", ".msg")
LEAVES = st.tuples(
    st.sampled_from(KINDS), st.sampled_from(SUFFIXES), st.sampled_from(("", "inline", "attachment")), st.booleans()
)
TREES = st.recursive(
    LEAVES, lambda inner: st.tuples(st.sampled_from(("mixed", "related", "signed")), st.lists(inner, max_size=4))
)


def tree_of(tree: tuple, count: Iterator[int], words: list[str]) -> str:
    """Write a tree of parts, each leaf with a word of its own."""
    if isinstance(tree[1], list):
        number = next(count)
        inner = "".join(f"--b{number}\n{tree_of(each, count, words)}\n" for each in tree[1])
        return f"Content-Type: multipart/{tree[0]}; boundary=b{number}\n\n{inner}--b{number}--\n"
    kind, suffix, disposition, named = tree
    word = f"w{next(count)}w"
    words.append(word)
    name = f"; name={word}{suffix}" if named else ""
    shown = f"Content-Disposition: {disposition}\n" if disposition else ""
    return f"Content-Type: {kind}{name}\n{shown}\nsay {word} here\n"


@settings(deadline=None, max_examples=150)
@given(st.lists(TREES, min_size=1, max_size=5))
def test_every_part_is_in_the_letter_or_a_file_or_said_and_none_is_twice(trees: list[tuple]) -> None:
    words: list[str] = []
    body = tree_of(("mixed", [("text/plain", "", "", False), *trees]), itertools.count(), words)
    found = made("a.eml", f"From: a@b\nSubject: S\nMIME-Version: 1.0\n{body}".encode())
    for word in words:
        spoken = f"say {word} here"
        inside = found.text.count(spoken) + sum(spoken.encode() in each.data for each in found.attachments)
        said = any(word in warning.detail or "attachment-" in warning.detail for warning in found.warnings)
        assert inside == 1 or (inside == 0 and said), word


@pytest.mark.parametrize("disposition", ["attachment", "inline"])
def test_a_file_that_a_mailer_calls_text_keeps_its_bytes(disposition: str) -> None:
    head = "Content-Type: text/plain; charset=iso-8859-1; name=a.pdf"
    found = made("a.eml", parts(f"{head}\nContent-Disposition: {disposition}\n\n%PDF-1.4", "\nThe letter."))
    assert [(each.name, each.utf8) for each in found.attachments] == [("a.pdf", None)]
    assert found.text.strip().endswith("\n\nThe letter.")
