"""An API key as text: ``fn_<id>_<secret>``, whose last six characters are a checksum.

The checksum lets anybody tell a key from a typing error, and secret scanners a key from other text, without a database.
It keeps nothing secret.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import Self

ID_LENGTH = 12
SECRET_LENGTH = 32
"""Characters without the checksum; of 62 each, so 190 bits."""

CHECKSUM_LENGTH = 6
PREFIX = "fn_"
_ID = string.ascii_lowercase + string.digits
_SECRET = string.ascii_letters + string.digits
_KEY = re.compile(rf"fn_([a-z0-9]{{{ID_LENGTH}}})_([A-Za-z0-9]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}})")


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key's two parts; `secret` includes the checksum."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls, key_id: str | None = None) -> Self:
        """Return a new key, or a new secret for an old one."""
        key_id = key_id or _random(_ID, ID_LENGTH)
        secret = _random(_SECRET, SECRET_LENGTH)
        return cls(key_id, secret + _checksum(key_id, secret))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the parts of a key; None where it is none, or mistyped."""
        match = _KEY.fullmatch(text)
        if match is None:
            return None
        key_id, secret = match.groups()
        is_whole = secret[SECRET_LENGTH:] == _checksum(key_id, secret[:SECRET_LENGTH])
        return cls(key_id, secret) if is_whole else None

    def __str__(self) -> str:
        """Return the key."""
        return f"{PREFIX}{self.id}_{self.secret}"

    @property
    def secret_hash(self) -> bytes:
        """SHA-256 of the secret; it has 190 random bits, so that no slower hash is needed."""
        return hashlib.sha256(self.secret.encode()).digest()


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _checksum(key_id: str, secret: str) -> str:
    number, digits = zlib.crc32(f"{PREFIX}{key_id}_{secret}".encode()), ""
    while len(digits) < CHECKSUM_LENGTH:
        number, digit = divmod(number, len(_SECRET))
        digits += _SECRET[digit]
    return digits
