"""An identity provider for tests: its keys, as JWKS, and the tokens that it signs."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

ISSUER, AUDIENCE = "https://login.example/realm", "footnote"


@dataclass
class Issuer:
    """An issuer with one key of each kind; their ids are ``rsa``, ``ec`` and ``ed``."""

    issuer: str = ISSUER
    keys: dict[str, Any] = field(
        default_factory=lambda: {
            "rsa": rsa.generate_private_key(public_exponent=65_537, key_size=2048),
            "ec": ec.generate_private_key(ec.SECP256R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        }
    )

    def token(self, algorithm: str = "RS256", *, kid: str | None = "", headers: Any = None, **claims: Any) -> str:
        """Sign a token; a claim that is None is left out."""
        name = {"R": "rsa", "P": "rsa", "E": "ec"}[algorithm[0]] if algorithm != "EdDSA" else "ed"
        header = {**({} if kid is None else {"kid": kid or name}), **(headers or {})}
        return jwt.encode(self.claims(**claims), self.keys[name], algorithm=algorithm, headers=header)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return what a good token says, with changes."""
        now = int(time.time())
        good = {"iss": self.issuer, "aud": AUDIENCE, "sub": "ada", "exp": now + 600, "iat": now, "scope": "query"}
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def jwk(self, name: str, **members: Any) -> dict[str, Any]:
        """Return the public half of a key, as JWKS have it."""
        algorithm = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}[name]
        key = get_default_algorithms()[algorithm].to_jwk(self.keys[name].public_key(), as_dict=True)
        return {**key, "kid": name, "use": "sig", **members}

    def jwks(self, *names: str) -> bytes:
        """Return the JWKS document, of all keys or those named."""
        return json.dumps({"keys": [self.jwk(name) for name in names or self.keys]}).encode()


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """Put a token together by hand."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
