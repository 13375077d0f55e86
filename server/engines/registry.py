"""Engines by name: a new one is a module with `build`, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine.types import BaseChatEngine

from server.engines.chat import agent, context, simple
from server.engines.chat.condensing import condensing
from server.engines.parts import ChatEngine, Engine, EngineParts
from server.engines.query import auto_merging, fusion, plain, router, sub_question, summary, window
from server.errors import UnknownEngine

Build = TypeVar("Build")
ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "hybrid": plain.build_hybrid,
        "vector": plain.build_vector,
        "keyword": plain.build_keyword,
        "fusion": fusion.build,
        "window": window.build,
        "auto_merging": auto_merging.build,
        "sub_question": sub_question.build,
        "router": router.build,
        "summary": summary.build,
    }
)


CHAT_ENGINES: Mapping[str, ChatEngine] = MappingProxyType(
    {
        **{mode: condensing(build) for mode, build in ENGINES.items()},
        "context": context.build,
        "simple": simple.build,
        "agent": agent.build,
    }
)


def build_engine(parts: EngineParts) -> BaseQueryEngine:
    """Build the query engine that the question's ``mode`` names.

    Raises:
        UnknownEngine: there is no such engine.

    """
    return _named(parts.question.mode, ENGINES, parts.plug_ins.engines)(parts)


def build_chat_engine(parts: EngineParts) -> BaseChatEngine:
    """Build the chat engine that the question's ``mode`` names: a query engine, or a chat mode.

    Raises:
        UnknownEngine: it names none.

    """
    return _named(parts.question.mode, CHAT_ENGINES, parts.plug_ins.chat_engines)(parts)


def _named(mode: str, ours: Mapping[str, Build], plugged_in: Mapping[str, Build]) -> Build:
    found = ours.get(mode) or plugged_in.get(mode)
    if found is None:
        raise UnknownEngine(mode, known=(*ours, *plugged_in))
    return found
