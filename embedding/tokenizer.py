"""The embedding model's tokenizer, loaded once a process: it counts what the model, or a model like it, will read."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@lru_cache(maxsize=4)
def load_tokenizer(file: str) -> Tokenizer:
    """Return the tokenizer of a ``tokenizer.json``, which neither cuts nor pads."""
    from tokenizers import Tokenizer

    tokenizer: Tokenizer = Tokenizer.from_file(file)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
