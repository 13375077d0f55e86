"""Engines by name: a new one is a module with `build`, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llama_index.core.base.base_query_engine import BaseQueryEngine

from server.engines import hybrid, keyword, vector
from server.engines.parts import Engine, EngineParts
from server.errors import UnknownEngine

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "hybrid": hybrid.build,
        "vector": vector.build,
        "keyword": keyword.build,
    }
)


def build_engine(parts: EngineParts) -> BaseQueryEngine:
    """Build the engine that the question's ``mode`` names.

    Raises:
        UnknownEngine: it names none.

    """
    build = ENGINES.get(parts.question.mode)
    if build is None:
        raise UnknownEngine(parts.question.mode, known=tuple(ENGINES))
    return build(parts)
