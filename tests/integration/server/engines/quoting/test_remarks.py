"""Notes on questions that fit two places, or that name what no passage mentions: real documents, database, HTTP."""

from contextlib import asynccontextmanager

import httpx
import pytest
from support.databases import in_database
from support.environment import make_settings
from support.indexed import real_app
from support.ingested import ingested
from support.model_server import Reply, start_model_server
from support.scripted import running

TEXTS = {
    "kettle.md": "# The Aurora kettle\n\nA kettle of steel for two litres.\n\n"
    "## Warranty\n\nThe warranty lasts two years from the day of purchase. Keep the receipt.\n\n"
    "## Reset\n\nTo reset it, press the lid for ten seconds.\n",
    "toaster.md": "# The Borealis toaster\n\nA toaster for four slices.\n\n"
    "## Warranty\n\nThe warranty lasts three years from the day of purchase. Register online.\n\n"
    "## Reset\n\nTo reset it, pull the plug and wait for the lamp to go out.\n",
    "oslo.md": "# Office of Oslo\n\nThe office opens at 8:30 and closes at 16:00. The notice period is three months. "
    "Parking costs 40 crowns a day. The door code is changed by the caretaker.\n",
    "riga.md": "# Office of Riga\n\nThe office opens at 9:15 and closes at 17:30. The notice period is six weeks. "
    "Parking is free. The door code is changed by the landlord on request.\n",
    "tariffs.md": "# Tariffs\n\n## Basic\n\n### Storage\n\nStorage is limited to 5 GB.\n\n"
    "## Premium\n\n### Storage\n\nStorage is limited to 500 GB.\n",
    "lake.md": "# Rules of the lake\n\nFishing is allowed from May. Boats may carry at most six people.\n",
}
WARRANTIES = (
    "The question fits two places equally well: "
    "“The Borealis toaster > Warranty” [1] and “The Aurora kettle > Warranty” [2]."
)
AMBIGUOUS = {
    "how long is the warranty": ("three years", "two years"),
    "how do I reset it": ("press the lid", "pull the plug"),
    "what is the notice period": ("three months", "six weeks"),
    "when does the office open": ("8:30", "9:15"),
    "who changes the door code": ("caretaker", "landlord"),
    "how much storage is there": ("5 GB", "500 GB"),
}
CLEAR = [
    "how long is the warranty of the kettle",
    "how long is the warranty of the Borealis toaster",
    "what is the notice period in Oslo",
    "how much storage does basic have",
    "when is fishing allowed",
    "how many people may a boat carry",
    "difference between the warranty of the kettle and the toaster",
]
HALVES = {
    "how long is the warranty of the kettle and the blender": ("two years", "blender"),
    "difference between the kettle and the microwave": ("A kettle of steel", "microwave"),
    "parking in Oslo and Helsinki": ("40 crowns", "Helsinki"),
    "how do I reset the toaster over Bluetooth": ("pull the plug", "Bluetooth"),
}


@pytest.fixture(scope="module")
def dsn(databases, embedder, tmp_path_factory):
    """Lend a database with the documents, which all tests ask and none changes."""
    folder = tmp_path_factory.mktemp("texts")
    with databases.lend() as url:
        in_database(
            url, lambda database: ingested(database, TEXTS, embedder=embedder, folder=folder, max_tokens=64, overlap=0)
        )
        yield url


@pytest.fixture
def asking(embedder, settings):
    """Return a function that serves the documents, and yields a client."""

    @asynccontextmanager
    async def serve(**groups):
        dsn = settings.database.url.get_secret_value()
        chosen = make_settings(dsn, settings.data_dir, retrieval={"refuse": 0.05}, **groups)
        with running(real_app(chosen, embedder=embedder)) as served:
            async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
                yield http

    return serve


@asynccontextmanager
async def modelled(asking, answer, **groups):
    with start_model_server() as model:
        model.default = Reply(answer)
        llm = {"provider": "openai_like", "base_url": model.openai_url, "api_key": "k", "model": "m", "max_retries": 0}
        async with asking(llm=llm, **groups) as http:
            yield http


async def ask(http, question, **body):
    response = await http.post("/query", json={"question": question, "k": 5, **body})
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_question_that_fits_two_places_gets_both_quotations_and_a_note(asking):
    async with asking() as http:
        answers = {question: await ask(http, question) for question in AMBIGUOUS}
    for question, texts in AMBIGUOUS.items():
        first, second, *_ = answers[question]["answer"].split("\n\n")
        assert sorted(texts) == sorted(text for text in texts if text in first or text in second), question
        (note,) = answers[question]["engine"]["notes"]
        assert note.startswith("The question fits two places equally well: “"), question
    assert answers["how long is the warranty"]["engine"]["notes"] == [WARRANTIES]


async def test_a_question_that_names_its_place_gets_no_note(asking):
    async with asking() as http:
        notes = {question: (await ask(http, question))["engine"]["notes"] for question in CLEAR}
    assert notes == {question: [] for question in CLEAR}


async def test_half_an_answer_says_what_no_passage_mentions(asking):
    async with asking() as http:
        answers = {question: await ask(http, question) for question in HALVES}
    for question, (text, missing) in HALVES.items():
        assert answers[question]["finish_reason"] == "extractive", question
        assert text in answers[question]["answer"], question
        assert answers[question]["engine"]["notes"] == [f"No passage mentions “{missing}”."], question


async def test_a_model_s_answer_gets_the_notes_also_at_the_end_of_a_stream(asking):
    async with modelled(asking, "It lasts three years [1], or two years [2].") as http:
        answer = await ask(http, "how long is the warranty")
        half = await ask(http, "parking in Oslo and Helsinki")
        stream = await http.post("/query/stream", json={"question": "how long is the warranty", "k": 5})
    assert answer["finish_reason"] == "stop"
    assert answer["engine"]["notes"] == [WARRANTIES]
    assert half["engine"]["notes"] == ["No passage mentions “Helsinki”."]
    assert WARRANTIES in stream.text.replace("\\u201c", "“").replace("\\u201d", "”")


async def test_a_refused_question_has_no_such_note(asking):
    async with asking() as http:
        answer = await ask(http, "capital of Mongolia and Peru", min_score=0)
    assert (answer["finish_reason"], answer["engine"]["notes"]) == ("no_context", [])


async def test_an_answer_with_such_a_note_is_cached_with_it(asking):
    async with modelled(asking, "It lasts three years [1], or two years [2].", cache={"answers": True}) as http:
        first, second = [await ask(http, "how long is the warranty") for _ in range(2)]
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["engine"]["notes"] == second["engine"]["notes"] == [WARRANTIES]
