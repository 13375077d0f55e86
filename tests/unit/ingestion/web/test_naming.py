"""Names and charsets of files from the web, robots.txt, the pace, Retry-After."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path, PurePath

import pytest
from protego import Protego

from ingestion.errors import FetchFailed, FetchRefused
from ingestion.readers.kinds import kind_of
from ingestion.web.charsets import to_utf8
from ingestion.web.fetching import retry_after
from ingestion.web.naming import file_name
from ingestion.web.pace import MAX_HOSTS, Pace
from ingestion.web.robots import rules_for


@pytest.mark.parametrize(
    ("path", "media_type", "expected"),
    [
        ("/", "text/html", "index.html"),
        ("/docs/guide", "text/html", "guide.html"),
        ("/docs/guide.html?x=/y", "text/html", "guide.html"),
        ("/index.php", "text/html", "index.php.html"),
        ("/File:Cat.png", "text/html", "File_Cat.png.html"),
        ("/page.htm", "application/xhtml+xml", "page.htm"),
        ("/README.md", "text/plain", "README.md"),
        ("/notes", "text/plain", "notes.txt"),
        ("/x.py", "text/x-python", "x.py"),
        ("/report.pdf", "application/octet-stream", "report.pdf"),
        ("/download", "application/octet-stream", "download"),
        ("/en/5.2", "", "5_2"),
        ("/report", "application/pdf", "report.pdf"),
        ("/data.geojson", "application/json", "data.geojson"),
        ("/api", "application/hal+json", "api.json"),
        ("/feed", "application/atom+xml", "feed.xml"),
        ("/..%2f..%2fetc%2fpasswd", "text/plain", "etc_passwd.txt"),
        ("/a%00b", "text/html", "a_b.html"),
        ("/%2e%2e", "text/html", "index.html"),
        ("/.bashrc", "text/plain", "bashrc.txt"),
        ("/%ff%fe", "text/html", "index.html"),
        ("/Stra%C3%9Fe", "text/html", "Straße.html"),
    ],
)
def test_a_file_is_named_so_that_the_readers_take_it(path: str, media_type: str, expected: str):
    assert file_name(path, media_type=media_type) == expected


@pytest.mark.parametrize(
    ("path", "media_type", "reason"),
    [
        ("/cat", "image/png", "an image"),
        ("/song", "audio/mpeg", "audio or video"),
        ("/f", "font/woff2", "a font"),
        ("/x", "application/zip", "application/zip"),
        ("/x.zip", "application/octet-stream", "an archive"),
        ("/old.doc", "application/msword", "an old Word file"),
    ],
)
def test_a_type_that_no_reader_takes_is_refused_with_the_reason(path: str, media_type: str, reason: str):
    with pytest.raises(FetchRefused, match=reason):
        file_name(path, media_type=media_type)


@pytest.mark.parametrize("path", ["/" + "ä" * 500, "/" + "%C3%A4" * 500 + ".html", "/a." + "b" * 400])
def test_a_long_name_fits_the_file_system(path: str):
    name = file_name(path, media_type="text/html")
    assert len(name.encode()) <= 200
    assert kind_of(PurePath(name), data=b"x") == "html"


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [("iso-8859-1", "cp1252"), ("windows-1251", "cp1251"), ("shift_jis", "cp932"), ("utf-8", "utf-8")],
)
def test_text_is_written_in_the_charset_that_the_site_names(tmp_path: Path, charset: str, encoding: str):
    file = tmp_path / "page.html"
    text = {"cp1251": "Привет мир", "cp932": "日本語のページ"}.get(encoding, "Grüße aus Köln, 5 €")
    file.write_bytes(text.encode(encoding))
    size = to_utf8(file, charset=charset)
    assert file.read_bytes() == b"\xef\xbb\xbf" + text.encode()
    assert size == len(file.read_bytes())
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("charset", ["unicode_escape", "rot13", "no-such", "utf-8", "zlib", "utf-7"])
def test_text_that_is_not_in_its_charset_is_left_as_it_is(tmp_path: Path, charset: str):
    file = tmp_path / "page.html"
    data = b"Gr\xfc\xdfe \\u0041 +AGE-"
    file.write_bytes(data)
    to_utf8(file, charset=charset)
    assert file.read_bytes() == data
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_a_character_on_the_border_of_two_blocks_is_not_torn(tmp_path: Path):
    file = tmp_path / "page.html"
    text = "x" * ((1 << 20) - 1) + "語" * 10
    file.write_bytes(text.encode())
    to_utf8(file, charset="utf-8")
    assert file.read_bytes().decode("utf-8-sig") == text


ROBOTS = """
Sitemap: https://example.org/sitemap.xml
User-agent: other
User-agent: Footnote/2.0  # us
Disallow: /ours
Crawl-delay: 2

User-agent: *
Disallow: /anyone

User-agent: last
Disallow: /
"""


def test_of_robots_txt_the_group_that_names_us_counts():
    rules = Protego.parse(rules_for("footnote", ROBOTS))
    assert not rules.can_fetch("https://example.org/ours/x", "footnote")
    assert rules.can_fetch("https://example.org/anyone", "footnote")
    assert rules.crawl_delay("footnote") == 2


def test_of_robots_txt_the_group_for_anyone_counts_where_none_names_us():
    rules = Protego.parse(rules_for("acme", ROBOTS))
    assert rules.can_fetch("https://example.org/ours/x", "acme")
    assert not rules.can_fetch("https://example.org/anyone", "acme")


def test_robots_txt_with_many_agents_over_many_rules_stays_small():
    text = "".join(f"user-agent: a{n}\n" for n in range(20_000)) + "disallow: /x\n" * 20_000
    assert len(rules_for("footnote", text)) < 100
    assert len(rules_for("footnote", "user-agent: *\n" * 20_000 + "disallow: /x\n" * 20_000)) < 300_000


def test_requests_to_one_host_get_turns_one_interval_apart():
    pace = Pace(interval=2, longest_wait=10, clock=lambda: 100.0)
    assert [pace.reserve("a"), pace.reserve("a"), pace.reserve("b"), pace.reserve("a")] == [0, 2, 0, 4]


def test_a_longer_delay_of_the_site_counts():
    pace = Pace(interval=1, longest_wait=60, clock=lambda: 100.0)
    assert [pace.reserve("a", interval=30), pace.reserve("a", interval=30)] == [0, 30]


def test_a_turn_that_is_too_far_off_is_not_waited_for():
    pace = Pace(interval=1, longest_wait=60, clock=lambda: 100.0)
    pace.hold("a", seconds=90)
    with pytest.raises(FetchFailed) as caught:
        pace.reserve("a")
    assert caught.value.retry_after == 90


def test_no_more_hosts_are_remembered_than_is_said():
    pace = Pace(interval=1, longest_wait=60, clock=lambda: 100.0)
    for number in range(MAX_HOSTS + 1):
        pace.reserve(f"host-{number}")
    assert pace.reserve("host-1") == 1
    assert pace.reserve("host-0") == 0


def test_retry_after_is_read_as_seconds_or_as_a_date_and_bounded():
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after("120") == 120
    assert 50 < (retry_after(in_a_minute) or 0) <= 61
    assert retry_after("999999999999") == 86_400
    assert retry_after(format_datetime(datetime.fromtimestamp(time.time() - 60, UTC), usegmt=True)) == 0
    assert [retry_after(value) for value in ("", "soon", "-5", "nan", "inf", "9" * 400, "٣")] == [None] * 7
