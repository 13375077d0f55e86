"""Finding and loading a cross-encoder: by ONNX Runtime where it can be exported, else by sentence-transformers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from config.machine import cores
from config.settings import Settings, SettingsError
from embedding.errors import ExportersMissing, NotOnTheHub
from embedding.exports import ONNX_FILE, ExportKind, missing_exporters, ready_made
from embedding.files import download, hash_directory
from embedding.onnx_model import OnnxModel
from server.engines.reranking.cross_encoder import MAX_TOKENS, CrossEncoderRecipe, OnnxScorer, Scorer

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CrossEncoderFiles:
    """A cross-encoder on this machine's disk; `revision` is the hub's commit, or a hash of the files of a directory."""

    name: str
    directory: Path
    revision: str


def find_cross_encoder(settings: Settings) -> CrossEncoderFiles:
    """Find the model's files: a directory's, a ready-made export's, or the hub's (downloaded if need be).

    Raises:
        SettingsError: none is named, or there is no such model.

    """
    wanted = settings.rerank
    name = wanted.model
    if not name:
        msg = "FOOTNOTE_RERANK__MODEL: set it to a directory or a hub name, such as cross-encoder/ms-marco-MiniLM-L6-v2"
        raise SettingsError(msg)
    directory = Path(name)
    if directory.is_dir():
        return CrossEncoderFiles(name, directory.resolve(), hash_directory(directory))
    if wanted.backend != "torch":
        ready = ready_made(
            settings.embedding.exports, model=name, revision=wanted.revision, kind=partial(export_kind, name)
        )
        if ready is not None:
            return CrossEncoderFiles(name, *ready)
    try:
        return CrossEncoderFiles(name, *download(name, revision=wanted.revision, ignore=("onnx/*",)))
    except NotOnTheHub as exc:
        msg = f"FOOTNOTE_RERANK__MODEL: {exc}"
        raise SettingsError(msg) from exc


def load_scorer(files: CrossEncoderFiles, *, settings: Settings) -> tuple[Scorer, str]:
    """Load the model, ready to be called the fastest way; return it with the name of the backend that runs it.

    Raises:
        SettingsError: it cannot be run, or is no reranker.

    """
    wanted = settings.rerank
    if wanted.backend != "torch":
        try:
            return _load_export(files, settings=settings), "onnx"
        except SettingsError:
            raise
        except ExportersMissing as exc:
            msg = f"FOOTNOTE_RERANK__MODEL: {exc}"
            raise SettingsError(msg) from exc
        except Exception as exc:  # exporters raise anything; the message goes to the operator
            if wanted.backend == "onnx":
                msg = f"FOOTNOTE_RERANK__MODEL: {files.name} cannot be run with ONNX: {_line(exc)}"
                raise SettingsError(msg) from exc
            _log.warning("no ONNX export, torch runs the reranker", model=files.name, error=type(exc).__name__)
    if missing := missing_exporters():
        msg = (
            f"FOOTNOTE_RERANK__MODEL: sentence-transformers has to run {files.name}, and {', '.join(missing)} are not "
            "installed: install Footnote's extra `hub`"
        )
        raise SettingsError(msg)
    try:
        from server.engines.reranking.library import open_library_scorer

        return open_library_scorer(files.directory), "torch"
    except SettingsError:
        raise
    except Exception as exc:  # see above
        msg = f"FOOTNOTE_RERANK__MODEL: {files.name} holds no cross-encoder that can be run: {_line(exc)}"
        raise SettingsError(msg) from exc


def export_kind(model: str, revision: str) -> ExportKind[CrossEncoderRecipe]:
    """Return which exports of a cross-encoder there are."""
    return ExportKind(name=f"rerank-onnx-{revision}", model=model, revision=revision, recipe=CrossEncoderRecipe)


def _load_export(files: CrossEncoderFiles, *, settings: Settings) -> Scorer:
    threads = settings.rerank.threads or cores()
    export = export_kind(files.name, files.revision).found_or_made(settings, partial(_export, files))
    if export.recipe is None:
        from server.engines.reranking.library import open_library_scorer

        return open_library_scorer(files.directory, export=export.directory, threads=threads)
    recipe = export.recipe.model_copy(update={"max_tokens": min(export.recipe.max_tokens, MAX_TOKENS)})
    return OnnxScorer(OnnxModel(export.directory, onnx_file=ONNX_FILE, recipe=recipe), recipe=recipe, threads=threads)


def _export(files: CrossEncoderFiles, target: Path) -> CrossEncoderRecipe | None:
    from server.engines.reranking.library import export_cross_encoder

    return export_cross_encoder(files.directory, target)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
