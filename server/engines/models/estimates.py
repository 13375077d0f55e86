"""How many tokens a text has, where nobody counts them."""

from __future__ import annotations

import re
from math import ceil

CHARACTERS_A_TOKEN = 3.0  # of Latin script: fewer than any tokenizer has for prose, so that a prompt never overflows
_SINGLE = re.compile(r"[0-9|]| (?=[0-9])")  # what many tokenizers make a token of each; tables are full of it
_OTHER_SCRIPTS = re.compile(r"[\u0370-\u1dff\u2c00-\u2dff]")  # with letters: Greek to Khmer
_WIDE = re.compile(r"[\u2e80-\U0003ffff]")  # characters that are words or syllables, and pictures


def estimated_tokens(text: str) -> int:
    """Return at least as many tokens as a common model's tokenizer makes of prose and tables, by their scripts.

    A third of a token a character in Latin script, two thirds in other alphabets, one and a quarter in Chinese,
    Japanese and Korean, one for a digit and for the blank before a number.
    """
    wide = other = 0
    single = len(_SINGLE.findall(text))
    if not text.isascii():
        wide, other = len(_WIDE.findall(text)), len(_OTHER_SCRIPTS.findall(text))
    return ceil(1.25 * wide + single + (2 * other + len(text) - wide - other - single) / CHARACTERS_A_TOKEN)
