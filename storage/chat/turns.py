"""Turns of conversations: a question and its answer are one row, written whole or marked with what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from storage.caller import current_tenant
from storage.chat.conversations import STOPPED, conversation_uuid, lease_name
from storage.conflicts import rerun_on_conflict
from storage.errors import ConversationBusy, ConversationNotFound

if TYPE_CHECKING:
    from storage.database import Connection, Database
    from storage.leases import Leases

TITLE_CHARS = 80
MAX_SUMMARIZED = 20


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A question that is about to be answered.

    Attributes:
        tokens: of the question, as the history counts them.
        stream_id: of the stream that answers it, so that deleting the conversation deletes that too.

    """

    question: str
    tokens: int
    request_id: str
    stream_id: str | None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn that is being answered."""

    conversation_id: UUID
    number: int
    question_id: UUID
    answer_id: UUID
    collection: str


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn that went well, or was stopped, as the next ones need it; tokens as counted when it was written."""

    number: int
    question: str
    question_tokens: int
    answer: str
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What a conversation knows: a summary of its turns up to `summary_turn`, and later ones, the oldest first."""

    summary: str
    summary_turn: int
    turns: tuple[PastTurn, ...]


@dataclass(frozen=True, slots=True)
class TurnAnswer:
    """What is kept of an answer; the JSON members are texts."""

    answer: str
    answer_tokens: int
    standalone_question: str | None
    citations_json: str
    finish_reason: str
    model: str
    usage_json: str | None
    cost_usd: float | None
    timings_json: str
    generation: str


@dataclass(frozen=True, slots=True)
class PartialAnswer:
    """What there is of an answer that was broken off."""

    answer: str = ""
    answer_tokens: int = 0
    citations_json: str = "[]"
    standalone_question: str | None = None
    generation: str | None = None


NOTHING = PartialAnswer()


class TurnStore:
    """Writes the turns of one tenant's conversations, one at a time in each: `Leases` see to that.

    Locks are taken in one order, here and in `storage.chat.conversations`: conversation, lease, turns.
    """

    def __init__(self, database: Database, *, leases: Leases) -> None:
        self._database = database
        self._leases = leases

    async def begin(self, asked: NewTurn, *, collection: str) -> OpenTurn:
        """Begin a conversation with its first turn."""
        turn = OpenTurn(uuid4(), 1, uuid4(), uuid4(), collection)
        # one statement: where many begin at once, each has a connection for no longer than that
        async with self._database.connection() as connection:
            await connection.execute(
                f"""WITH conversation AS (
                        INSERT INTO footnote.conversations (id, tenant_id, collection, title)
                        VALUES ($2, $1, $11, $12)
                    ), lease AS (
                        INSERT INTO footnote.leases (name, holder, expires_at)
                        VALUES ($13, $14, clock_timestamp() + $15)
                    ) {_OPEN}""",
                *self._values(turn, asked),
                collection,
                _title(asked.question),
                lease_name(turn.conversation_id),
                self._leases.holder,
                self._leases.duration,
            )
        return turn

    @rerun_on_conflict
    async def proceed(self, conversation_id: str, asked: NewTurn) -> OpenTurn:
        """Begin the next turn of a conversation.

        Raises:
            ConversationNotFound: there is none.
            ConversationBusy: another turn is being answered.

        """
        own = conversation_uuid(conversation_id)
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "SELECT collection FROM footnote.conversations WHERE tenant_id = $1 AND id = $2 FOR SHARE",
                current_tenant(),
                own,
            )
            if row is None:
                raise ConversationNotFound(conversation_id)
            if not await self._leases.take(connection, lease_name(own)):
                raise ConversationBusy
            # whose lease has expired is not coming back
            last = await connection.fetchval(
                """WITH given_up AS (
                       UPDATE footnote.turns SET state = 'abandoned', answered_at = now()
                       WHERE conversation_id = $1 AND state = 'running'
                   ) SELECT coalesce(max(number), 0) FROM footnote.turns WHERE conversation_id = $1""",
                own,
            )
            return await self._open(connection, own, asked, collection=row["collection"], number=last + 1)

    async def memory(self, turn: OpenTurn, *, max_tokens: int) -> Memory:
        """Return what the conversation knew before a turn: turns as `PastTurn`s, the newest up to `max_tokens`."""
        async with self._database.connection() as connection:
            summary, summary_turn = await self._summary(connection, turn)
            rows = await connection.fetch(_PAST, current_tenant(), turn.conversation_id, turn.number, max_tokens)
        turns = tuple(PastTurn(*row) for row in reversed(rows))
        return Memory(summary, summary_turn, turns)

    def at_work(self, turn: OpenTurn) -> AbstractContextManager[None]:
        """Keep the conversation for this turn while the block lasts."""
        return self._leases.kept(lease_name(turn.conversation_id))

    @rerun_on_conflict
    async def complete(
        self, turn: OpenTurn, answer: TurnAnswer, *, within: Callable[[Connection], Awaitable[None]] | None = None
    ) -> None:
        """Write an answer to its question, and let the next turn begin; a second time changes nothing.

        `within` is called in the same transaction.

        Raises:
            LeaseLost: another process has taken the conversation over.
            ConversationNotFound: it was deleted meanwhile.

        """
        async with self._database.transaction() as connection:
            if await self._is_complete(connection, turn):
                return
            await self._leases.confirm(connection, lease_name(turn.conversation_id))
            await connection.execute(
                """UPDATE footnote.turns SET state = 'complete', answer = $4, answer_tokens = $5,
                       standalone_question = $6, citations = $7, finish_reason = $8, model = $9, usage = $10,
                       cost_usd = $11, timings_ms = $12, generation = $13, answered_at = now()
                   WHERE tenant_id = $1 AND conversation_id = $2 AND number = $3""",
                current_tenant(),
                turn.conversation_id,
                turn.number,
                answer.answer,
                answer.answer_tokens,
                answer.standalone_question,
                answer.citations_json,
                answer.finish_reason,
                answer.model,
                answer.usage_json,
                answer.cost_usd,
                answer.timings_json,
                answer.generation,
            )
            if within is not None:
                await within(connection)
            await self._leases.give_back(connection, lease_name(turn.conversation_id))

    @rerun_on_conflict
    async def break_off(
        self, turn: OpenTurn, *, state: Literal["failed", "abandoned"], problem: str, partial: PartialAnswer = NOTHING
    ) -> None:
        """Record that a turn had no whole answer, with what was written of it, and let the next one begin."""
        async with self._database.transaction() as connection:
            mine = await self._leases.is_held(connection, lease_name(turn.conversation_id))
            running = await connection.fetchval(
                """UPDATE footnote.turns SET state = $4, problem = $5, answer = $6, answer_tokens = $7, citations = $8,
                       standalone_question = $9, generation = $10, answered_at = now()
                   WHERE tenant_id = $1 AND conversation_id = $2 AND number = $3 AND state = 'running'
                   RETURNING true""",
                current_tenant(),
                turn.conversation_id,
                turn.number,
                state,
                problem,
                partial.answer,
                partial.answer_tokens,
                partial.citations_json,
                partial.standalone_question,
                partial.generation,
            )
            if mine and running:  # else the lease is a later turn's
                await self._leases.give_back(connection, lease_name(turn.conversation_id))

    @rerun_on_conflict
    async def withdraw(self, turn: OpenTurn) -> None:
        """Remove a turn that could never have been answered, and the conversation with it that began with it."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "SELECT FROM footnote.conversations WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
                current_tenant(),
                turn.conversation_id,
            )
            if not await self._leases.is_held(connection, lease_name(turn.conversation_id)):
                return
            await connection.execute(
                """DELETE FROM footnote.turns
                   WHERE tenant_id = $1 AND conversation_id = $2 AND number = $3 AND state = 'running'""",
                current_tenant(),
                turn.conversation_id,
                turn.number,
            )
            await connection.execute(
                """DELETE FROM footnote.conversations c WHERE tenant_id = $1 AND id = $2
                   AND NOT EXISTS (SELECT FROM footnote.turns WHERE conversation_id = c.id)""",
                current_tenant(),
                turn.conversation_id,
            )
            await self._leases.give_back(connection, lease_name(turn.conversation_id))

    async def forgotten(self, turn: OpenTurn, *, max_tokens: int) -> Memory:
        """Return what `memory` will leave out of the turns up to this one, as far as no summary holds it.

        At most `MAX_SUMMARIZED` turns, the oldest first.
        """
        async with self._database.connection() as connection:
            summary, summary_turn = await self._summary(connection, turn)
            rows = await connection.fetch(
                _FORGOTTEN,
                current_tenant(),
                turn.conversation_id,
                turn.number + 1,
                max_tokens,
                summary_turn,
                MAX_SUMMARIZED,
            )
        return Memory(summary, summary_turn, tuple(PastTurn(*row) for row in rows))

    async def summarize(self, turn: OpenTurn, *, summary: str, through: int) -> None:
        """Keep a summary of the turns up to number `through`, unless a later one is there."""
        async with self._database.connection() as connection:
            await connection.execute(
                """UPDATE footnote.conversations SET summary = $3, summary_turn = $4
                   WHERE tenant_id = $1 AND id = $2 AND summary_turn < $4""",
                current_tenant(),
                turn.conversation_id,
                summary,
                through,
            )

    async def _summary(self, connection: Connection, turn: OpenTurn) -> tuple[str, int]:
        row = await connection.fetchrow(
            "SELECT summary, summary_turn FROM footnote.conversations WHERE tenant_id = $1 AND id = $2",
            current_tenant(),
            turn.conversation_id,
        )
        return (row["summary"], row["summary_turn"]) if row else ("", 0)

    async def _open(
        self, connection: Connection, conversation_id: UUID, asked: NewTurn, *, collection: str, number: int
    ) -> OpenTurn:
        turn = OpenTurn(conversation_id, number, uuid4(), uuid4(), collection)
        await connection.execute(_OPEN, *self._values(turn, asked))
        return turn

    def _values(self, turn: OpenTurn, asked: NewTurn) -> tuple[object, ...]:
        """Return the parameters of `_OPEN`."""
        return (
            current_tenant(),
            turn.conversation_id,
            turn.number,
            turn.question_id,
            turn.answer_id,
            asked.question,
            asked.tokens,
            asked.request_id,
            asked.stream_id,
            asked.trace_id,
        )

    async def _is_complete(self, connection: Connection, turn: OpenTurn) -> bool:
        """Lock the conversation, and tell whether the turn is complete."""
        state = await connection.fetchval(
            """WITH locked AS (
                   UPDATE footnote.conversations SET updated_at = now() WHERE tenant_id = $1 AND id = $2 RETURNING id
               ) SELECT state FROM footnote.turns t JOIN locked ON t.conversation_id = locked.id WHERE number = $3""",
            current_tenant(),
            turn.conversation_id,
            turn.number,
        )
        if state is None:
            raise ConversationNotFound(str(turn.conversation_id))
        return bool(state == "complete")


_OPEN = """
    INSERT INTO footnote.turns (tenant_id, conversation_id, number, state, question_id, answer_id,
        question, question_tokens, request_id, stream_id, trace_id)
    VALUES ($1, $2, $3, 'running', $4, $5, $6, $7, $8, $9, $10)"""

# the sum counts from the newest back; the turn that crosses the limit is left out, and all before it
_COUNTED = f"""
    SELECT number, question, question_tokens, answer, answer_tokens FROM (
        SELECT *, sum(question_tokens + answer_tokens) OVER (ORDER BY number DESC) AS so_far FROM footnote.turns
        WHERE tenant_id = $1 AND conversation_id = $2 AND number < $3
            AND (state = 'complete' OR (problem = '{STOPPED}' AND answer <> ''))
    ) t"""
_PAST = f"{_COUNTED} WHERE so_far <= $4 ORDER BY number DESC"
_FORGOTTEN = f"{_COUNTED} WHERE so_far > $4 AND number > $5 ORDER BY number LIMIT $6"


def _title(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"
