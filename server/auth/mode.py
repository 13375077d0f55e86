"""Whether requests need a key or a token."""

from __future__ import annotations

from ipaddress import ip_address

from config.errors import FootnoteError
from config.settings import Settings


class ModeUnset(FootnoteError):
    """The server listens where others reach it, and nobody has said whether they may use it."""

    slug = "internal"


def is_required(settings: Settings) -> bool:
    """Tell whether requests need a key or a token.

    Raises:
        ModeUnset: the setting is not set, and the server listens on more than a loopback address.

    """
    host = settings.server.host
    if settings.auth.mode is not None:
        return settings.auth.mode == "required"
    if not _is_loopback(host):
        msg = (
            f"FOOTNOTE_SERVER__HOST is {host}, where other machines reach the server: set FOOTNOTE_AUTH__MODE=required "
            "and FOOTNOTE_AUTH__BOOTSTRAP_KEY to make the first keys with; or FOOTNOTE_AUTH__MODE=off if everybody who "
            "reaches it may do everything (docs/authentication.md)"
        )
        raise ModeUnset(msg)
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"
