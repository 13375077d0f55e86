"""The small parts of authentication: keys as text, the mode, failed logins."""

from __future__ import annotations

import pytest

from config.settings import AuthSettings, ServerSettings, Settings
from server.auth.failures import MOST_ADDRESSES, FailedLogins, network_of
from server.auth.key_text import KeyText
from server.auth.mode import ModeUnset, is_required


def test_a_key_is_read_as_it_was_written() -> None:
    for _ in range(200):
        text = KeyText.new()
        assert KeyText.parse(str(text)) == text
        assert str(text).startswith(f"fn_{text.id}_")
        assert text.secret not in repr(text)


def test_every_typing_error_is_seen() -> None:
    text = str(KeyText.new())
    for place in range(len(text)):
        for char in "a0Z_":
            mistyped = text[:place] + char + text[place + 1 :]
            assert mistyped == text or KeyText.parse(mistyped) is None
    assert KeyText.parse(text + "a") is None
    assert KeyText.parse(text[:-1]) is None
    assert KeyText.parse(text + "\n") is None
    assert KeyText.parse(text.upper()) is None
    assert KeyText.parse("") is None


def test_another_secret_for_the_same_key_has_its_id() -> None:
    text = KeyText.new()
    other = KeyText.new(text.id)
    assert other.id == text.id
    assert other.secret_hash != text.secret_hash


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost", "LOCALHOST."])
def test_on_loopback_authentication_is_off_until_it_is_asked_for(host: str) -> None:
    settings = Settings(server=ServerSettings(host=host), _env_file=None)
    assert not is_required(settings)
    assert is_required(settings.model_copy(update={"auth": AuthSettings(mode="required")}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "footnote.example", "", "localhost.evil.example"])
def test_anywhere_else_somebody_has_to_choose(host: str) -> None:
    settings = Settings(server=ServerSettings(host=host), _env_file=None)
    with pytest.raises(ModeUnset, match="FOOTNOTE_AUTH__MODE=required"):
        is_required(settings)
    assert not is_required(settings.model_copy(update={"auth": AuthSettings(mode="off")}))
    assert is_required(settings.model_copy(update={"auth": AuthSettings(mode="required")}))


def test_failures_are_forgiven_at_an_even_pace() -> None:
    now = 0.0
    failures = FailedLogins(a_minute=6, clock=lambda: now)
    for _ in range(6):
        assert failures.wait("10.0.0.1") == 0
        failures.add("10.0.0.1")
    assert failures.wait("10.0.0.1") == pytest.approx(10)
    assert failures.wait("10.0.0.2") == 0
    now = 11.0
    assert failures.wait("10.0.0.1") == 0
    failures.add("10.0.0.1")
    assert failures.wait("10.0.0.1") > 0
    now = 1000.0
    for _ in range(6):
        assert failures.wait("10.0.0.1") == 0
        failures.add("10.0.0.1")
    assert failures.wait("10.0.0.1") > 0


def test_addresses_take_bounded_memory() -> None:
    failures = FailedLogins(a_minute=1)
    for number in range(MOST_ADDRESSES + 500):
        failures.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(failures._buckets) == MOST_ADDRESSES


def test_an_ipv6_network_is_one_address() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1") == "10.0.0.1"
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("") == network_of("unix") == ""
