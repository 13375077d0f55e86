"""What a caller finds is the same whether or not documents that he may not read have a word, which none of his has."""

from dataclasses import replace

import pytest
from support.corpus import CHUNKING, IDENTITY, chunks, document, vector

from config.settings import RetrievalSettings
from storage.caller import LOCAL, Caller, acting_as
from storage.collections.collections import Collections
from storage.documents.writes import Documents
from storage.search import lexical_leg, readability
from storage.search.lexicon import Lexicon
from storage.search.search import ChunkSearch, SearchRequest
from storage.search.word_weights import WordWeights

ADA = Caller("public", "ada", ("eng",))
VISIBLE = ("apple lorentz transformation", "apple pear", "fig o'hara c:\\temp\\x plum lindow")
SECRETS = {"said": "apple lorenz zanzibar lindau", "unsaid": "apple quince damson sloe"}
"""Of one length: how long passages are on average, is a part of all scores."""
QUESTIONS = (
    "lorenz",  # beside a visible word that it may have been
    "lorents",  # one mistake away from a word of each side
    "zanzibar",
    "apple zanzibar",  # every word that there is, or not
    "pear lorenz",
    "pear lindau lindow",
    '"apple lorenz"',
)


async def collection(database, name, secret, *, copies=3):
    generation = await Collections(database).create(name, embedding=IDENTITY, chunking=CHUNKING)
    store = Documents(database, generation=generation)
    texts = [*((text, ("group:eng",)) for text in VISIBLE), *([(secret, ())] * copies)]
    for number, (text, readers) in enumerate(texts):
        new = replace(document(f"d{number}"), readers=readers)
        await store.write(new, chunks(new, text), replaces=None)
    assert await Lexicon(database, generation=generation).keep_up(stale_share=0.0)
    return generation


async def found(database, generation, who, question, mode):
    search = ChunkSearch(database, generation=generation, settings=RetrievalSettings())
    request = SearchRequest(
        mode, limit=9, text=question, embedding=vector("far away"), min_score=0.999, full_match_skips_min_score=True
    )
    with acting_as(who):
        return [(hit.text, hit.scores) for hit in await search.search(request)]


@pytest.mark.parametrize("named_to", [2.0, 1e-6], ids=["named", "looked up"])
async def test_neither_found_passages_nor_their_scores_tell_words_of_hidden_documents(database, monkeypatch, named_to):
    monkeypatch.setattr(readability, "MUCH", named_to)
    said, unsaid = [await collection(database, name, secret) for name, secret in SECRETS.items()]
    for question in QUESTIONS:
        for mode in ("keyword", "hybrid"):
            of_said = await found(database, said, ADA, question, mode)
            assert of_said == await found(database, unsaid, ADA, question, mode), (question, mode)
    assert await found(database, said, LOCAL, "zanzibar", "keyword")
    assert [text for text, _ in await found(database, said, ADA, "lorenz", "keyword")] == [VISIBLE[0]]


@pytest.mark.parametrize("named_to", [2.0, 1e-6], ids=["named", "looked up"])
async def test_weights_do_not_tell_words_of_hidden_documents(database, monkeypatch, named_to):
    monkeypatch.setattr(readability, "MUCH", named_to)
    said, unsaid = [await collection(database, name, secret) for name, secret in SECRETS.items()]
    words = ["lorenz", "lorents", "zanzibar", "apple", "pear", "lindau"]
    weights = WordWeights(database)

    async def of(generation, who):
        with acting_as(who):
            return {each.word: each for each in await weights.of(generation, words=words)}

    for _ in range(2):  # remembered or not
        assert (await of(said, LOCAL))["zanzibar"].is_known
        told = await of(said, ADA)
        assert told == await of(unsaid, ADA)
        assert {word for word, each in told.items() if each.is_known} == {"lorenz", "lorents", "apple", "pear"}
        assert told["lorenz"].is_misspelt


async def test_a_word_in_very_many_hidden_chunks_is_known_without_a_look(database, monkeypatch):
    monkeypatch.setattr(lexical_leg, "TOLD_FROM", 2)
    said = await collection(database, "said", SECRETS["said"])
    with acting_as(ADA):
        known = {
            each.word: each.is_known for each in await WordWeights(database).of(said, words=["zanzibar", "quince"])
        }
    assert known == {"zanzibar": True, "quince": False}


async def test_a_word_of_a_readable_document_is_known_whatever_its_characters(database):
    said = await collection(database, "said", SECRETS["said"], copies=30)
    words = ["c:\\temp\\x", "temp", "plum"]
    known = {}
    for who in (LOCAL, ADA):
        with acting_as(who):
            known[who] = {each.word for each in await WordWeights(database).of(said, words=words) if each.is_known}
    assert known[LOCAL] == known[ADA] == set(words)
