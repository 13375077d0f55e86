"""A conversation's earlier citations are those that its reader may still see."""

import json

import pytest
from support.corpus import chunks, document, make_collection

from storage.caller import LOCAL, Caller, acting_as
from storage.chat.conversations import WITHHELD, ConversationCatalog
from storage.chat.feedback import FeedbackStore, NewFeedback
from storage.chat.turns import NewTurn, TurnAnswer, TurnStore
from storage.documents.readers import DocumentReaders
from storage.documents.writes import Documents
from storage.leases import Leases

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ADA = Caller("public", "ada")


@pytest.fixture
async def cited(database):
    """Return two documents of which an answer to Ada cited both."""
    generation = await make_collection(database)
    documents = [document("open"), document("hr")]
    for each in documents:
        await Documents(database, generation=generation).write(
            each, chunks(each, f"text of {each.source}"), replaces=None
        )
    return documents


async def answered(database, documents, *, finish_reason, trace_id=None):
    citations = [
        {
            "id": number,
            "document_id": each.id,
            "text": f"text of {each.source}",
            "score": 0.5,
            "page": None,
            "cited": True,
        }
        for number, each in enumerate(documents, 1)
    ]
    answer = TurnAnswer(
        answer="It is so [1][2].", answer_tokens=5, standalone_question=None, citations_json=json.dumps(citations),
        finish_reason=finish_reason, model=None, usage_json=None, cost_usd=None, timings_json="{}", generation="1",
    )  # fmt: skip
    leases = Leases(database, seconds=60)
    turns = TurnStore(database, leases=leases)
    turn = await turns.begin(NewTurn("Why?", 1, "r", None, trace_id), collection="default")
    await turns.complete(turn, answer)
    return str(turn.conversation_id)


@pytest.mark.parametrize("finish_reason", ["stop", "extractive"])
async def test_a_citation_of_a_document_that_may_no_longer_be_read_is_blank(database, cited, finish_reason):
    with acting_as(ADA):
        conversation = await answered(database, cited, finish_reason=finish_reason)
        catalog = ConversationCatalog(database)

        async def read():
            return (await catalog.messages(conversation, turns=5, cursor=None)).items[1]

        assert [each["text"] for each in (await read()).citations] == ["text of open", "text of hr"]
        with acting_as(LOCAL):
            await DocumentReaders(database).put(cited[1].id, ["group:hr"], collection="default")
        message = await read()
        assert message.citations[0]["text"] == "text of open"
        assert message.citations[1] == {
            "id": 2, "document_id": "", "text": "", "score": 0.0, "page": None, "cited": True, "withheld": True
        }  # fmt: skip
        assert message.content == (WITHHELD if finish_reason == "extractive" else "It is so [1][2].")
    for again in (LOCAL, Caller("public", "ada", ("hr",))):
        with acting_as(again):
            assert [each["text"] for each in (await read()).citations] == ["text of open", "text of hr"]


@pytest.mark.parametrize("finish_reason", ["stop", "extractive"])
async def test_a_rating_tells_no_more_of_its_answer_than_the_conversation(database, cited, finish_reason):
    ratings = FeedbackStore(database)

    async def read():
        (found,) = (await ratings.list(limit=5, cursor=None)).items
        return found.answer, found.document_ids

    whole = "It is so [1][2].", (cited[0].id, cited[1].id)
    with acting_as(Caller("public", "ada", ("hr",))):
        await answered(database, cited, finish_reason=finish_reason, trace_id=TRACE)
        await ratings.put(NewFeedback(TRACE, "up"))
        with acting_as(LOCAL):
            await DocumentReaders(database).put(cited[1].id, ["group:hr"], collection="default")
        assert await read() == whole
    with acting_as(ADA):  # who has left the group, or another key of hers
        text = WITHHELD if finish_reason == "extractive" else whole[0]
        assert await read() == (text, (cited[0].id,))
    with acting_as(LOCAL):
        assert await read() == whole
