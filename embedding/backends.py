"""Which engine runs the embedding model: ONNX Runtime where it can be exported, once, else sentence-transformers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from config.machine import cores
from config.settings import Settings
from embedding.encoders import Encoder, OnnxEncoder, export_kind
from embedding.errors import EmbeddingModelNotFound, ExportersMissing
from embedding.exports import missing_exporters, own_folder
from embedding.files import quantization_of
from embedding.onnx_model import OnnxModel

if TYPE_CHECKING:
    from pathlib import Path

    from embedding.encoders import EmbeddingRecipe
    from embedding.exports import Export, ExportKind
    from embedding.files import ModelFiles

_log = structlog.get_logger(__name__)


def load_encoder(files: ModelFiles, *, settings: Settings) -> tuple[Encoder, str]:
    """Load the model, ready to be called the fastest way; return it with the name of the backend that runs it.

    Raises:
        EmbeddingModelNotFound: this backend cannot run it.

    """
    wanted = settings.embedding
    backend = wanted.backend
    if backend in {"auto", "onnx"} or quantization_of(wanted) == "int8":  # an older generation's may be int8
        try:
            return _load_export(files, settings=settings), "onnx"
        except ExportersMissing:
            raise
        except Exception as exc:  # exporters raise anything; the message goes to the operator
            if backend == "onnx" or quantization_of(wanted) != "none":
                msg = f"{files.name} cannot be run with ONNX: {exc}; set FOOTNOTE_EMBEDDING__BACKEND=torch"
                raise EmbeddingModelNotFound(msg) from exc
            _log.warning("no ONNX export, torch runs the model", model=files.name, error=type(exc).__name__)
            backend = "torch"
    if missing := missing_exporters():
        msg = (
            f"sentence-transformers has to run {files.name} with {backend}, and {', '.join(missing)} are not here: "
            "install Footnote's extra `hub`"
        )
        raise EmbeddingModelNotFound(msg)
    try:
        from embedding.library import open_library_encoder

        return open_library_encoder(files, settings=wanted, backend=backend, threads=_threads(settings)), backend
    except Exception as exc:  # see above
        msg = f"{files.name} cannot be run with {backend}: {exc}"
        raise EmbeddingModelNotFound(msg) from exc


def export_into(folder: Path, files: ModelFiles, *, settings: Settings) -> Export[EmbeddingRecipe]:
    """Export the model into a folder of exports, unless one that fits is there; raises whatever exporters raise.

    Where it is to be quantized, what it is made of stays beside it: older collections may have been built with that.
    """
    full = _full(files).made(folder, partial(_export, files))
    if quantization_of(settings.embedding) == "none":
        return full
    return _int8(files).made(folder, partial(_quantize, full))


def _full(files: ModelFiles) -> ExportKind[EmbeddingRecipe]:
    return export_kind(files.name, files.revision, int8=False)


def _int8(files: ModelFiles) -> ExportKind[EmbeddingRecipe]:
    return export_kind(files.name, files.revision, int8=True)


def _export(files: ModelFiles, target: Path) -> EmbeddingRecipe | None:
    from embedding.library import export_model

    return export_model(files, target)


def _quantize(full: Export[EmbeddingRecipe], target: Path) -> EmbeddingRecipe | None:
    from embedding.quantizing import quantize

    return quantize(full, target)


def _found_or_made(kind: ExportKind[EmbeddingRecipe], files: ModelFiles, settings: Settings) -> Export[EmbeddingRecipe]:
    if kind != _int8(files):
        return kind.found_or_made(settings, partial(_export, files))
    if (found := kind.find(settings)) is not None:
        return found
    full = _full(files).found_or_made(settings, partial(_export, files))
    return kind.made(own_folder(settings), partial(_quantize, full))


def _load_export(files: ModelFiles, *, settings: Settings) -> Encoder:
    wanted = settings.embedding
    is_int8 = quantization_of(wanted) == "int8"
    kind = _int8(files) if is_int8 else _full(files)
    export = _found_or_made(kind, files, settings)
    if export.recipe is None:
        from embedding.library import open_library_encoder

        return open_library_encoder(
            files,
            settings=wanted,
            backend="onnx",
            threads=_threads(settings),
            export=export.directory,
            onnx_file=kind.onnx_file,
        )
    prompts = {"query": wanted.query_instruction, "text": wanted.text_instruction}
    return OnnxEncoder(
        OnnxModel(export.directory, onnx_file=kind.onnx_file, recipe=export.recipe),
        recipe=export.recipe,
        prompts={name: prompt for name, prompt in prompts.items() if prompt},
        normalize=wanted.normalize,
        threads=_threads(settings),
        # activations are quantized by the range of a whole call: one text a call, or vectors depend on their company
        batch_size=1 if is_int8 else wanted.batch_size,
    )


def _threads(settings: Settings) -> int:
    return settings.embedding.threads or cores()
