"""The models that the settings name: a single group's, which is the default, and the others by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.settings import DEFAULT_MODEL
from storage.errors import InvalidCollection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.settings import EmbeddingSettings, Settings


def named_models(settings: Settings) -> Mapping[str, EmbeddingSettings]:
    """Return the settings of every model by its name."""
    return {DEFAULT_MODEL: settings.embedding, **settings.embeddings}


def model_named(name: str | None, settings: Settings) -> EmbeddingSettings:
    """Return a model's settings; None is the default's.

    Raises:
        InvalidCollection: no model is called this.

    """
    models = named_models(settings)
    found = models.get(name or DEFAULT_MODEL)
    if found is None:
        msg = f"no embedding model is called {(name or '')[:80]!r}; the settings name: {', '.join(models)}"
        raise InvalidCollection(msg)
    return found
