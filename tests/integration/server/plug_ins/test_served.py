"""Plug-ins of an installed package through every door, beside a real database and a scripted model."""

from __future__ import annotations

import pytest
from support.events import ending
from support.model_server import Reply
from support.plug_ins import BAD, SAMPLE, installed
from support.stack import texts

LIGHTHOUSE = "lighthouse.md"


@pytest.fixture(scope="module")
def packages():
    with installed(SAMPLE, BAD) as folder:
        yield folder


@pytest.fixture
def served(stack, packages):  # noqa: ARG001 (they are installed)
    """Serve with the installed engines, and further plug-ins."""
    stack.fresh(default=Reply(text="Milada Novak built it [1]."))

    def serve(**plug_ins):
        return stack.serve(plug_ins=plug_ins, retrieval={"min_score": 0})

    return serve


def asked(http, question, mode, path="/query", **body):
    key = "message" if path == "/chat" else "question"
    return http.post(path, json={key: question, "mode": mode, **body})


def test_a_query_engine_answers_at_every_door(served):
    with served() as http:
        whole = asked(http, "hello", "parrot").raise_for_status().json()
        assert (whole["answer"], whole["model"], whole["engine"]["name"]) == ("hello!", "plug-in:parrot", "parrot")
        assert texts(http.events("/query/stream", {"question": "hello", "mode": "parrot"})) == "hello!"
        first = asked(http, "hello", "parrot", "/chat").raise_for_status().json()
        assert first["answer"] == "hello!"
        completion = {"model": "footnote/default", "messages": [{"role": "user", "content": "hello"}]}
        sent = http.post("/v1/chat/completions", json={**completion, "footnote": {"mode": "parrot"}})
        assert sent.json()["choices"][0]["message"]["content"] == "hello!"


def test_what_a_class_cannot_do_is_a_422_that_names_it(served):
    with served() as http:
        problem = asked(http, "hello", "parrot", "/retrieve")
        assert problem.status_code == 422
        assert "'parrot'" in problem.json()["detail"]
        assert "Parrot has no retrieve" in problem.json()["detail"]
        unknown = asked(http, "hello", "no-such").json()["detail"]
        assert "parrot" in unknown
        assert "titles" in unknown
        assert asked(http, "hello", "counting").status_code == 422  # it chats only


def test_a_retriever_becomes_an_engine_with_footnotes(served):
    question = "Who built the lighthouse?"
    with served() as http:
        whole = asked(http, question, "titles").raise_for_status().json()
        assert whole["answer"] == "Milada Novak built it [1]."
        (citation,) = whole["citations"]
        assert citation["source"] == LIGHTHOUSE
        assert citation["text"].startswith("The lighthouse of Ostrava Bay")  # as it is stored
        assert citation["cited"]
        found = asked(http, question, "titles", "/retrieve").json()
        assert [each["source"] for each in found["results"]] == [LIGHTHOUSE]
        chat = asked(http, question, "titles", "/chat").json()
        assert chat["answer"] == whole["answer"]
        nothing = asked(http, "Where is Ostrava?", "titles").json()
        assert nothing["finish_reason"] == "no_context"


def test_a_plug_in_retriever_obeys_filters_and_documents(served):
    question = "Who built the lighthouse and the bread?"
    with served() as http:
        both = asked(http, question, "titles", "/retrieve").json()["results"]
        assert {each["source"] for each in both} == {LIGHTHOUSE, "bread.md"}
        one = {each["source"]: each["document_id"] for each in both}[LIGHTHOUSE]
        only = asked(http, question, "titles", "/retrieve", document_ids=[one]).json()
        assert [each["source"] for each in only["results"]] == [LIGHTHOUSE]
        filters = {"filters": [{"key": "source", "value": "bread.md"}]}
        bread = asked(http, question, "titles", "/retrieve", filters=filters).json()
        assert [each["source"] for each in bread["results"]] == ["bread.md"]
        assert "1 passage of the plug-in 'titles' left out" in " ".join(bread["engine"]["notes"])


def test_a_function_builds_an_engine_from_footnotes_parts(served):
    with served() as http:
        whole = asked(http, "Who built the lighthouse?", "brief", join_neighbours=False).raise_for_status().json()
        assert len(whole["citations"]) == 3
        assert whole["answer"] == "Milada Novak built it [1]."
        assert not whole["model"].startswith("plug-in")  # Footnote's model wrote it
        assert len(asked(http, "Who built it?", "brief", "/retrieve").json()["results"]) == 3
        assert asked(http, "Who built it?", "brief", "/chat").json()["answer"] == whole["answer"]


def test_an_engine_that_asks_the_model_itself_tells_what_that_used(served):
    with served(engines={"asking": "footnote_sample.engines.asking"}) as http:
        whole = asked(http, "Who built the lighthouse?", "asking").raise_for_status().json()
        assert whole["usage"]["total_tokens"] > 0
        assert whole["engine"]["calls"] == 1


def test_ready_names_the_model_that_is_left_out_while_another_stands_for_it(stack):
    stack.fresh(Reply(fault="server-error"), default=Reply(text="Milada Novak built it [1]."))
    spare = {"provider": "openai_like", "base_url": stack.model.openai_url, "api_key": "k", "model": "spare"}
    llm = {"fallback": ["spare"], "breaker_failures": 1, "breaker_seconds": 600}
    with stack.serve(llm=llm, llms={"spare": spare}, retrieval={"min_score": 0}) as http:
        assert "default: the model failed" not in http.get("/ready").text
        assert asked(http, "Who built the lighthouse?", "hybrid").status_code == 200
        state = http.get("/ready").raise_for_status().json()["dependencies"]["model"]
        assert state["ok"]
        assert state["detail"].startswith("default: the model failed")


def test_a_chat_engine_is_made_anew_for_each_turn(served):
    with served() as http:
        first = asked(http, "hello", "counting", "/chat").raise_for_status().json()
        assert first["answer"] == "1 said to me, 0 before: hello"
        again = asked(http, "again", "counting", "/chat", conversation_id=first["conversation_id"]).json()
        assert again["answer"] == "1 said to me, 2 before: again"
        assert again["model"] == "plug-in:counting"


@pytest.mark.parametrize("mode", ["hybrid", "window", "auto_merging", "fusion", "summary", "titles"])
def test_a_postprocessor_is_applied_whatever_the_engine(served, mode):
    question = "How long does the sourdough bread and the lighthouse rise?"
    with served() as http:
        before = asked(http, question, mode, "/retrieve", k=4).raise_for_status().json()["results"]
    with served(postprocessors=["no-bread"]) as http:
        found = asked(http, question, mode, "/retrieve", k=4).raise_for_status().json()["results"]
    assert any("Sourdough" in each["text"] for each in before)
    assert found
    assert not any("Sourdough" in each["text"] for each in found)


def test_a_guard_changes_questions_and_answers_and_refuses(served, stack):
    stack.fresh(default=Reply(text="Write to keeper@ostrava.example [1]. It was Milada Novak [1][2]."))
    with served(guards=["no-addresses"]) as http:
        whole = asked(http, "Is bob@home.example the keeper of the lighthouse?", "hybrid").raise_for_status().json()
        assert whole["answer"].startswith("Write to (address) [1].")
        prompts = repr([request.body for request in stack.model.requests])
        assert "(address)" in prompts
        assert "bob@home.example" not in prompts
        streamed = http.events("/query/stream", {"question": "Who is the keeper?"})
        assert [event.name for event in streamed].count("token") == 1
        assert "(address)" in texts(streamed)
        assert ending(streamed).data["cited"] == [1, 2]
        refused = asked(http, "What is the password?", "hybrid")
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/refused-by-guard")
        assert "nobody is told passwords" in refused.json()["detail"]
        assert asked(http, "What is the password?", "hybrid", "/retrieve").status_code == 422
        completion = {"model": "footnote/default", "messages": [{"role": "user", "content": "the password?"}]}
        assert http.post("/v1/chat/completions", json=completion).status_code == 400


def test_a_conversation_keeps_the_message_as_the_guard_left_it(served):
    with served(guards=["no-addresses"]) as http:
        chat = asked(http, "Is bob@home.example the keeper?", "hybrid", "/chat").raise_for_status().json()
        kept = http.messages(chat["conversation_id"])
        assert kept[0]["content"] == "Is (address) the keeper?"
        assert (
            asked(http, "the password?", "hybrid", "/chat", conversation_id=chat["conversation_id"]).status_code == 422
        )
        assert len(http.messages(chat["conversation_id"])) == 2


def test_what_a_client_keeps_of_a_conversation_passes_the_guard_too(served, stack):
    said = [
        {"role": "user", "content": "I am bob@home.example."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Who built the lighthouse?"},
    ]
    with served(guards=["no-addresses"]) as http:
        http.post("/v1/chat/completions", json={"model": "footnote/default", "messages": said}).raise_for_status()
    assert "bob@home.example" not in repr([request.body for request in stack.model.requests])


def test_ready_lists_plug_ins_and_the_api_names_their_modes(served):
    with served(postprocessors=["no-bread"]) as http:
        states = http.get("/ready").json()["dependencies"]
        assert states["plug-in parrot"] == {"ok": True, "required": False, "detail": "answers", "facts": {}}
        assert states["plug-in no-bread"]["required"]
        schemas = http.get("/openapi.json").json()["components"]["schemas"]
        assert "`parrot`" in schemas["QuestionBody"]["properties"]["mode"]["description"]
        assert "`counting`" in schemas["ChatBody"]["properties"]["mode"]["description"]
