"""Engines that block, fail and lie."""

import asyncio
import sys
import time

from llama_index.core.base.response.schema import Response, StreamingResponse
from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine
from llama_index.core.query_engine import CustomQueryEngine


class Sleeper(CustomQueryEngine):
    """Sleeps, in an async method that awaits nothing."""

    seconds: float = 2.0

    def custom_query(self, query_str: str) -> str:
        time.sleep(self.seconds)
        return "slept"

    async def acustom_query(self, query_str: str) -> str:
        return self.custom_query(query_str)


class Misbehaving(CustomQueryEngine):
    """Does what the question says."""

    def custom_query(self, query_str: str):
        return {
            "raise": lambda: 1 / 0,
            "secret": lambda: (_ for _ in ()).throw(ValueError("the password is hunter2")),
            "exit": lambda: sys.exit(3),
            "cancel": lambda: (_ for _ in ()).throw(asyncio.CancelledError()),
            "stop": lambda: next(iter(())),
            "late": lambda: (_ for _ in ()).throw(TimeoutError()),
            "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
            "unable": lambda: (_ for _ in ()).throw(NotImplementedError()),
            "dict": lambda: Response(response={"a": 1}),
            "nodes": lambda: Response(response="so", source_nodes=["a", "b"]),
            "empty": lambda: Response(response=""),
            "blank": lambda: Response(response=" \n"),
            "nul": lambda: Response(response="Monday \0 service \ud800 so"),
            "slow pieces": lambda: StreamingResponse(response_gen=slow_pieces()),
            "broken pieces": lambda: StreamingResponse(response_gen=broken_pieces()),
        }[query_str]()


class AsyncMisbehaving(Misbehaving):
    """The same on the event loop."""

    async def acustom_query(self, query_str: str):
        await asyncio.sleep(0)
        return self.custom_query(query_str)


def slow_pieces():
    for word in ("one ", "two ", "three"):
        time.sleep(0.2)
        yield word


def broken_pieces():
    yield "one "
    raise ValueError


class WrongChat(BaseChatEngine):
    """Returns a text where a response is due."""

    def chat(self, message, chat_history=None):
        return AgentChatResponse(response="x") if message == "right" else "text"

    stream_chat = chat

    async def achat(self, message, chat_history=None):
        return self.chat(message)

    astream_chat = achat

    def reset(self):
        pass

    @property
    def chat_history(self):
        return []


class NeverMade(CustomQueryEngine):
    """Is never done with its constructor."""

    def __init__(self):
        time.sleep(3600)

    def custom_query(self, query_str: str) -> str:
        return ""


def builds_nothing(parts):
    return {"not": "an engine"}
