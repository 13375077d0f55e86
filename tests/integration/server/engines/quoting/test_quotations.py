"""Answers without a language model, refusals with and without one: real documents, reader, embedding model, HTTP."""

from contextlib import asynccontextmanager

import httpx
import pytest
from support.databases import in_database
from support.environment import make_settings
from support.events import parse
from support.indexed import real_app
from support.ingested import ingested
from support.model_server import Reply, start_model_server
from support.scripted import running

from server.engines.writing.refusing import NO_ANSWER
from server.services.answers import NOTHING_FOUND
from storage.collections.collections import Collections
from storage.search.word_weights import WordWeights

VAULTS = """\
# Vaults of Ostrava

## Limits

What a vault may have at most:

| Item | Upper limit |
| --- | --- |
| doors per hall | 1,600 |
| halls per vault | unlimited |
| key name | 63 bytes |

## Settings

`vault.lockTimeout`

How long a door waits for its key before it locks again. The default is four seconds.

`vault.keepOpen`

If this is set, doors stay open at night. It is off by default.

## Keys

Valid kinds of keys are:

- brass
- steel
- bone

To copy a key, run this command in the hall:

```sh
vaultctl copy --key brass --to /halls/7
```

A brass key is weaker than a steel key, but it never rusts. A lost key cannot be restored.
If no key is given, the door refuses to open and rings the bell.
"""
OTHERS = {
    "bread.md": "# Bread\n\nSourdough bread rises for twelve hours before it is baked at 230 degrees.\n",
    "light.md": "# The lighthouse\n\nThe lighthouse of Ostrava Bay was built in 1871 by the engineer Milada Novak.\n",
}
ANSWERED = {
    "how many doors can a hall have": "1,600",
    "longest key name": "63 bytes",
    "vault.lockTimeout default": "four seconds",
    "how long does a door wait for the key if I don't change anything": "four seconds",
    "which kinds of keys are there": "brass; steel; bone",
    "how do I copy a key": "vaultctl copy --key brass",
    "can a lost key be restored": "cannot be restored",
    "is brass weaker than steel": "weaker than a steel key",
    "what happens if no key is given": "refuses to open",
    "wich setting keeps the doors open at nigth": "vault.keepOpen",
    "Was ist der Standardwert von vault.lockTimeout?": "four seconds",
}
OFF_TOPIC = [
    "capital of Mongolia",
    "who won the Tour de France in 2019",
    "how tall is Mount Kilimanjaro",
    "Wer ist der Bürgermeister von Toronto?",
]


@pytest.fixture(scope="module")
def dsn(databases, embedder, tmp_path_factory):
    """Lend a database with the documents, which all tests ask and none changes."""
    folder, texts = tmp_path_factory.mktemp("texts"), {"vaults.md": VAULTS, **OTHERS}
    with databases.lend() as url:
        in_database(
            url,
            lambda database: ingested(database, texts, embedder=embedder, folder=folder, max_tokens=128, overlap=0),
        )
        yield url


@pytest.fixture
def asking(embedder, settings):
    """Return a function that serves the documents, and yields a client."""

    @asynccontextmanager
    async def serve(*, refuse=0.05, **groups):
        dsn = settings.database.url.get_secret_value()
        chosen = make_settings(dsn, settings.data_dir, retrieval={"refuse": refuse}, **groups)
        with running(real_app(chosen, embedder=embedder)) as served:
            async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
                yield http

    return serve


async def ask(http, question, path="/query", **body):
    response = await http.post(path, json={"question": question, "k": 5, **body})
    assert response.status_code == 200, response.text
    return response.json()


async def test_each_kind_of_question_gets_its_row_sentence_list_or_command(asking):
    async with asking() as http:
        answers = {question: await ask(http, question) for question in ANSWERED}
    wrong = {
        question: answers[question]["answer"]
        for question, text in ANSWERED.items()
        if text not in answers[question]["answer"]
    }
    assert wrong == {}
    for answer in answers.values():
        assert answer["finish_reason"] == "extractive"
        cited = {citation["id"] for citation in answer["citations"] if citation["cited"]}
        assert cited
        assert all(f"[{number}]" in answer["answer"] for number in cited)


async def test_a_table_row_says_what_its_number_is_of(asking):
    async with asking() as http:
        answer = await ask(http, "how many doors can a hall have")
    assert answer["answer"].startswith("Item: doors per hall; Upper limit: 1,600 [")


@pytest.mark.parametrize("question", OFF_TOPIC)
async def test_a_question_of_other_things_is_refused_in_its_language_without_citations(asking, question):
    async with asking() as http:
        answer = await ask(http, question)
        found = await ask(http, question, "/retrieve", min_score=0)
        response = await http.post("/query/stream", json={"question": question, "min_score": 0})
    language = "german" if question.startswith("Wer") else "english"
    assert (answer["answer"], answer["finish_reason"]) == (NOTHING_FOUND[language], "no_context")
    assert answer["citations"] == []
    assert found["results"]  # who asks for passages gets them
    *_, done, end = parse(response.text)
    assert (done.name, done.data["finish_reason"]) == ("done", "no_context")
    assert end.data == "[DONE]"


async def test_nothing_is_refused_where_the_operator_wants_it_so(asking):
    async with asking(refuse=0) as http:
        assert (await ask(http, "capital of Mongolia", min_score=0))["finish_reason"] == "extractive"


@asynccontextmanager
async def modelled(asking, *replies, default=None):
    with start_model_server() as model:
        model.script(*replies)
        model.default = default or Reply()
        llm = {"provider": "openai_like", "base_url": model.openai_url, "api_key": "k", "model": "m", "max_retries": 0}
        async with asking(llm=llm) as http:
            yield http, model


async def test_a_model_s_answer_to_another_question_than_the_passages_answer_is_not_shown(asking):
    invented = Reply("Mount Kilimanjaro is 5895 metres tall [1].")
    async with modelled(asking, default=invented) as (http, _):
        answer = await ask(http, "how tall is Mount Kilimanjaro", min_score=0)
        known = await ask(http, "how many doors can a hall have")
    assert (answer["finish_reason"], answer["citations"]) == ("no_context", [])
    assert "5895" not in answer["answer"]
    assert known["finish_reason"] == "stop"


async def test_a_model_that_says_that_the_passages_do_not_answer_is_taken_at_its_word(asking):
    async with modelled(asking, default=Reply(NO_ANSWER, delay=0.001)) as (http, _):
        answer = await ask(http, "how many doors can a hall have")
        response = await http.post("/query/stream", json={"question": "how many doors can a hall have"})
    assert (answer["answer"], answer["finish_reason"]) == (NOTHING_FOUND["english"], "no_context")
    assert NO_ANSWER not in response.text
    assert parse(response.text)[-2].data["finish_reason"] == "no_context"


@pytest.mark.usefixtures("asking")
async def test_words_weigh_by_the_collection_s_lexicon_with_typing_errors_mended(database):
    generation = await Collections(database).active("default")
    words = ["doors", "lighthuose", "lighthouses", "Mongolia", "the", "vault.lockTimeout", "'; DROP TABLE x; --"]
    weights = WordWeights(database)
    found = {each.word: each for each in await weights.of(generation, words=words)}
    assert "the" not in found
    assert found["lighthuose"].is_known
    assert found["lighthuose"].is_misspelt
    assert not found["lighthouses"].is_misspelt
    assert found["lighthuose"].lexeme == "lighthous"
    assert found["vault.lockTimeout"].is_known
    assert not found["Mongolia"].is_known
    assert found["Mongolia"].weight > found["doors"].weight > 0
    assert await weights.of(generation, words=[*words, "doors"]) == [*found.values(), found["doors"]]


@pytest.mark.usefixtures("asking")
async def test_a_word_that_no_chunk_has_is_looked_up_again_and_one_that_is_known_is_not(database):
    generation = await Collections(database).active("default")
    weights = WordWeights(database)
    words = ["zyxomma", "brass", "the"]
    before = await weights.of(generation, words=words)
    assert [(each.word, each.is_known) for each in before] == [("zyxomma", False), ("brass", True)]
    async with database.transaction() as connection:
        change = "UPDATE footnote.lexicon SET lexeme = $3 WHERE generation_id = $1 AND lexeme = $2"
        await connection.execute(change, generation.id, "brass", "zyxomma")
    after = await weights.of(generation, words=words)
    assert [(each.word, each.is_known) for each in after] == [("zyxomma", True), ("brass", True)]
    assert after[1] == before[1]
    async with database.transaction() as connection:
        await connection.execute(change, generation.id, "zyxomma", "brass")
