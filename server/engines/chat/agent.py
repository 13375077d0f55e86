"""A LlamaIndex workflow agent with the collection as its tool: it searches as often as it needs, in its own words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine.types import BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import WorkflowRuntimeError
from workflows.handler import WorkflowHandler

from config.errors import FootnoteError
from server.engines.abilities import chat_model
from server.engines.chat.base import PiecewiseResponse, StatelessChatEngine
from server.engines.models.errors import ModelFailed
from server.engines.models.guarded import GuardedLLM
from server.engines.models.model import LanguageModel
from server.engines.parts import EngineParts
from server.engines.passages.widening import with_single_chunks
from server.engines.query.plain import build_hybrid
from server.engines.record import Record
from server.engines.writing.prompts import instructions, passage_of
from server.engines.writing.templates import template

MAX_STEPS = 8  # calls of the model
MAX_SEARCH_LENGTH = 2000  # characters
MAX_PASSAGES = 40  # of all searches together


class AgentChatEngine(StatelessChatEngine):
    """Answers with an agent that is made for one turn and may cite the passages that it found.

    The passages are known only when the agent has finished, so the answer comes in one piece.
    """

    def __init__(self, parts: EngineParts, *, engine: BaseQueryEngine, model: LanguageModel) -> None:
        self._parts = parts
        self._model = model
        self._shelf = _Shelf(engine, record=parts.record)

    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        """Run the agent to its end; return its answer."""
        agent = ReActAgent(
            name="footnote",
            description="Answers from documents.",
            system_prompt=self._instructions(),
            tools=[self._search_tool()],
            llm=self._llm(),
            timeout=None,  # the request has its own
        )
        handler = agent.run(user_msg=message, chat_history=list(chat_history or []), max_iterations=MAX_STEPS)
        try:
            # shielded: cancelling the handler's own waiting would leave the model's call running
            result = asyncio.ensure_future(_result_of(handler))
            result.add_done_callback(_read)
            output = await asyncio.shield(result)
            if self._shelf.failure is not None:  # the agent got the failure in place of passages
                raise self._shelf.failure
        except asyncio.CancelledError:
            await handler.cancel_run()
            raise
        except WorkflowRuntimeError as exc:
            if self._shelf.failure is not None:
                raise self._shelf.failure from None
            msg = "the agent came to no answer"
            raise ModelFailed(msg, retryable=False, detail=type(exc).__name__) from None
        return PiecewiseResponse(_one_piece(str(output)), source_nodes=self._shelf.nodes)

    def _llm(self) -> LLM:
        asked, record = self._parts.question, self._parts.record
        options = {"temperature": asked.temperature, "max_tokens": asked.max_tokens, "stop": asked.stop}
        return GuardedLLM(self._model, options=options, on_finish=record.add_call)

    def _instructions(self) -> str:
        notes = self._parts.conversation
        added = f"\n\nThe application adds:\n{notes.instructions}" if notes.instructions else ""
        return instructions(template(self._parts.settings.llm.prompt), self._parts.question.question) + added

    def _search_tool(self) -> FunctionTool:
        return FunctionTool.from_defaults(
            async_fn=self._shelf.search,
            name="search",
            description="Finds passages in the documents. Give it one question in plain words.",
        )


@dataclass(slots=True)
class _Shelf:
    """What the agent has found, numbered through all of its searches."""

    engine: BaseQueryEngine
    record: Record
    nodes: list[NodeWithScore] = field(default_factory=list)
    failure: FootnoteError | None = None

    async def search(self, question: str) -> str:
        """Return the passages found, with the numbers by which they can be cited."""
        try:
            found: list[Any] = await self.engine.aretrieve(QueryBundle(question[:MAX_SEARCH_LENGTH]))  # type: ignore[attr-defined]
        except FootnoteError as exc:
            self.failure = exc
            raise
        if not found:
            return "Nothing was found."
        return "\n\n".join(
            f"[{self._number(node)}] {passage_of(node.node).quoted(MAX_PASSAGES)}"
            for node in found
            if self._has_room(node)
        )

    def _has_room(self, node: NodeWithScore) -> bool:
        has_room = len(self.nodes) < MAX_PASSAGES or node.node_id in self._numbers()
        if not has_room:
            self.record.note(f"The searches found more than {MAX_PASSAGES} passages: the model reads no further ones.")
        return has_room

    def _number(self, node: NodeWithScore) -> int:
        numbers = self._numbers()
        if node.node_id not in numbers:
            self.nodes.append(node)
        return numbers.get(node.node_id, len(self.nodes))

    def _numbers(self) -> dict[str, int]:
        return {node.node_id: number for number, node in enumerate(self.nodes, start=1)}


def _read(result: asyncio.Future[object]) -> None:
    """Retrieve the exception: nobody awaits an agent that was cancelled."""
    if not result.cancelled():
        result.exception()


async def _result_of(handler: WorkflowHandler) -> object:
    return await handler


async def _one_piece(text: str) -> AsyncGenerator[str, None]:
    yield text


def build(parts: EngineParts) -> BaseChatEngine:
    """Return the engine for one turn."""
    # the searches share a record: chunks joined by one must not be attributed to the next
    return AgentChatEngine(parts, engine=build_hybrid(with_single_chunks(parts)), model=chat_model(parts))
