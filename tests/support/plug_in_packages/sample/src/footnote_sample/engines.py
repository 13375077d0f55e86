"""Engines: one that is a class, one that is built from Footnote's parts, one that chats."""

from dataclasses import replace

from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine
from llama_index.core.llms import LLM
from llama_index.core.query_engine import CustomQueryEngine

from server.engines.assembly import retriever_engine
from server.engines.models.guarded import GuardedLLM
from server.engines.retrieval import StoreRetriever


class Parrot(CustomQueryEngine):
    """Says again what it was asked; it is synchronous, as most first engines are."""

    suffix: str = "!"

    def custom_query(self, query_str: str) -> str:
        return query_str + self.suffix


def brief(parts):
    """Hybrid retrieval with three passages at most."""
    few = replace(parts, question=replace(parts.question, k=min(parts.question.k, 3)))
    return retriever_engine(few, retriever=StoreRetriever(few, mode="hybrid"))


class Asking(CustomQueryEngine):
    """Asks Footnote's model, without passages."""

    llm: LLM

    def custom_query(self, query_str: str) -> str:
        raise NotImplementedError

    async def acustom_query(self, query_str: str) -> str:
        return str(await self.llm.acomplete(query_str))


def asking(parts):
    """Build it; what its calls use counts as the answer's."""
    return Asking(llm=GuardedLLM(parts.model, on_finish=parts.record.add_call))


class Counting(BaseChatEngine):
    """Counts what was said to it, which is once: it is made anew for each turn."""

    def __init__(self):
        self.said = 0

    def chat(self, message, chat_history=None):
        self.said += 1
        return AgentChatResponse(response=f"{self.said} said to me, {len(chat_history or [])} before: {message}")

    def stream_chat(self, message, chat_history=None):
        raise NotImplementedError

    async def achat(self, message, chat_history=None):
        return self.chat(message, chat_history)

    async def astream_chat(self, message, chat_history=None):
        return self.stream_chat(message, chat_history)

    def reset(self):
        self.said = 0

    @property
    def chat_history(self):
        return []
