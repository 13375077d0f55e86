"""How much memory the models take, told before anything is loaded from the size of their files."""

from __future__ import annotations

import os
from pathlib import Path

from config.settings import EmbeddingSettings, Settings

UNKNOWN = 500_000_000
"""Of a model that is not on this machine yet."""

WORKSPACE = 1.3
"""Memory of a loaded model, as a multiple of its weights."""

CONTEXT = 300_000_000
"""Of llama-server, besides the weights."""

SMALL_GEMMA = 260_000_000
BUNDLED = EmbeddingSettings.model_fields["model"].default


def bytes_of_each(settings: Settings) -> int:
    """Return the memory of the models that each worker loads, besides the bundled embedding model."""
    embedding = settings.embedding
    names = [] if embedding.is_remote or embedding.model == BUNDLED else [embedding.model]
    if settings.rerank.provider == "local" and settings.rerank.model:
        names.append(settings.rerank.model)
    return int(WORKSPACE * sum(_weights(name) or UNKNOWN for name in names))


def bytes_of_local_model(settings: Settings) -> int:
    """Return the memory of the local language model, of which there is one; 0: the settings name another provider."""
    llm = settings.llm
    if llm.provider != "local":
        return 0
    return CONTEXT + (SMALL_GEMMA if llm.local_model is None else _size(llm.local_model))


def _weights(name: str) -> int:
    """Return the size of a model's largest kind of weights: in its directory, or in the hub's cache; 0: not found."""
    from embedding.files import WEIGHTS  # takes a while, and most servers have no such model

    directory = Path(name)
    places = [directory] if directory.is_dir() else list(_hub_cache().glob(f"models--{_cached(name)}/snapshots/*"))
    return max((sum(map(_size, place.glob(kind))) for place in places for kind in WEIGHTS), default=0)


def _cached(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "--" for letter in name)


def _hub_cache() -> Path:
    """Return the hub's cache, as `huggingface_hub.constants` has it; importing that takes longer than all of this."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
