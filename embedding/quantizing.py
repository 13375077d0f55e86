"""Quantization: from an export of 32-bit floats one of 8-bit integers, which is faster and a quarter of the size."""

from __future__ import annotations

import shutil
from pathlib import Path

from embedding.encoders import EmbeddingRecipe
from embedding.exports import INT8_FILE, ONNX_FILE, RECORD, Export


def quantize(export: Export[EmbeddingRecipe], target: Path) -> EmbeddingRecipe | None:
    """Write the quantized model into an empty directory; return the recipe. Raises whatever onnxruntime raises.

    Weights are signed integers of 7 bits, scaled by channel; activations are quantized as they come. Seven bits,
    since CPUs without VNNI add two products in 16 bits and would saturate with eight: so all kinds of CPU give the
    same results (onnxruntime's documentation, "When and why do I need to try U8U8?").
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shutil.copytree(
        export.directory, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(Path(ONNX_FILE).name, RECORD)
    )
    quantize_dynamic(
        export.directory / ONNX_FILE,
        target / INT8_FILE,
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
    return export.recipe
