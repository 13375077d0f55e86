"""What the claims of a token, whose signature was checked, say about who sends it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from config.settings import AuthSettings
from server.errors import Unauthenticated
from server.principal import ADMIN, SCOPES, Principal
from storage.caller import Caller
from storage.generation import DEFAULT_TENANT, NAME_PATTERN

_NOT_IN_NAMES = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
NAME = rf"[^\s{_NOT_IN_NAMES}](?:[^{_NOT_IN_NAMES}]*[^\s{_NOT_IN_NAMES}])?"
"""One line of text, with no space around it."""

MAX_SUBJECT = 255
MAX_GROUPS = 1000
MAX_GROUP = 255


def principal_of(claims: Mapping[str, Any], settings: AuthSettings) -> Principal:
    """Return who a token stands for.

    Raises:
        Unauthenticated: a claim is missing, or has not the form that it must have.

    """
    scopes = _scopes(claims, settings)
    caller = Caller(
        tenant=_tenant(claims, settings.jwt_tenant_claim),
        subject=_subject(claims, settings.jwt_subject_claim),
        groups=_groups(claims, settings.jwt_groups_claim),
        sees_all=ADMIN in scopes,
    )
    return Principal(caller, scopes)


def claim(claims: Mapping[str, Any], path: str) -> object:
    """Return a claim by its name, which may have dots, else by its path: ``realm_access.roles``; None: it is absent."""
    if path in claims:
        return claims[path]
    found: object = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def is_name(value: object, longest: int) -> bool:
    """Tell whether a value is a text that can name a subject or a group."""
    if not isinstance(value, str) or len(value) > longest or re.fullmatch(NAME, value) is None:
        return False
    return not any("\ud800" <= char <= "\udfff" for char in value)  # JSON may hold halves of pairs


def _tenant(claims: Mapping[str, Any], path: str | None) -> str:
    if path is None:
        return DEFAULT_TENANT
    tenant = claim(claims, path)
    if not isinstance(tenant, str) or re.fullmatch(NAME_PATTERN, tenant) is None:
        msg = "the token names no tenant, or none that can be one"
        raise Unauthenticated(msg)
    return tenant


def _subject(claims: Mapping[str, Any], path: str) -> str:
    subject = claim(claims, path)
    if not is_name(subject, MAX_SUBJECT):
        msg = "the token names no subject, or none that can be one"
        raise Unauthenticated(msg)
    return str(subject)


def _groups(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    groups = claim(claims, path)
    listed = [groups] if isinstance(groups, str) else [] if groups is None else groups
    if not isinstance(listed, list) or len(listed) > MAX_GROUPS or not all(is_name(each, MAX_GROUP) for each in listed):
        msg = f"the token's groups are no list of at most {MAX_GROUPS} names"
        raise Unauthenticated(msg)
    return tuple(dict.fromkeys(listed))


def _scopes(claims: Mapping[str, Any], settings: AuthSettings) -> frozenset[str]:
    scopes = claim(claims, settings.jwt_scopes_claim)
    listed = scopes.split(" ") if isinstance(scopes, str) else scopes if isinstance(scopes, list) else []
    own = {each for each in listed if isinstance(each, str)} | {*settings.jwt_default_scopes}
    return frozenset(own & SCOPES.keys())
