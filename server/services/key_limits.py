"""Whoever makes a key, or changes its limits, gives it no more than he has himself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from config.settings import LimitSettings, overridden_where_valid
from server.errors import Forbidden
from server.limits.effective import KEY, checked_key_limits
from server.principal import ADMIN, TENANTS, Principal

if TYPE_CHECKING:
    from storage.access.keys import ApiKey

NAMES = tuple(name for name in LimitSettings.model_fields if name.startswith(KEY))


def inherited(wanted: Mapping[str, object] | None, *, by: Principal) -> dict[str, object]:
    """Return the limits of a new key: those that are asked for, and those of the key that asks for the rest.

    Raises:
        ValueError: one is none.

    """
    own = {} if by.may(TENANTS) else dict(by.limits)
    return checked_key_limits({**own, **(wanted or {})})


def require_no_more(own: Mapping[str, object], *, by: Principal, of_tenant: LimitSettings) -> None:
    """Raise `Forbidden` where a key would have a higher limit than the one that asks.

    Administrators may go beyond what holds for all keys, `of_tenant`, but not beyond what their own key was given;
    whoever has `tenants` may give any.
    """
    if by.may(TENANTS):
        return
    mine, made = overridden_where_valid(of_tenant, by.limits), overridden_where_valid(of_tenant, own)
    for name in NAMES:
        if by.is_admin and name not in by.limits:
            continue
        most, given = getattr(mine, name), getattr(made, name)
        if most is not None and (given is None or given > most):
            raise Forbidden(ADMIN, f"{name}: the key would have more than the one that asks, which has {most}")


def changed(key: ApiKey, limits: Mapping[str, object]) -> dict[str, object]:
    """Return a key's own limits with some replaced, those that are stored and none left out."""
    stored = {name: value for name, value in key.limits.items() if name in NAMES}
    return {**stored, **limits}
