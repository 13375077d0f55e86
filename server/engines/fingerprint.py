"""A hash of what determines a process's answers, besides the documents and the question."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from config.version import VERSION
from server.engines.writing import prompts
from server.engines.writing.templates import template

if TYPE_CHECKING:
    from config.settings import Settings
    from server.engines.models.model import LanguageModel
    from server.engines.reranking.reranker import Reranker


def answers_fingerprint(settings: Settings, *, model: LanguageModel | None, reranker: Reranker | None) -> str:
    """Return a hash of the models, the settings that affect answers, the prompts and Footnote's version."""
    texts = {name: str(text) for name, text in vars(prompts).items() if name.isupper()}
    parts = [
        VERSION,
        *(group.model_dump(mode="json") for group in (settings.llm, settings.retrieval, settings.rerank)),
        settings.engines.model_dump(mode="json"),
        settings.plug_ins.model_dump(mode="json"),
        {name: settings.llms[name].model_dump(mode="json") for name in settings.llm.fallback},
        [model.provider, model.name] if model else None,
        reranker.model if reranker else None,
        texts,
        template(settings.llm.prompt).model_dump(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
