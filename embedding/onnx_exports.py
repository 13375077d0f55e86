"""Exports of models to ONNX, made once and kept; the embedding model's and a reranker's alike."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ONNX_FILE = "onnx/model.onnx"


@contextmanager
def kept_export(target: Path) -> Iterator[Path]:
    """Give a folder to export into, and make it `target` at the end.

    It lies beside the target and is renamed: two processes may export at once, and one may be killed.
    """
    for library in ("sentence_transformers", "transformers"):  # they advise to keep the export, which is what we do
        logging.getLogger(library).setLevel(logging.ERROR)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="exporting-") as scratch:
        yield Path(scratch)
        Path(scratch).chmod(0o755)
        try:
            Path(scratch).rename(target)
        except OSError:
            if not (target / ONNX_FILE).exists():  # nobody else was quicker
                raise
        else:
            Path(scratch).mkdir()  # for TemporaryDirectory to remove
