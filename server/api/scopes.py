"""Which scope a route needs: a mark on its endpoint. A route without one refuses everybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from server.principal import SCOPES

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
MARK = "footnote_access"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route: whoever has one of `scopes`; without any whoever is known; if `is_open`, anybody.

    Attributes:
        tells_more: an open route tells whoever is known more; on others nobody's key is looked at.
        shows_page: open to whoever would rather have the page than JSON (`server.api.page.wants_page`).

    """

    scopes: tuple[str, ...] = ()
    is_open: bool = False
    tells_more: bool = False
    shows_page: bool = False


OPEN = Access(is_open=True)
OPEN_TELLS_MORE = Access(is_open=True, tells_more=True)
KNOWN = Access()
KNOWN_OR_PAGE = Access(shows_page=True)


def needs(*scopes: str) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint: whoever calls it needs one of these scopes; the first is named where none is there."""
    if unknown := set(scopes) - SCOPES.keys():
        raise ValueError(unknown)
    return marked(Access(scopes))


def marked(access: Access) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, MARK, access)
        return endpoint

    return mark


def access_of(endpoint: object) -> Access | None:
    """Return an endpoint's mark; None: it has none, and refuses everybody."""
    access = getattr(endpoint, MARK, None)
    return access if isinstance(access, Access) else None
