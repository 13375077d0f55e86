"""Finding and loading a cross-encoder; ONNX where it can be exported, once, into the data directory."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import structlog

from config.settings import RerankSettings, Settings, SettingsError
from embedding.onnx_exports import ONNX_FILE, kept_export
from server.engines.reranking.cross_encoder import BATCH_SIZE, MAX_TOKENS, LibraryScorer, Scorer, onnx_scorer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_HASHED = ("*.json", "*.safetensors", "*.bin")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CrossEncoderFiles:
    """A cross-encoder on this machine's disk; `revision` is the hub's commit, or a hash of the files of a directory."""

    name: str
    directory: Path
    revision: str


def find_cross_encoder(settings: RerankSettings) -> CrossEncoderFiles:
    """Find the model's files: a directory's, or the hub's (downloaded if need be).

    Raises:
        SettingsError: none is named, or there is no such model.

    """
    name = settings.model
    if not name:
        msg = "FOOTNOTE_RERANK__MODEL: set it to a directory or a hub name, such as cross-encoder/ms-marco-MiniLM-L6-v2"
        raise SettingsError(msg)
    directory = Path(name)
    if not directory.is_dir():
        directory = _from_hub(name, settings.revision)
        return CrossEncoderFiles(name, directory, directory.name)  # a snapshot's directory is named by its commit
    return CrossEncoderFiles(name, directory.resolve(), _hash(directory))


def load_scorer(files: CrossEncoderFiles, *, settings: Settings) -> tuple[Scorer, str]:
    """Load the model, ready to be called the fastest way; return it with the name of the backend that runs it.

    It takes seconds, most of them imports, and some more the first time, for the export.

    Raises:
        SettingsError: it cannot be run, or is no reranker.

    """
    wanted = settings.rerank
    if wanted.backend != "torch":
        try:
            return _load_onnx(files, settings), "onnx"
        except SettingsError:
            raise
        except Exception as exc:  # exporters raise anything; the message goes to the operator
            if wanted.backend == "onnx":
                msg = f"FOOTNOTE_RERANK__MODEL: {files.name} cannot be run with ONNX: {_line(exc)}"
                raise SettingsError(msg) from exc
            _log.warning("no ONNX export, torch runs the reranker", model=files.name, error=type(exc).__name__)
    try:
        return LibraryScorer(_open(files.directory, backend="torch"), batch_size=BATCH_SIZE), "torch"
    except SettingsError:
        raise
    except Exception as exc:  # see above
        msg = f"FOOTNOTE_RERANK__MODEL: {files.name} holds no cross-encoder that can be run: {_line(exc)}"
        raise SettingsError(msg) from exc


def _load_onnx(files: CrossEncoderFiles, settings: Settings) -> Scorer:
    import onnxruntime

    target = settings.data_dir.expanduser().resolve() / "models" / f"rerank-onnx-{files.revision}"
    if not (target / ONNX_FILE).exists():
        _export(files, target)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # each call has a thread of its own
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    arguments = {"provider": "CPUExecutionProvider", "file_name": ONNX_FILE, "session_options": options}
    model = _open(target, backend="onnx", model_kwargs=arguments)
    threads = settings.rerank.threads or len(os.sched_getaffinity(0))
    return onnx_scorer(model, threads=threads, batch_size=BATCH_SIZE) or LibraryScorer(model, batch_size=BATCH_SIZE)


def _export(files: CrossEncoderFiles, target: Path) -> None:
    _log.info("exporting the reranker to ONNX, once", model=files.name)
    with kept_export(target) as scratch:
        # a model that comes with an ONNX file of its own is exported too: one code path, one set of weights
        arguments = {"provider": "CPUExecutionProvider", "export": True}
        _open(files.directory, backend="onnx", model_kwargs=arguments).save_pretrained(str(scratch))


def _open(
    directory: Path,
    *,
    backend: Literal["onnx", "torch"],
    model_kwargs: dict[str, Any] | None = None,
) -> CrossEncoder:
    from sentence_transformers import CrossEncoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: CrossEncoder = CrossEncoder(
            str(directory),
            backend=backend,
            device="cpu" if backend == "onnx" else None,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs=model_kwargs or {},
        )
    if model.num_labels != 1:
        msg = f"FOOTNOTE_RERANK__MODEL: {directory} gives {model.num_labels} scores a passage; a reranker gives one"
        raise SettingsError(msg)
    if backend != "onnx" or not (model_kwargs or {}).get("export"):
        model.max_seq_length = min(MAX_TOKENS, model.max_seq_length or MAX_TOKENS)
    return model


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        unused = ["*.msgpack", "*.h5", "*.ot", "openvino/*", "onnx/*"]
        return Path(snapshot_download(name, revision=revision, ignore_patterns=unused))
    except Exception as exc:  # the hub's client raises its own tree, httpx's and OSError
        msg = (
            f"FOOTNOTE_RERANK__MODEL: {name!r} is no directory here, and the hub did not give it ({type(exc).__name__})"
        )
        raise SettingsError(msg) from exc


def _hash(directory: Path) -> str:
    """Hash what decides the scores: configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _HASHED for path in directory.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:40]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
