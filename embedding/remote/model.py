"""What is known of a remote model: its name, its dimension, and how it embeds fixed texts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from embedding.remote.probes import FIRST, OPTION, written
from storage.generation import EmbeddingIdentity

if TYPE_CHECKING:
    from config.settings import EmbeddingSettings
    from embedding.remote.probes import Kept, Probes

ESTIMATE = Path(__file__).parent / "estimate.json"
MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model behind a provider, or a class.

    Attributes:
        kind: the provider, or the class.
        probes: the vectors of `embedding.remote.probes.PROBES`; None if the model could not be asked.

    """

    name: str
    kind: str
    dimension: int
    max_tokens: int = MAX_TOKENS
    tokenizer_file: Path = ESTIMATE
    probes: Probes | None = field(default=None, compare=False)

    @property
    def revision(self) -> str:
        """The provider: it does not tell versions of a model."""
        return self.kind

    def identity(self, settings: EmbeddingSettings) -> EmbeddingIdentity:
        """Return what a collection remembers; another model has other probes, and so another fingerprint."""
        return self.identity_with(None if self.probes is None else written(self.probes), settings)

    def identity_with(self, kept: Kept | None, settings: EmbeddingSettings) -> EmbeddingIdentity:
        """Return the identity of a generation that kept these probes, which are never quite the same twice."""
        further = dict(kept or {})
        probe = further.pop(FIRST, None)  # alone in generations of old, whose fingerprints stay
        parts = [
            self.kind,
            self.name,
            self.dimension,
            settings.query_instruction or "",
            settings.text_instruction or "",
            probe,
            *([sorted(further.items())] if further else []),
        ]
        return EmbeddingIdentity(
            model=self.name,
            revision=self.revision,
            fingerprint=hashlib.sha256(json.dumps(["remote", *parts]).encode()).hexdigest()[:32],
            dimension=self.dimension,
            normalized=True,
            options={
                "remote": self.kind,
                "query_instruction": settings.query_instruction,
                "text_instruction": settings.text_instruction,
                "probe": probe,
                **{f"{OPTION}{name}": each for name, each in further.items()},
            },
        )


def kind_of(settings: EmbeddingSettings) -> str:
    """Return who runs a remote model: a provider's name, or a class's."""
    return settings.class_ or settings.provider


def name_of(settings: EmbeddingSettings) -> str:
    """Return the model's name; of a class that is given none, the class's and what it is made with.

    Secrets among the arguments stand there as ``${NAME}``, and do not count; nor does an address.
    """
    if "model" in settings.model_fields_set or settings.class_ is None:
        return settings.model
    named = next((settings.arguments[key] for key in ("model_name", "model") if key in settings.arguments), None)
    return str(named) if named is not None else settings.class_.rpartition(".")[2]
