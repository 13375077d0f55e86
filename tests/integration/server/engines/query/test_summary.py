"""`summary`: whole documents, read in order, within bounds, by a scripted model or by quoting."""

import asyncio
import re
from contextlib import aclosing
from dataclasses import replace

import pytest
from support.chaptered import index_chaptered
from support.databases import in_database
from support.engines import BREAD, HARBOUR, last_messages, requests_of, scripted, service
from support.model_server import Reply

from server.answers import Question, Sources
from server.engines.models.errors import ModelError
from server.engines.query.summary_reading import Bounds, calls_of, shares
from server.services.answers import NOTHING_FOUND
from storage.search.filters import Filter, FilterGroup
from storage.search.neighbours import Extent

LONG = "# Journal\n\n" + "\n\n".join(
    f"## Day {day}\n\n" + f"On day {day} the wind came from the west and ship number {day} was seen. " * 4
    for day in range(60)
)


@pytest.fixture(scope="module")
def dsn(databases, embedder):
    """Lend a database with three documents, one of them long; all tests ask it and none changes it."""
    texts = {"harbour.md": HARBOUR, "bread.md": BREAD, "journal.md": LONG}
    meta = {"harbour.md": {"team": "sea"}, "bread.md": {"team": "kitchen"}, "journal.md": {"team": "sea"}}
    with databases.lend() as url:
        in_database(
            url,
            lambda database: index_chaptered(database, embedder, texts, tokens=64, overlap=16, metadata=meta),
        )
        yield url


@pytest.fixture
def opened(database, embedder, settings, model_server):
    """Return a function that opens the service over the documents."""
    model_server.requests.clear()
    model_server.disconnects = 0
    model_server.default = scripted()

    def make(*, with_model=True, **groups):
        server = model_server if with_model else None
        return service(settings, database=database, embedder=embedder, model_server=server, **groups)

    return make


async def document_id(made, source):
    found = await made.retrieve(Question(source, k=50, min_score=0.0))
    return next(result.document_id for result in found.results if result.source == source)


def squeezed(text):
    return " ".join(text.split())


def test_what_a_short_document_leaves_the_next_ones_get():
    bounds = Bounds(passages=8, room=5000, characters=10_000, calls=8)
    documents = [Extent("short", 1, 1000), Extent("long", 9, 50_000)]
    assert [(extent.document_id, number, given) for extent, number, given in shares(documents, bounds)] == [
        ("short", 1, 1000),
        ("long", 6, 9000),
    ]


def test_calls_are_filled_with_consecutive_passages():
    assert calls_of([400, 400, 400, 9000, 10], 1100) == [range(2), range(2, 3), range(3, 4), range(4, 5)]
    assert calls_of([], 100) == []


async def test_a_named_document_is_read_from_its_beginning_to_its_end(opened, model_server):
    async with opened() as made:
        harbour = await document_id(made, "harbour.md")
        answer = await made.ask(Question("Sum it up.", mode="summary", document_ids=(harbour,)))
    citations = answer.done.citations
    assert squeezed(" ".join(citation.text for citation in citations)) == squeezed(HARBOUR)
    assert [citation.start for citation in citations] == sorted(citation.start for citation in citations)
    assert answer.answer == "So it is [1]."
    assert answer.done.engine.calls == 0  # it fits into the call that answers
    assert answer.done.engine.notes == ()
    assert all(citation.text in last_messages(model_server)[-1] for citation in citations)


async def test_a_long_document_is_read_call_by_call_and_every_call_cites_by_the_same_numbers(opened, model_server):
    def finding(prompt):
        return "Notes on " + " ".join(re.findall(r"^\[\d+\]", prompt, re.MULTILINE))

    model_server.default = scripted(finding=finding, combined=lambda prompt: f"All of it: {prompt}")
    async with opened(llm={"context_window": 2500}) as made:
        journal = await document_id(made, "journal.md")
        answer = await made.ask(Question("What happened?", mode="summary", document_ids=(journal,), k=20))
    citations = answer.done.citations
    assert squeezed(LONG) == squeezed(" ".join(citation.text for citation in citations))
    assert answer.done.engine.calls >= 3
    assert {citation.id for citation in citations if citation.cited} == {citation.id for citation in citations}
    read = [message for message in last_messages(model_server) if "\n\nTask: " in message]
    assert len(read) == answer.done.engine.calls
    for citation in citations:
        (prompt,) = [message for message in read if f"[{citation.id}] " in message]
        assert citation.text in prompt
    assert answer.done.usage.total_tokens > 11 * (answer.done.engine.calls + 1)


async def test_reading_stops_at_its_bounds_and_the_answer_says_where(opened, model_server):
    async with opened(llm={"context_window": 2500}, engines={"summary_calls": 2}) as made:
        journal = await document_id(made, "journal.md")
        answer = await made.ask(Question("What happened?", mode="summary", document_ids=(journal,), k=20))
    end = answer.done.citations[-1].end
    assert 0 < end < len(LONG.strip())
    note = f"Of journal.md the first {end} of {len(LONG.strip())} characters were read."
    assert answer.done.engine.notes == (note,)
    assert answer.answer.endswith(note)
    assert sum("\n\nTask: " in message for message in last_messages(model_server)) <= 2
    async with opened(llm={"context_window": 2500}, engines={"summary_calls": 2}) as made:
        found = await made.retrieve(Question("What happened?", mode="summary", document_ids=(journal,), k=4))
    assert (len(found.results), found.results[-1].end) == (4, len(LONG.strip()))  # no model has to read them
    assert found.engine.notes == ()
    async with opened(engines={"summary_tokens": 1000}) as made:
        short = await made.retrieve(Question("What happened?", mode="summary", document_ids=(journal,)))
    assert short.results[-1].end <= 3600
    assert "characters were read" in short.engine.notes[0]


async def test_k_is_how_many_passages_there_are_at_the_most(opened):
    async with opened() as made:
        journal, harbour = await document_id(made, "journal.md"), await document_id(made, "harbour.md")
        for k in (1, 2, 5):
            found = await made.retrieve(Question("Sum up", mode="summary", document_ids=(journal, harbour), k=k))
            assert 0 < len(found.results) <= k
            assert found.engine.calls == 0
        assert {result.source for result in found.results} == {"journal.md", "harbour.md"}


async def test_the_documents_with_the_best_hits_are_read_where_none_is_named(opened, model_server):
    async with opened(engines={"summary_documents": 1}) as made:
        bread = await made.retrieve(Question("Sum up what is known of sourdough bread and rolls", mode="summary"))
        assert {result.source for result in bread.results} == {"bread.md"}
        sea = FilterGroup(filters=[Filter(key="team", value="sea")])
        found = await made.retrieve(Question("Sum up sourdough bread", mode="summary", filters=sea, min_score=0.0))
        assert {result.source for result in found.results} <= {"harbour.md", "journal.md"}
        nothing = await made.ask(Question("Sum up the quasars", mode="summary", min_score=0.95))
    assert (nothing.answer, nothing.done.finish_reason) == (NOTHING_FOUND["english"], "no_context")
    assert model_server.requests == []


async def test_a_filter_holds_for_documents_that_are_named(opened):
    kitchen = FilterGroup(filters=[Filter(key="team", value="kitchen")])
    async with opened() as made:
        harbour = await document_id(made, "harbour.md")
        found = await made.retrieve(
            Question("Sum up", mode="summary", document_ids=(harbour, "nowhere"), filters=kitchen)
        )
    assert found.results == ()
    assert found.engine.notes == ()


async def test_without_a_model_sentences_that_stand_for_the_whole_are_quoted(opened):
    async with opened(with_model=False) as made:
        harbour = await document_id(made, "harbour.md")
        answer = await made.ask(Question("What is the handbook about?", mode="summary", document_ids=(harbour,), k=4))
    assert answer.done.finish_reason == "extractive"
    quotes = re.findall(r"“(.+?)” \[(\d+)\]", answer.answer)
    assert 3 <= len(quotes) <= 5
    texts = {citation.id: squeezed(citation.text) for citation in answer.done.citations}
    assert all(quote in texts[int(number)] for quote, number in quotes)
    assert len({quote for quote, _ in quotes}) == len(quotes)


async def test_a_model_that_fails_midway_is_a_typed_error(opened, model_server):
    model_server.default = Reply(fault="cut")
    async with opened(llm={"context_window": 2500}) as made:
        journal = await document_id(made, "journal.md")
        asked = Question("What happened?", mode="summary", document_ids=(journal,), k=20)
        async with aclosing(made.stream(asked)) as events:
            assert isinstance(await anext(events), Sources)
            with pytest.raises(ModelError):
                await anext(events)


async def test_leaving_while_it_reads_hangs_up_on_every_call(opened, model_server):
    model_server.default = Reply(fault="hang-first")
    async with opened(llm={"context_window": 2500}, engines={"parallel_calls": 3}) as made:
        journal = await document_id(made, "journal.md")
        asking = asyncio.create_task(
            made.ask(Question("What happened?", mode="summary", document_ids=(journal,), k=20))
        )
        await requests_of(model_server, 3)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await asyncio.to_thread(model_server.wait_for_disconnects, 3, timeout=5)
    assert len(model_server.requests) == 3  # the bound on calls at once


async def test_notes_that_do_not_fit_together_are_put_together_in_groups(opened, model_server):
    model_server.default = scripted(finding="note " * 300 + "[1]", combined="All [1].")
    async with opened(llm={"context_window": 2500}, engines={"summary_calls": 20}) as made:
        journal = await document_id(made, "journal.md")
        answer = await made.ask(Question("What happened?", mode="summary", document_ids=(journal,), k=20))
    assert answer.answer.startswith("All [1].")
    prompts = [message for message in last_messages(model_server) if message.startswith("Findings:")]
    assert all(len(prompt) < 2500 * 3 for prompt in prompts)


async def test_an_overview_keeps_to_the_request_s_stop_and_token_limit(opened):
    async with opened(with_model=False) as made:
        asked = Question(
            "What happens at the harbour?", mode="summary", document_ids=(await document_id(made, "harbour.md"),)
        )
        whole = await made.ask(asked)
        stop = whole.answer[20:30]
        assert (await made.ask(replace(asked, stop=(stop,)))).answer == whole.answer[
            : whole.answer.index(stop)
        ].rstrip()
        cut = await made.ask(replace(asked, max_tokens=5))
        assert whole.answer.startswith(cut.answer)
        assert cut.done.finish_reason == "length"
