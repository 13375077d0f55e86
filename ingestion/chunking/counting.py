"""Counting tokens of many texts; rows of tables are counted twice, to repeat headers and to pack, so they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingestion.chunking.packing import CHARS_PER_TOKEN

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BATCH = 2048  # texts tokenized at once: each takes memory for its tokens
_KEPT = 20_000  # texts


class Counts:
    """Counts tokens with an embedding model's tokenizer, truncation and padding switched off.

    Args:
        tokenizer: the model's.
        max_tokens: what the model reads at once; of a text that is much longer the rest is estimated.

    """

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._longest = max_tokens * CHARS_PER_TOKEN
        self._kept: dict[str, int] = {}
        # tokens never span a blank, so that the counts of sentences add up
        self.are_additive = type(tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"

    def of(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text, without those that the model adds."""
        if not self._kept:
            return self._counted(texts)
        unknown = [text for text in texts if text not in self._kept]
        counted = iter(self._counted(unknown))
        return [self._kept[text] if text in self._kept else next(counted) for text in texts]

    def kept(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text, and keep them."""
        sizes = self.of(texts)
        if len(self._kept) < _KEPT:
            self._kept.update(zip(texts, sizes, strict=True))
        return sizes

    def _counted(self, texts: Sequence[str]) -> list[int]:
        sizes: list[int] = []
        for first in range(0, len(texts), _BATCH):
            batch = texts[first : first + _BATCH]
            # too long for any chunk: not tokenized, as its parts will be
            cut = [text[: self._longest] for text in batch]
            encodings = self._tokenizer.encode_batch_fast(cut, add_special_tokens=False)
            sizes += [max(len(e), len(text) // CHARS_PER_TOKEN) for e, text in zip(encodings, batch, strict=True)]
        return sizes
