"""Which URLs are read, and which addresses are public."""

from __future__ import annotations

import pytest

from ingestion.errors import FetchRefused
from ingestion.web.addresses import AddressRules, is_public
from ingestion.web.urls import read_reference, read_url

NOT_PUBLIC = """
    127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
    100.64.0.1 100.100.100.200 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 168.63.129.16
    224.0.0.1 239.1.2.3 240.0.0.1 255.255.255.255
    :: ::1 fe80::1 fe80::1%eth0 2606:4700::1%eth0 fec0::1 fc00::1 fd00:ec2::254 ff02::1 ff0e::1
    ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 ::8.8.8.8 ::ffff:0:127.0.0.1 2002:7f00:1::1 2002:808:808::1
    2001:0:1::1 2001:10::1 2001:20::1 2001:db8::1 3fff::1 5f00::1 4000::1 100::1
    64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 64:ff9b:1::8.8.8.8
    localhost 2130706433 0x7f.1 0177.0.0.1 nonsense
""".split()  # noqa: SIM905 (easier to read)  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_told(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::8.8.8.8"])
def test_a_public_address_is_public(address: str):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "//example.org/",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://127.0.0.1:6379/_x",
        "javascript:alert(1)",
        "data:text/html,x",
        "http:/127.0.0.1/",
        "http:127.0.0.1",
        "http:///etc/passwd",
        "http://",
        "http://?x",
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://127.0.0.1:80@example.org/",
        "http://example.org@127.0.0.1/",
        "http://@127.0.0.1/",
        "http://example.org\\@127.0.0.1/",
        "http:\\\\127.0.0.1/",
        "http://example.org\\.internal/",
        "http://example.org/\r\nHost: internal",
        "http://example.org/a b",
        "http://example.org\t/",
        "http://exa\nmple.org/",
        "http://example.org\0.internal/",
        "http://example.org/\u2028",
        "http://example.org:80:80/",
        "http://example.org:8O/",
        "http://example.org:٨٠/",
        "http://example.org:-1/",
        "http://example.org:123456/",
        "http://2130706433/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://127.0.0.01/",
        "http://127.0.0.0x1/",
        "http://256.256.256.256/",
        "http://1.2.3.4.5/",
        "http://example.0x/",
        "http://127。0。0。1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "http://[::1/",
        "http://::1/",
        "http://[::1]x/",
        "http://[fe80::1%25eth0]/",
        "http://[v1.x]/",
        "http://%31%32%37.0.0.1/",
        "http://exa_mple..org/",
        "http://-example.org/",
        "http://example.org:\u200b80/",
        "http://exam\u00adple.org/",
        "http://" + "a" * 64 + ".org/",
        "http://" + "a." * 130 + "org/",
        "http://example.org/" + "a" * 5000,
    ],
)
def test_an_odd_url_is_refused(url: str):
    with pytest.raises(FetchRefused):
        read_url(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("http://example.org:80/", "http://example.org/"),
        ("http://example.org:/", "http://example.org/"),
        ("https://example.org:443/a#part", "https://example.org/a"),
        ("https://example.org:8443/a", "https://example.org:8443/a"),
        ("http://example.org?q=1", "http://example.org/?q=1"),
        ("http://example.org./", "http://example.org/"),
        ("http://example.org//double//slash", "http://example.org//double//slash"),
        ("https://münchen.de/straße?q=ä", "https://xn--mnchen-3ya.de/stra%C3%9Fe?q=%C3%A4"),
        ("https://example.org/100%25/a%2Fb", "https://example.org/100%25/a%2Fb"),
        ("http://[2606:4700:0::1111]:8080/", "http://[2606:4700::1111]:8080/"),
        ('http://example.org/"<a>', "http://example.org/%22%3Ca%3E"),
    ],
)
def test_a_url_is_brought_into_one_spelling(url: str, expected: str):
    assert read_url(url).url == expected


def test_a_password_in_a_url_is_named_as_the_reason_and_not_repeated():
    with pytest.raises(FetchRefused, match="user name or a password") as caught:
        read_url("https://me:hunter2@example.org/")
    assert "hunter2" not in str(caught.value)


def test_an_address_in_brackets_that_carries_another_is_refused_by_default():
    rules = AddressRules(ports=[80])
    for url in ("http://[::ffff:127.0.0.1]/", "http://[::1]/", "http://[64:ff9b::7f00:1]/", "http://127.0.0.1/"):
        with pytest.raises(FetchRefused, match="not on the public internet"):
            rules.check_target(read_url(url))


def test_a_port_that_is_not_listed_is_refused():
    with pytest.raises(FetchRefused, match="port 22 "):
        AddressRules(ports=[80, 443]).check_target(read_url("http://8.8.8.8:22/"))


def test_one_private_address_among_public_ones_is_enough_to_refuse_a_name():
    with pytest.raises(FetchRefused) as caught:
        AddressRules(ports=[80]).check_addresses("example.org", ["8.8.8.8", "10.1.2.3"])
    assert "10.1.2.3" not in str(caught.value)


def test_a_name_without_addresses_is_refused():
    with pytest.raises(FetchRefused):
        AddressRules(ports=[80]).check_addresses("example.org", [])


def test_an_allowed_network_opens_its_addresses_and_no_others():
    rules = AddressRules(ports=[80], allow_private=["10.1.0.0/16", "fd00:1::/32"])
    rules.check_addresses("wiki.corp", ["10.1.2.3", "fd00:1::5", "8.8.8.8"])
    for address in ("10.2.0.1", "127.0.0.1", "::ffff:10.1.2.3", "fd00:2::1", "fd00:1::5%eth0"):
        with pytest.raises(FetchRefused):
            rules.check_addresses("wiki.corp", [address])


def test_an_allowed_name_opens_private_addresses_but_not_those_where_clouds_keep_secrets():
    rules = AddressRules(ports=[80], allow_private=["Wiki.Corp"])
    rules.check_addresses("wiki.corp", ["10.1.2.3", "fd00:1::5", "127.0.0.1", "::1"])
    for address in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "::ffff:10.1.2.3", "2002:a01:203::1"):
        with pytest.raises(FetchRefused):
            rules.check_addresses("wiki.corp", [address])
    with pytest.raises(FetchRefused):
        rules.check_addresses("other.corp", ["10.1.2.3"])


@pytest.mark.parametrize("entry", ["10.1.0.1/16", "*.corp", "http://wiki.corp", "", "10.0.0.0/33", "wiki.corp:80"])
def test_an_entry_of_the_allowlist_that_means_nothing_is_named(entry: str):
    with pytest.raises(ValueError, match="neither a network"):
        AddressRules(ports=[80], allow_private=[entry])


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("/other", "https://example.org/other"),
        ("other?x#y", "https://example.org/a/other?x"),
        ("//cdn.example.org/x", "https://cdn.example.org/x"),
        ("http://[::1]/", "http://[::1]/"),
    ],
)
def test_a_reference_is_relative_to_its_page(reference: str, expected: str):
    assert read_reference(reference, base=read_url("https://example.org/a/b")).url == expected


@pytest.mark.parametrize(
    "reference", ["http://[", "http://[x]/", "\\\\internal\\x", "http://a@b/", "file:///x", "/a\nb"]
)
def test_an_odd_reference_is_refused(reference: str):
    with pytest.raises(FetchRefused):
        read_reference(reference, base=read_url("https://example.org/"))


def test_what_is_shown_of_a_url_holds_no_query():
    assert "secret" not in read_url("https://example.org/a?token=secret").shown
