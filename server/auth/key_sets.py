"""The keys of an identity provider (JWKS, RFC 7517), as far as signatures can be checked with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

MAX_BYTES = 262_144
MAX_KEYS = 100
RSA_BITS = range(2048, 8193)
"""Shorter ones are broken, longer ones take long."""

_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
_log = structlog.get_logger(__name__)


class InvalidKeySet(ValueError):
    """A document is no JWKS."""


class KeySet:
    """Public keys by id. Symmetric keys are left out: a document that is published holds no secret."""

    def __init__(self, keys: Sequence[Mapping[str, Any]]) -> None:
        self._keys = keys
        self._made: dict[tuple[int, str], PyJWK | None] = {}

    @classmethod
    def parse(cls, document: bytes) -> KeySet:
        """Read a JWKS document.

        Raises:
            InvalidKeySet: it is none; the message says why.

        """
        if len(document) > MAX_BYTES:
            msg = f"it is longer than {MAX_BYTES} bytes"
            raise InvalidKeySet(msg)
        keys = read_object(document).get("keys")
        if not isinstance(keys, list) or len(keys) > MAX_KEYS:
            msg = f"it has no list `keys` of at most {MAX_KEYS}"
            raise InvalidKeySet(msg)
        usable = [{name: key[name] for name in key if name not in _PRIVATE} for key in keys if _is_public(key)]
        if not usable:
            msg = "none of its keys is an RSA, EC or OKP one for signatures"
            raise InvalidKeySet(msg)
        return cls(usable)

    def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """Return the key with an id, for an algorithm; without an id the only one that fits."""
        fitting = [place for place, key in enumerate(self._keys) if _fits(key, algorithm)]
        if key_id is not None:
            fitting = [place for place in fitting if self._keys[place].get("kid") == key_id][:1]
        return self._made_of(fitting[0], algorithm) if len(fitting) == 1 else None

    def _made_of(self, place: int, algorithm: str) -> PyJWK | None:
        if (place, algorithm) not in self._made:
            self._made[place, algorithm] = _key(self._keys[place], algorithm)
        return self._made[place, algorithm]


def read_object(document: bytes) -> Mapping[str, Any]:
    """Return a JSON object.

    Raises:
        InvalidKeySet: the document is none.

    """
    try:
        read = json.loads(document)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        msg = "it is no JSON object"
        raise InvalidKeySet(msg)
    return read


def _is_public(key: object) -> bool:
    return isinstance(key, dict) and _is_in(key, "kty", ("RSA", "EC", "OKP")) and _is_in(key, "use", (None, "sig"))


def _is_in(key: Mapping[str, Any], name: str, values: Sequence[str | None]) -> bool:
    return any(key.get(name) == value for value in values)  # a member may be anything, a list too


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    if not _is_in(key, "alg", (None, algorithm)):
        return False
    operations = key.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return False
    if algorithm.startswith(("RS", "PS")):
        return bool(key["kty"] == "RSA")
    kind = "OKP" if algorithm == "EdDSA" else "EC"
    return (key["kty"], key.get("crv")) == (kind, _CURVES.get(algorithm, ""))


def _key(key: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    try:
        made = PyJWK(dict(key), algorithm=algorithm)
    except (PyJWTError, ValueError, TypeError, AttributeError, OverflowError) as exc:
        _log.warning("a key of the issuer cannot be used", error=type(exc).__name__)
        return None
    if isinstance(made.key, RSAPublicKey) and made.key.key_size not in RSA_BITS:
        _log.warning("a key of the issuer has an unsafe length", bits=made.key.key_size)
        return None
    return made
