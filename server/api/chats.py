"""Answers within conversations, and the conversations themselves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from server.api.asking import Asked, answer_stream, answer_whole
from server.api.context import request_id_of, runtime_of, trace_id
from server.api.documentation import STREAM, problem_responses
from server.api.json_body import JsonRoute
from server.api.schemas.answers import ChatAnswerOut
from server.api.schemas.conversations import ConversationMessagesOut, ConversationOut, ConversationsQuery, TitleBody
from server.api.schemas.fields import ConversationId, IdempotencyKey
from server.api.schemas.pages import PageOut, PageQuery
from server.api.schemas.questions import ChatBody
from server.api.scopes import needs
from server.api.sse import EventStream
from server.services.conversations import ChatMessage
from storage.chat.conversations import ConversationOrder

router = APIRouter(tags=["chatting"], route_class=JsonRoute)
CHATTING = problem_responses(400, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504)
READING = problem_responses(404, 422, 500, 503, 504)
CHAT_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": STREAM}}
Id = Annotated[ConversationId, Path()]


@router.post("/chat", response_model=ChatAnswerOut, responses={**CHATTING, **CHAT_STREAM})
@needs("query")
async def chat(body: ChatBody, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Answer a message, in a new conversation or an earlier one.

    While one message of a conversation is being answered, another one is a 409. With `"stream": true` this is
    `/chat/stream`.
    """
    asked = _asked(body, request)
    if body.stream:
        return await answer_stream(request, asked, key=idempotency_key)
    return await answer_whole(request, asked, key=idempotency_key, schema=ChatAnswerOut)


@router.post("/chat/stream", status_code=200, response_class=EventStream, responses={**CHATTING, **CHAT_STREAM})
@needs("query")
async def chat_stream(body: ChatBody, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Answer a message as server-sent events: those of `/query/stream`, with the conversation's id in the first."""
    return await answer_stream(request, _asked(body, request), key=idempotency_key)


def _asked(body: ChatBody, request: Request) -> Asked:
    conversations, request_id, trace = runtime_of(request).conversations, request_id_of(request.scope), trace_id()
    return Asked(
        "chat",
        body,
        events=lambda stream_id, key: conversations.stream(
            ChatMessage(
                body.to_question(),
                conversation_id=body.conversation_id,
                collection=body.collection,
                request_id=request_id,
                trace_id=trace,
                stream_id=stream_id,
                key=key,
            )
        ),
        keeps_keys=True,
    )


@router.get("/conversations", responses=problem_responses(422, 500, 503, 504))
@needs("query")
async def list_conversations(
    page: Annotated[ConversationsQuery, Query()], request: Request
) -> PageOut[ConversationOut]:
    """List conversations, the latest first unless `sort` says otherwise; `q` looks in titles and questions."""
    found = await runtime_of(request).conversations.list(
        limit=page.limit, cursor=page.cursor, contains=page.q, order=ConversationOrder(page.sort)
    )
    return PageOut[ConversationOut].model_validate(found)


@router.get("/conversations/{conversation_id}", responses=READING)
@needs("query")
async def get_conversation(
    conversation_id: Id, page: Annotated[PageQuery, Query()], request: Request
) -> ConversationMessagesOut:
    """Show a conversation with its messages, the oldest first; a question and its answer are on the same page."""
    conversations = runtime_of(request).conversations
    info = await conversations.get(conversation_id)
    found = await conversations.messages(conversation_id, limit=page.limit, cursor=page.cursor)
    about = ConversationOut.model_validate(info).model_dump()
    return ConversationMessagesOut(**about, messages=found.items, next_cursor=found.next_cursor)


@router.patch("/conversations/{conversation_id}", responses={**READING, **problem_responses(400, 413, 415)})
@needs("query")
async def rename_conversation(conversation_id: Id, body: TitleBody, request: Request) -> ConversationOut:
    """Give a conversation another title."""
    info = await runtime_of(request).conversations.rename(conversation_id, title=body.title)
    return ConversationOut.model_validate(info)


@router.delete("/conversations/{conversation_id}", status_code=204, responses=READING)
@needs("query")
async def delete_conversation(conversation_id: Id, request: Request) -> None:
    """Delete a conversation and all that was said in it; an answer that is being written ends with an error."""
    await runtime_of(request).conversations.delete(conversation_id)
