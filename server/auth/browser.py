"""What a browser keeps: while somebody signs in, and afterwards."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass

LONGEST = 4096
"""Characters of what it keeps while somebody signs in."""

LONGEST_TOKEN = 12_000
"""Characters of a token that it keeps, in several cookies."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What the browser keeps while somebody signs in: it proves that the one who comes back is the one who left."""

    state: str
    nonce: str
    verifier: str

    def encoded(self) -> str:
        """Return it for a cookie."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")

    @classmethod
    def decoded(cls, text: str | None) -> Pending | None:
        """Read it from a cookie; None where it is none."""
        if not text or len(text) > LONGEST:
            return None
        try:
            read = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            pending = cls(read["state"], read["nonce"], read["verifier"])
        except (ValueError, KeyError, TypeError):
            return None
        return pending if all(isinstance(each, str) for each in asdict(pending).values()) else None
