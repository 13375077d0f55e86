"""The tools: search, ask, list_collections, get_document."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from mcp_types import CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel

from server.answers import UNFINISHED, Event, Sources, Transcript
from server.api.contracts import Runtime
from server.api.problems import Problem
from server.mcp.arguments import (
    ASK_FIELDS,
    SEARCH_FIELDS,
    Arguments,
    DocumentArguments,
    ListArguments,
    question_schema,
    read,
    read_question,
    schema,
)
from server.mcp.calls import request_id
from server.mcp.results import AskOut, CollectionsOut, DocumentOut, SearchOut, ToolOut
from server.principal import require_scope

PROGRESS_SECONDS = 0.5
Report = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A tool as clients see it, and the function behind it; its `report` sends progress to the client."""

    tool: Tool
    call: Callable[[Runtime, Arguments, Report], Awaitable[ToolOut]]


async def search(runtime: Runtime, arguments: Arguments, report: Report) -> SearchOut:  # noqa: ARG001 (it is quick)
    """Find passages."""
    question = read_question(arguments, fields=SEARCH_FIELDS)
    return SearchOut.of(await runtime.answers.retrieve(question), request_id=request_id())


async def ask(runtime: Runtime, arguments: Arguments, report: Report) -> AskOut:
    """Answer a question, with reports of progress; while it is written it counts as a stream."""
    question = read_question(arguments, fields=ASK_FIELDS)
    events = cast("AsyncGenerator[Event, None]", runtime.streams.counted(runtime.answers.stream(question)))
    transcript, reported = Transcript(), 0.0
    async with aclosing(events):
        async for event in events:
            if (answer := transcript.add(event)) is not None:
                return AskOut.of(answer, request_id=request_id())
            if isinstance(event, Sources):
                await report(f"passages found: {len(event.citations)}")
            elif time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                await report(f"characters written: {len(transcript.text)}")
    raise RuntimeError(UNFINISHED)


async def list_collections(runtime: Runtime, arguments: Arguments, report: Report) -> CollectionsOut:  # noqa: ARG001
    """List collections."""
    wanted = read(ListArguments, arguments)
    return CollectionsOut.of(await runtime.collection_catalog.list(limit=wanted.limit, cursor=wanted.cursor))


async def get_document(runtime: Runtime, arguments: Arguments, report: Report) -> DocumentOut:  # noqa: ARG001
    """Return a document's metadata and a part of its text; whoever may only ask may not read everything."""
    require_scope("documents:read")
    wanted = read(DocumentArguments, arguments)
    document = await runtime.document_catalog.get(wanted.document_id, collection=wanted.collection)
    part = await runtime.document_texts.part(
        document.id, collection=document.collection, offset=wanted.offset, limit=wanted.max_characters
    )
    return DocumentOut.of(document, part)


def make_tools(*, plugged_in: Sequence[str] = ()) -> dict[str, ToolEntry]:
    """Return the tools by name; `plugged_in` are engines of plug-ins."""
    entries = (
        _entry(
            search,
            title="Search documents",
            description="Find the passages that answer a question, the best first: quotations with source, title, "
            "page and place in the document. No language model is called.",
            takes=question_schema(SEARCH_FIELDS, plugged_in=plugged_in),
            gives=SearchOut,
        ),
        _entry(
            ask,
            title="Ask the documents",
            description="Answer a question from the documents alone. [n] in the answer points at the citation whose id "
            "is n. `finish_reason` is `no_context` where nothing was found. Slower than `search`: a language model "
            "writes the answer.",
            takes=question_schema(ASK_FIELDS, plugged_in=plugged_in),
            gives=AskOut,
        ),
        _entry(
            list_collections,
            title="List collections",
            description="List the collections that can be searched, by name.",
            takes=schema(ListArguments),
            gives=CollectionsOut,
        ),
        _entry(
            get_document,
            title="Read a document",
            description="Read a document's text, in parts: `next_offset` of one is the `offset` of the next. Offsets "
            "are those of passages, so the surroundings of a passage begin a little before its `start`.",
            takes=schema(DocumentArguments),
            gives=DocumentOut,
        ),
    )
    return {entry.tool.name: entry for entry in entries}


def succeeded(out: ToolOut) -> CallToolResult:
    """Return a result as structured content, and as text."""
    return CallToolResult(content=[TextContent(text=str(out))], structured_content=out.model_dump(mode="json"))


def failed(problem: Problem, request_id: str) -> CallToolResult:
    """Return a failure's result, with a message for the calling model; ``_meta`` has the problem document."""
    document = problem.document(request_id)
    text = str(document["detail"]) + ("; the same call may succeed later" if problem.retryable else "")
    return CallToolResult(content=[TextContent(text=text)], is_error=True, _meta={"footnote/problem": document})


def _entry(
    call: Callable[[Runtime, Arguments, Report], Awaitable[Any]],
    *,
    title: str,
    description: str,
    takes: dict[str, Any],
    gives: type[BaseModel],
) -> ToolEntry:
    annotations = ToolAnnotations(
        title=title, read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
    tool = Tool(
        name=call.__name__,
        title=title,
        description=description,
        input_schema=takes,
        output_schema=schema(gives, mode="serialization"),
        annotations=annotations,
    )
    return ToolEntry(tool, call)
