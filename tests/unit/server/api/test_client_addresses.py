"""Who a request is from, behind proxies that are trusted and others."""

from __future__ import annotations

import pytest

from config.settings import ServerSettings
from server.api.client_addresses import ClientAddresses

PROXIES = ("10.0.0.0/8", "::1", "2001:db8::/32")


def told(peer: str | None, *headers: str, trusted: tuple[str, ...] = PROXIES) -> str:
    scope = {
        "client": None if peer is None else (peer, 4711),
        "headers": [(b"forwarded", b"for=6.6.6.6"), (b"x-real-ip", b"6.6.6.6")]
        + [(b"x-forwarded-for", value.encode("latin-1")) for value in headers],
    }
    return ClientAddresses(trusted).of(scope)


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("10.1.2.3", ("1.1.1.1",), "1.1.1.1"),
        ("::ffff:10.1.2.3", ("1.1.1.1",), "1.1.1.1"),
        ("::1", ("1.1.1.1, 10.9.9.9",), "1.1.1.1"),
        ("10.1.2.3", ("1.1.1.1", "10.9.9.9"), "1.1.1.1"),
        ("10.1.2.3", ("6.6.6.6, 1.1.1.1",), "1.1.1.1"),
        ("10.1.2.3", ("6.6.6.6", "1.1.1.1, 10.2.2.2"), "1.1.1.1"),
        ("10.1.2.3", ("1.1.1.1:5000",), "1.1.1.1"),
        ("10.1.2.3", ('"[2001:dead::1]:443"',), "2001:dead::1"),
        ("10.1.2.3", ("2001:dead::1",), "2001:dead::1"),
        ("10.1.2.3", ("::ffff:1.1.1.1",), "1.1.1.1"),
        ("10.1.2.3", ("10.4.4.4",), "10.4.4.4"),
        ("10.1.2.3", (), "10.1.2.3"),
        ("10.1.2.3", ("",), "10.1.2.3"),
        ("10.1.2.3", ("6.6.6.6, unknown",), "10.1.2.3"),
        ("10.1.2.3", ("6.6.6.6, _hidden, 10.2.2.2",), "10.2.2.2"),
        ("10.1.2.3", ("6.6.6.6,",), "10.1.2.3"),
        ("10.1.2.3", ("\xff\xfe",), "10.1.2.3"),
        ("1.2.3.4", ("6.6.6.6",), "1.2.3.4"),
        ("11.0.0.1", ("10.0.0.1",), "11.0.0.1"),
        ("testclient", ("6.6.6.6",), "testclient"),
        (None, ("6.6.6.6",), ""),
    ],
)
def test_only_what_trusted_proxies_wrote_is_believed(peer: str | None, headers: tuple[str, ...], address: str) -> None:
    assert told(peer, *headers) == address


def test_without_trusted_proxies_the_header_is_not_looked_at() -> None:
    assert told("10.1.2.3", "6.6.6.6", trusted=()) == "10.1.2.3"
    assert told("127.0.0.1", "6.6.6.6", trusted=()) == "127.0.0.1"


def test_a_header_of_thousands_of_names_is_read_from_its_end_and_no_further() -> None:
    assert told("10.1.2.3", "6.6.6.6," * 10_000 + "1.1.1.1") == "1.1.1.1"
    assert told("10.1.2.3", "6.6.6.6," + "10.0.0.7," * 10_000 + "10.0.0.8") == "10.0.0.7"


@pytest.mark.parametrize("bad", ["10.0.0.1/8", "proxy.internal", "*", "10.0.0.0/33", "1.2.3"])
def test_what_is_no_network_is_no_proxy(bad: str) -> None:
    with pytest.raises(ValueError, match="each entry is an address"):
        ServerSettings(trusted_proxies=bad)  # type: ignore[arg-type] # as the environment has it


def test_networks_come_from_the_environment_with_commas_between() -> None:
    read = ServerSettings(trusted_proxies="10.0.0.0/8, ::1")  # type: ignore[arg-type]
    assert read.trusted_proxies == ("10.0.0.0/8", "::1/128")
