"""The words of a text, for comparing what was read with what is there."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]{4,}")


def words(text: str) -> frozenset[str]:
    """Return the words of four letters and digits at least; shorter ones are in names and marks, too."""
    return frozenset(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
