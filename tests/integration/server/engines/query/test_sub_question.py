"""`sub_question`: a scripted model parts questions, answers the parts, and puts the answers together."""

import asyncio
import json
import threading
from contextlib import aclosing

import pytest
from support.chaptered import index_chaptered
from support.engines import BREAD, HARBOUR, last_messages, requests_of, scripted, service
from support.model_server import Reply

from server.answers import Question, Sources, Token
from server.engines.models.errors import ModelError, ModelTimeout

ASKED = "What does the keeper of the lighthouse earn, and how long does sourdough bread rise?"
PARTS = ["What does the keeper of the lighthouse earn?", "How long does sourdough bread rise?"]


@pytest.fixture
async def opened(database, embedder, settings, model_server):
    """Return a function that opens the service over two documents."""
    model_server.requests.clear()
    model_server.disconnects = 0
    model_server.default = scripted()
    await index_chaptered(database, embedder, {"harbour.md": HARBOUR, "bread.md": BREAD})

    def make(*, with_model=True, **groups):
        server = model_server if with_model else None
        return service(settings, database=database, embedder=embedder, model_server=server, **groups)

    return make


def finding(prompt):
    """Answer a part from its own passages, citing the first of them by its number there."""
    number = prompt.removeprefix("Passages:\n\n[").partition("]")[0]
    return f"Part says so [{number}]."


async def test_a_parted_question_is_answered_from_the_passages_of_all_parts(opened, model_server):
    model_server.default = scripted(
        listed=json.dumps(PARTS), finding=finding, combined=lambda prompt: prompt.replace("\n", " ")
    )
    async with opened() as made:
        answer = await made.ask(Question(ASKED, mode="sub_question", k=4))
    citations = answer.done.citations
    assert len(citations) == 4
    assert {citations[0].source, citations[1].source} == {"harbour.md", "bread.md"}  # the best of each part
    assert answer.done.engine.queries == tuple(PARTS)
    assert answer.done.engine.calls == 3
    assert f"{PARTS[0]} Part says so [1]." in answer.answer
    assert f"{PARTS[1]} Part says so [2]." in answer.answer
    assert [citation.cited for citation in citations[:2]] == [True, True]
    findings = [message for message in last_messages(model_server) if "\n\nTask: " in message]
    for citation in citations[:2]:  # what is cited was read, under the number that it has in the answer
        assert any(f"[{citation.id}] " in message and citation.text in message for message in findings)
    assert answer.done.usage.total_tokens > 4 * 11  # of four calls, eleven of each prompt


@pytest.mark.parametrize("reply", ["[]", json.dumps([ASKED]), json.dumps([PARTS[0]]), "No parts.", "", "{", "[[[[1"])
async def test_a_question_that_needs_no_parts_is_answered_as_hybrid_does(opened, model_server, reply):
    model_server.default = scripted(listed=reply)
    async with opened() as made:
        answer = await made.ask(Question(ASKED, mode="sub_question", k=3))
        hybrid = await made.ask(Question(ASKED, k=3))
    assert answer.answer == hybrid.answer == "So it is [1]."
    assert [c.node_id for c in answer.done.citations] == [c.node_id for c in hybrid.done.citations]
    assert (answer.done.engine.queries, answer.done.engine.calls) == ((), 1)
    assert not any(message.startswith("Findings:") for message in last_messages(model_server))


async def test_a_thousand_parts_are_four_and_never_more_than_passages(opened, model_server):
    model_server.default = scripted(listed=json.dumps([f"What is thing {n} of the harbour?" for n in range(1000)]))
    async with opened() as made:
        four = await made.ask(Question(ASKED, mode="sub_question", k=8))
        calls = len(model_server.requests)
        model_server.requests.clear()
        two = await made.retrieve(Question(ASKED, mode="sub_question", k=2))
        one = await made.retrieve(Question(ASKED, mode="sub_question", k=1))
    assert len(four.done.engine.queries) == 4
    assert calls == 6  # to part, four findings, one answer
    assert (len(two.engine.queries), len(two.results)) == (2, 2)
    assert (one.engine.queries, one.engine.calls, len(one.results)) == ((), 0, 1)


async def test_parts_are_answered_at_once_within_the_bound(opened, model_server):
    model_server.default = Reply(fault="hang-first")
    model_server.script(Reply(json.dumps([f"What is thing {n} of the harbour?" for n in range(4)])))
    async with opened(engines={"parallel_calls": 2}) as made:
        asking = asyncio.create_task(made.ask(Question(ASKED, mode="sub_question", k=8)))
        await requests_of(model_server, 3)
        await asyncio.sleep(0.3)
        assert len(model_server.requests) == 3  # one that parted, two of four
        asking.cancel()
        await asyncio.wait([asking])


async def test_without_a_chat_model_it_is_hybrid_and_says_so(opened, model_server):
    for groups in ({"with_model": False}, {"llm": {"is_chat_model": False}}):
        async with opened(**groups) as made:
            found = await made.retrieve(Question(ASKED, mode="sub_question", k=3))
            hybrid = await made.retrieve(Question(ASKED, k=3))
        assert [result.node_id for result in found.results] == [result.node_id for result in hybrid.results]
        assert "no chat model" in found.engine.notes[0]
    assert model_server.requests == []


async def test_retrieval_parts_the_question_and_writes_nothing(opened, model_server):
    model_server.default = scripted(listed=json.dumps(PARTS))
    async with opened() as made:
        found = await made.retrieve(Question(ASKED, mode="sub_question", k=4))
    assert {result.source for result in found.results[:2]} == {"harbour.md", "bread.md"}
    assert len(model_server.requests) == 1


async def test_a_model_that_fails_at_a_part_fails_the_answer_after_its_sources(opened, model_server):
    model_server.default = Reply(fault="server-error")
    model_server.script(Reply(json.dumps(PARTS)))
    async with opened() as made, aclosing(made.stream(Question(ASKED, mode="sub_question"))) as events:
        assert isinstance(await anext(events), Sources)
        with pytest.raises(ModelError):
            await anext(events)


async def test_a_part_that_takes_too_long_is_a_timeout(opened, model_server):
    model_server.default = Reply(fault="hang-first")
    model_server.script(Reply(json.dumps(PARTS)))
    async with opened(engines={"call_timeout": 0.5}) as made:
        with pytest.raises(ModelTimeout):
            await made.ask(Question(ASKED, mode="sub_question"))
    assert await asyncio.to_thread(model_server.wait_for_disconnects, 2, timeout=5)


async def test_leaving_while_parts_are_answered_hangs_up_on_all_of_them(opened, model_server):
    model_server.default = Reply(fault="hang-first")
    model_server.script(Reply(json.dumps(PARTS)))
    async with opened() as made:
        asking = asyncio.create_task(made.ask(Question(ASKED, mode="sub_question")))
        await requests_of(model_server, 3)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await asyncio.to_thread(model_server.wait_for_disconnects, 2, timeout=5)
        others = [task for task in asyncio.all_tasks() if "in_turn" in repr(task)]
        assert others == []


async def test_the_answer_streams_while_the_model_writes_it(opened, model_server):
    gate = threading.Event()
    model_server.default = Reply("Together in the end [1].", gate=gate)
    model_server.script(Reply(json.dumps(PARTS)), Reply("One [1]."), Reply("Two [2]."))
    async with opened() as made, aclosing(made.stream(Question(ASKED, mode="sub_question"))) as events:
        assert isinstance(await anext(events), Sources)
        assert isinstance(await asyncio.wait_for(anext(events), timeout=10), Token)  # the others wait at the gate
        gate.set()
        assert "".join([event.text async for event in events if isinstance(event, Token)]).endswith("[1].")
