# ruff: noqa: E501 (samples, as they are written)
"""Mails of many makes: all of their text, once, and what is not read said."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest

from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.types import ReadOptions


@pytest.mark.parametrize(
    ("mail", "there", "not_there", "name", "sections"),
    [
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8; format=flowed\n\nThis is a \nflowed line.\n> quoted \n> text\n\n-- \nsig",
            ["This is a flowed line.", "> quoted text", "-- \nsig"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe =ZZ broken =\nsoft line 100 =E2=82=AC",
            ["Grüße", "soft line 100 €", "broken"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nunclosed part text",
            ["unclosed part text"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed\n\nno boundary text at all",
            ["no boundary text"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\npreamble words\n--x\n\nfirst\n--x\nContent-Type: text/plain\n\nsecond\n--x\nContent-Type: text/html\n\n<p>third <b>bold</b></p>\n--x--\nepilogue",
            ["first", "second", "third bold"],
            [],
            "a.eml",
            False,
        ),
        (
            b'From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nbody\n--x\nContent-Type: application/pdf; name="=?utf-8?B?w5xiZXIucGRm?="\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64\n\nJVBERi0=\n--x--',
            ["body", "Über.pdf", "attachment-not-read"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nbody\n--x\nContent-Type: text/csv; name=t.csv\nContent-Disposition: attachment; filename=t.csv\n\nname,tons\nAlba,410\n--x\nContent-Type: application/octet-stream\nContent-Disposition: attachment; filename*=utf-8''n%C3%B6te.md\n\n# Head\n\nNote text\n--x--",
            ["name: Alba", "nöte.md", "Note text"],
            [],
            "a.eml",
            True,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/signed; boundary=x\n\n--x\nContent-Type: text/plain\n\nsigned body\n--x\nContent-Type: application/pgp-signature; name=sig.asc\n\nSIG\n--x--",
            ["signed body", "'signed': True"],
            ["SIG"],
            "a.eml",
            False,
        ),
        (
            b"From: a@b\nSubject: =?iso-8859-1?Q?Gr=FC=DFe?= =?iso-8859-1?Q?_aus_K=F6ln?=\n\nx",
            ["Grüße aus Köln"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: =?utf-8?B?w5wu?= =?utf-8?B?IE0uw?= <u@b>\nSubject: =?x-bogus?q?F=E4hre?= =?utf-8?Q?half_=C3?= =?utf-8?Q?=A4?=\n\nx",
            ["Fähre", "half ä"],
            [],
            "a.eml",
            False,
        ),
        (b"From: a@b\nSubject: Gr\xfc\xdfe\n\nx", ["Grüße"], [], "a.eml", False),
        (
            b"From: a@b\nSubject: \xf0\xd2\xc9\xd7\xc5\xd4\nContent-Type: text/plain; charset=koi8-r\n\n\xf0\xcf\xcb\xc1",
            ["Пока", "Привет"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: a@b\nSubject: x\nContent-Type: text/plain; charset=iso-8859-1\n\nPreis 5 \x80 \x96 gut",
            ["5 € – gut"],
            [],
            "a.eml",
            False,
        ),
        (
            b'From: a@b\nSubject: x\nContent-Type: text/plain; charset="us-ascii"\n\nF\xe4hre',
            ["Fähre"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: a@b\nSubject: x\nContent-Type: text/html; charset=us-ascii\n\n<html><head><meta charset=windows-1251></head><body>\xcf\xf0\xe8\xe2\xe5\xf2 \xec\xe8\xf0</body></html>",
            ["Привет мир"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: a@b\nSubject: x\nContent-Type: text/plain; charset=iso-8859-1\n\nGr\xc3\xbc\xc3\x9fe",
            ["Grüße", "encoding-guessed"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/digest; boundary=x\n\n--x\n\nFrom: c@d\nSubject: Inner one\n\ndigest text one\n--x\n\nFrom: e@f\nSubject: Inner two\n\ndigest text two\n--x--",
            ["Inner one", "digest text one", "Inner two", "digest text two"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=x\n\n--x\n\nCould not deliver.\n--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; z@z\nStatus: 5.1.1\n--x\nContent-Type: message/rfc822\n\nFrom: me@x\nSubject: Orig\n\norig text\n--x--",
            ["Could not deliver", "5.1.1", "z@z", "orig text", "Orig"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b4\n\n--b4\n\nlevel 4\n--b4\nContent-Type: message/rfc822\n\nFrom: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b3\n\n--b3\n\nlevel 3\n--b3\nContent-Type: message/rfc822\n\nFrom: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b2\n\n--b2\n\nlevel 2\n--b2\nContent-Type: message/rfc822\n\nFrom: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b1\n\n--b1\n\nlevel 1\n--b1\nContent-Type: message/rfc822\n\nFrom: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b0\n\n--b0\n\nlevel 0\n--b0\nContent-Type: message/rfc822\n\nFrom: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: text/plain\n\ninnermost words\n--b0--\n--b1--\n--b2--\n--b3--\n--b4--",
            ["innermost words", "level 0", "level 1", "level 2", "level 3", "level 4"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=x\n\n--x\nContent-Type: text/plain\n\nHello full plain text of the letter about cranes.\n--x\nContent-Type: multipart/related; boundary=y\n\n--y\nContent-Type: text/html\n\n<p>Hello full plain text of the letter about cranes.</p><img src=cid:1 alt=logo>\n--y\nContent-Type: image/png\nContent-ID: <1>\nContent-Disposition: inline; filename=logo.png\n\nx\n--y--\n--x--",
            ["about cranes", "logo.png"],
            [],
            "a.eml",
            False,
        ),
        (
            b"\n\nFrom: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\n\nleading blank",
            ["leading blank"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From MAILER Tue Oct 1 12:00:00 2024\nFrom: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\n\nbody of it\n",
            ["body of it"],
            ["MAILER"],
            "a.eml",
            False,
        ),
        (
            b"From u@x Tue Oct  1 12:00:00 2024\nFrom: u0@x\nSubject: Subj 0\n\nbody 0\n>From here on\n\nFrom u@x Tue Oct  1 12:00:01 2024\nFrom: u1@x\nSubject: Subj 1\n\nbody 1\n>From here on\n\nFrom u@x Tue Oct  1 12:00:02 2024\nFrom: u2@x\nSubject: Subj 2\n\nbody 2\n>From here on\n\n",
            ["Subj 0", "Subj 2", "body 1", "From here on"],
            [],
            "a.mbox",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\nSUMMARY:Meet at quay\nEND:VCALENDAR",
            ["Meet at quay"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!!not base64 at all!!! \xc3\xa4\xc3\xb6",
            ["not"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: ;;;\nDate: garbage\n\nbody stays",
            ["body stays", "garbage"],
            [],
            "a.eml",
            False,
        ),
        (
            b'From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: text/plain; charset="=?utf-8?q?x?="\n\nbody stays',
            ["body stays"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: text/enriched\n\n<bold>Rich</bold> text",
            ["Rich"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\nJVBERi0=",
            ["attachment-not-read"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=x\n\n--x\nContent-Type: text/html\n\n<p>html first and only this</p>\n--x\nContent-Type: text/plain\n\n\n--x--",
            ["html first"],
            [],
            "a.eml",
            False,
        ),
        (
            b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 a.txt\n#0V%T\n`\nend\n",
            ["Cat"],
            [],
            "a.eml",
            False,
        ),
        (b"Subject: only\n\nbody", ["body"], [], "a.eml", False),
    ],
)
def test_all_text_of_a_mail_is_read(
    mail: bytes, there: list[str], not_there: list[str], name: str, sections: bool
) -> None:
    found = read(Path(name), data=mail, options=ReadOptions(attachments="sections" if sections else "no"))
    whole = f"{found.title}\n{found.text}\n{found.metadata}\n{found.warnings}"
    assert [part for part in there if part not in whole] == []
    assert [part for part in not_there if part in whole] == []


@pytest.mark.parametrize(
    ("plain", "page", "calendar", "taken"),
    [
        ("The deposit is 55.", "<p>The deposit is 55.</p><table><tr><th>Item</th><th>Fee</th><tr><td>Buoy<td>19</table>",
         "", "| Buoy | 19 |"),
        ("The deposit is 55.", "<p>The <b>deposit</b> is 55.</p><p>Sent by Quay</p>", "", "The deposit is 55."),
        ("The deposit is 55 and the letter has much of its own.", "<p>The deposit, and some words of other kinds</p>", "",
         "much of its own."),
        ("The keel is looked at on Monday.", "<p>The keel is looked at on Monday.</p>",
         "DTSTART:1 DESCRIPTION:The keel is looked at on Monday. LOCATION:Dock", "looked at on Monday."),
    ],
)  # fmt: skip
def test_the_page_is_taken_where_it_has_what_the_plain_text_lacks(
    plain: str, page: str, calendar: str, taken: str
) -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@b.c", "S"
    message.set_content(plain)
    message.add_alternative(page, subtype="html")
    if calendar:
        message.add_alternative(calendar, subtype="calendar")
    text = read(Path("a.eml"), data=message.as_bytes()).text.strip()
    assert text.endswith(taken)
    assert text.count(taken) == 1


@pytest.mark.parametrize(
    "mail",
    [
        b'From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x\n\n--x\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--x\nContent-Type: application/octet-stream\n\n-----BEGIN PGP MESSAGE-----\n--x--',
        b"From: Ulla <u@example.org>\nSubject: S\nMIME-Version: 1.0\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\nContent-Transfer-Encoding: base64\n\nMIAGCSqGSIb3DQEHA6CA",
    ],
)
def test_an_encrypted_mail_is_refused_for_what_it_is(mail: bytes) -> None:
    with pytest.raises(Unreadable, match="an encrypted e-mail"):
        read(Path("a.eml"), data=mail)


def test_letters_within_letters_are_read_to_a_depth_and_the_rest_said() -> None:
    mail = "From: a@b\nContent-Type: text/plain\n\ninnermost words"
    for _ in range(5):
        mail = f"From: a@b\nSubject: S\nContent-Type: message/rfc822\n\n{mail}"
    assert "innermost words" in read(Path("a.eml"), data=mail.encode()).text
    for _ in range(40):
        mail = f"From: a@b\nSubject: S\nContent-Type: message/rfc822\n\n{mail}"
    found = read(Path("a.eml"), data=mail.encode())
    assert [warning.kind for warning in found.warnings] == ["part-unreadable"]
