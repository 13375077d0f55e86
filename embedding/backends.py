"""The engines that run the embedding model; ONNX where the model can be exported, once, into the data directory."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import structlog
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.embeddings.huggingface.utils import (
    get_query_instruct_for_model_name,
    get_text_instruct_for_model_name,
)

from config.settings import EmbeddingSettings, Settings
from embedding.encoders import Encoder, LibraryEncoder, onnx_encoder
from embedding.errors import EmbeddingModelNotFound
from embedding.files import ModelFiles
from embedding.onnx_exports import ONNX_FILE, kept_export

INT8_FILE = "onnx/model_quint8.onnx"
_log = structlog.get_logger(__name__)


def load_encoder(files: ModelFiles, *, settings: Settings) -> tuple[Encoder, str]:
    """Load the model, ready to be called the fastest way; return it with the name of the backend that runs it.

    Raises:
        EmbeddingModelNotFound: this backend cannot run it.

    """
    wanted = settings.embedding
    threads = wanted.threads or len(os.sched_getaffinity(0))
    if wanted.backend in {"auto", "onnx"}:
        model, backend = load_model(files, settings=settings, threads=1)
        direct = backend == "onnx" and onnx_encoder(model, threads=threads, batch_size=wanted.batch_size)
        if direct:
            return direct, backend
        if backend == "torch" or threads == 1:
            return _through_library(model, settings=wanted, backend=backend), backend
    model, backend = load_model(files, settings=settings)
    return _through_library(model, settings=wanted, backend=backend), backend


def _through_library(model: HuggingFaceEmbedding, *, settings: EmbeddingSettings, backend: str) -> LibraryEncoder:
    return LibraryEncoder(
        model._model,  # noqa: SLF001 (HuggingFaceEmbedding has no public way to it)
        normalize=settings.normalize,
        batch_size=settings.batch_size,
        on_cpu=backend != "torch" or settings.device == "cpu",
        only_pools=backend != "torch",
    )


def load_model(
    files: ModelFiles, *, settings: Settings, threads: int | None = None
) -> tuple[HuggingFaceEmbedding, str]:
    """Load the model; return it with the name of the backend that runs it.

    Args:
        files: the model's.
        settings: which backend, among other things.
        threads: of one call of an ONNX model; None: as the settings say, else one a core.

    Raises:
        EmbeddingModelNotFound: this backend cannot run it.

    """
    wanted = settings.embedding.backend
    if wanted in {"auto", "onnx"}:
        try:
            return _load_onnx(files, settings=settings, threads=threads), "onnx"
        except Exception as exc:  # exporters raise anything; the message goes to the operator
            if wanted == "onnx" or settings.embedding.quantization != "none":
                msg = f"{files.name} cannot be run with ONNX: {exc}; set FOOTNOTE_EMBEDDING__BACKEND=torch"
                raise EmbeddingModelNotFound(msg) from exc
            _log.warning("no ONNX export, torch runs the model", model=files.name, error=type(exc).__name__)
            wanted = "torch"
    try:
        return _open(files, settings.embedding, backend=wanted), wanted
    except Exception as exc:  # see above
        msg = f"{files.name} cannot be run with {wanted}: {exc}"
        raise EmbeddingModelNotFound(msg) from exc


def _load_onnx(files: ModelFiles, *, settings: Settings, threads: int | None) -> HuggingFaceEmbedding:
    exported = settings.data_dir.expanduser().resolve() / "models" / f"onnx-{files.revision.replace(' ', '-')}"
    name = INT8_FILE if settings.embedding.quantization == "int8" else ONNX_FILE
    if not (exported / name).exists():
        _export(files, exported, settings.embedding)
    arguments = _onnx_arguments(name, threads=threads or settings.embedding.threads)
    return _open(files, settings.embedding, backend="onnx", directory=exported, model_kwargs=arguments)


def _export(files: ModelFiles, target: Path, settings: EmbeddingSettings) -> None:
    from sentence_transformers import export_dynamic_quantized_onnx_model

    _log.info("exporting the embedding model to ONNX, once", model=files.name)
    with kept_export(target) as scratch:
        # a model that comes with an ONNX file of its own is exported too: one code path, one set of weights
        arguments = {"provider": "CPUExecutionProvider", "export": True}
        embedding = _open(files, settings, backend="onnx", model_kwargs=arguments)
        model = embedding._model  # noqa: SLF001 (HuggingFaceEmbedding has no public way to it)
        model.save_pretrained(str(scratch))
        if settings.quantization == "int8":
            export_dynamic_quantized_onnx_model(model, _int8_flavour(), str(scratch))
            made = next(path for path in (scratch / "onnx").glob("*int8*.onnx"))
            made.rename(scratch / INT8_FILE)
        if target.exists():  # the export is there and the int8 one is added to it
            for path in (scratch / "onnx").iterdir():
                path.replace(target / "onnx" / path.name)


def _int8_flavour() -> str:
    """Return the instruction set that ONNX quantizes for; int8 results differ a little between them."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return "arm64"
    return "avx512_vnni" if "avx512_vnni" in flags else "avx2" if "avx2" in flags else "arm64"


def _onnx_arguments(file_name: str, *, threads: int | None) -> dict[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    # idle threads of the pool must sleep: spinning would take the cores from the event loop and from PostgreSQL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return {"provider": "CPUExecutionProvider", "file_name": file_name, "session_options": options}


def _open(
    files: ModelFiles,
    settings: EmbeddingSettings,
    *,
    backend: str,
    directory: Path | None = None,
    model_kwargs: dict[str, Any] | None = None,
) -> HuggingFaceEmbedding:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return HuggingFaceEmbedding(
            model_name=str(directory or files.directory),
            backend=backend,
            device=settings.device if backend == "torch" else "cpu",
            normalize=settings.normalize,
            embed_batch_size=settings.batch_size,
            # LlamaIndex knows the instructions of some models by their hub names
            query_instruction=settings.query_instruction or get_query_instruct_for_model_name(files.name),
            text_instruction=settings.text_instruction or get_text_instruct_for_model_name(files.name),
            trust_remote_code=False,
            model_kwargs=model_kwargs or {},
        )
