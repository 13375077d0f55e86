"""Two users' conversations, interleaved at random on one server: nothing of one is ever in the other's.

Each message carries a mark of its own. The model's answer names every mark in its prompt, so that what is in a prompt
and should not be is in the answer, too; and a few lines of Python know what has to be kept in the end.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from itertools import count

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.events import ending, parse
from support.model_server import Reply, _Exchange
from support.soak import examples
from support.stack import PATIENCE, open_stack, texts

MARK = re.compile(r"mark([ab])(\d+)n\d+")
USERS = "ab"
conversation_numbers = count(1)
keys = count(1)


@pytest.fixture(scope="module")
def stack(databases, shared_dir, embedder):
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as opened:
        opened.model._answer = obedient(opened.model)
        yield opened


@pytest.fixture(scope="module")
def url(stack):
    with stack.serve(
        streams={"grace": 0.4}, llm={"token_timeout": 20}, chat={"history_tokens": 100_000}, retrieval={"min_score": 0}
    ) as http:
        yield str(http.base_url)


def obedient(model):
    """Let the model behave as the last message tells it to (``do:cut``), and name the marks in its prompt."""

    async def answer(request, writer):
        if request.method == "GET":
            return await type(model)._answer(model, request, writer)
        model.requests.append(request)
        messages = request.body["messages"]
        text = heard(mark.group() for mark in MARK.finditer(json.dumps(messages)))
        wish = re.findall(r"do:(\S+)", messages[-1]["content"])[-1:]
        fault = wish[0] if wish and wish[0] not in {"answer", "slow"} and answers(request) else None
        return await _Exchange(request, Reply(text, fault=fault, delay=0.03 if wish == ["slow"] else 0), writer).run()

    return answer


def answers(request):
    """Tell calls that answer from those that make a follow-up a question of its own."""
    return request.body["messages"][0]["content"].startswith("You answer questions")


def heard(marks):
    return "I have heard " + " and ".join(sorted(set(marks)))


@dataclass
class Talk:
    """A conversation as it should be: what was asked, and what became of it."""

    user: str
    number: int = field(default_factory=lambda: next(conversation_numbers))
    id: str | None = None
    marks: list[str] = field(default_factory=list)
    turns: list[tuple[str, str, str]] = field(default_factory=list)  # question, state, answer
    seen: list[str] = field(default_factory=list)  # every byte that came back
    last_key: tuple[dict, dict, str] | None = None

    def message(self, wish):
        mark = f"mark{self.user}{self.number}n{next(keys)}"
        return mark, f"Tell {mark} of the lighthouse, do:{wish}"

    def expected(self, mark):
        return heard([*self.marks, mark])

    def note(self, mark, question, state, answer):
        """Write down what became of a turn."""
        whole = self.expected(mark)
        assert answer == whole if state == "complete" else whole.startswith(answer)
        self.turns.append((question, state, answer))
        if state == "complete":
            self.marks.append(mark)


class User:
    """Talks with the server over real connections."""

    def __init__(self, http, talk):
        self.http = http
        self.talk = talk

    def body(self, message, **more):
        own = {"conversation_id": self.talk.id} if self.talk.id else {}
        return {"message": message, "k": 2, **own, **more}

    async def post(self, path, body, **options):
        """Ask, again while the conversation is busy with a turn whose client has left."""
        while True:
            response = await self.http.post(path, json=body, **options)
            if response.status_code != 409:
                self.talk.seen.append(response.text)
                return response
            await asyncio.sleep(0.05)

    def begun(self, conversation):
        assert self.talk.id in {None, conversation}
        self.talk.id = conversation

    async def whole(self, mode, *, keyed=False):
        """Ask for a whole answer."""
        mark, message = self.talk.message("answer")
        body = self.body(message, mode=mode)
        headers = {"Idempotency-Key": f"key-{mark}"} if keyed else {}
        response = await self.post("/chat", body, headers=headers)
        assert response.status_code == 200, response.text
        self.begun(response.json()["conversation_id"])
        self.talk.note(mark, message, "complete", response.json()["answer"])
        if keyed:
            self.talk.last_key = (body, headers, response.json()["message_id"])

    async def replay(self):
        """Ask again with the key of an earlier answer."""
        if self.talk.last_key:
            body, headers, message_id = self.talk.last_key
            response = await self.post("/chat/stream", body, headers=headers)
            assert ending(parse(response.text)).data["message_id"] == message_id

    async def fail(self, fault):
        """Ask for what the model fails at."""
        mark, message = self.talk.message(fault)
        events = parse((await self.post("/chat/stream", self.body(message, mode="context"))).text)
        assert ending(events).name == "error"
        self.begun(events[0].data["conversation_id"])
        self.talk.note(mark, message, "failed", texts(events).strip())

    async def stream(self, wish, *, resume=False, mode="context", meanwhile=None):
        """Ask for a stream; leave it after some tokens, take it up again, or interfere with it."""
        mark, message = self.talk.message(wish)
        seen = ""
        while not seen:
            async with self.http.stream("POST", "/chat/stream", json=self.body(message, mode=mode)) as response:
                if response.status_code == 409:
                    await response.aread()
                    await asyncio.sleep(0.05)
                    continue
                assert response.status_code == 200
                async for piece in response.aiter_text():
                    seen += piece
                    if "event: token" in seen and (resume or wish == "hang-between"):
                        break
                    if "event: sources" in seen and meanwhile:
                        self.begun(parse(seen)[0].data["conversation_id"])
                        await meanwhile()
                        meanwhile = None
        self.begun(parse(seen)[0].data["conversation_id"])
        if resume and "[DONE]" not in seen:
            seen = seen[: seen.rindex("\n\n") + 2]
            last = {"Last-Event-ID": parse(seen)[-1].id}
            rest = await self.http.get(f"/streams/{response.headers['x-stream-id']}", headers=last)
            seen += rest.text
        self.talk.seen.append(seen)
        if wish == "hang-between":
            self.talk.note(mark, message, "abandoned", heard([]).split(" and")[0].strip())
        else:
            end = ending(parse(seen))
            given_up = end.name == "error" and end.data["type"] == "/problems/stream-abandoned"  # a slow machine
            assert end.name == "done" or given_up
            self.talk.note(mark, message, "abandoned" if given_up else "complete", texts(parse(seen)).strip())

    async def interrupt(self):
        """Ask while another message of the conversation is being answered."""

        late = []

        async def ask():
            mark, message = self.talk.message("answer")
            response = await self.http.post("/chat", json=self.body(message, mode="context"))
            self.talk.seen.append(response.text)
            if response.status_code == 200:  # a slow machine: the first had been answered
                late.append((mark, message, "complete", response.json()["answer"]))
            else:
                assert response.status_code == 409

        await self.stream("slow", meanwhile=ask)
        for turn in late:
            self.talk.note(*turn)

    async def exclusive(self):
        """Ask outside of the conversation."""
        mark, question = self.talk.message("answer")
        response = await self.post("/query", {"question": question, "k": 1})
        assert response.json()["answer"] == heard([mark])

    async def delete(self):
        """Delete the conversation; the next message begins another one."""
        if self.talk.id is None:
            return
        await self.check()
        response = await self.http.delete(f"/conversations/{self.talk.id}")
        assert response.status_code == 204
        assert (await self.http.get(f"/conversations/{self.talk.id}")).status_code == 404
        self.talk = Talk(self.talk.user)

    async def check(self):
        """Compare what is kept with what should be, once nothing is being answered."""
        talk = self.talk
        for text in talk.seen:
            assert whose(text) <= {(talk.user, str(talk.number))}
        if talk.id is None:
            return
        while True:
            response = await self.http.get(f"/conversations/{talk.id}")
            messages = response.json()["messages"]
            if all(message["state"] != "running" for message in messages):
                break
            await asyncio.sleep(0.05)
        assert whose(response.text) == {(talk.user, str(talk.number))}
        kept = [
            (asked["content"], answered["state"], answered["content"])
            for asked, answered in zip(messages[::2], messages[1::2], strict=True)
        ]
        assert kept == talk.turns


def whose(text):
    """Return to whose conversations the marks in a text belong."""
    return {mark.groups() for mark in MARK.finditer(text)}


ACTS = {
    "whole": lambda user: user.whole("context"),
    "condensed": lambda user: user.whole("hybrid"),
    "keyed": lambda user: user.whole("context", keyed=True),
    "replay": lambda user: user.replay(),
    "stream": lambda user: user.stream("answer"),
    "slow stream": lambda user: user.stream("slow", mode="hybrid"),
    "resume": lambda user: user.stream("slow", resume=True),
    "leave": lambda user: user.stream("hang-between"),
    "cut": lambda user: user.fail("cut"),
    "refused": lambda user: user.fail("server-error"),
    "filtered": lambda user: user.fail("filtered"),
    "interrupt": lambda user: user.interrupt(),
    "exclusive": lambda user: user.exclusive(),
    "delete": lambda user: user.delete(),
}
acts = st.lists(st.tuples(st.sampled_from(sorted(ACTS)), st.sampled_from([0, 0, 0.01, 0.1])), max_size=5)


async def talk(http, user, plan):
    """Hold one conversation after a plan."""
    user = User(http, Talk(user))
    for name, pause in plan:
        await asyncio.sleep(pause)
        await ACTS[name](user)
    await user.check()


@settings(max_examples=examples(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(plans=st.lists(acts, min_size=4, max_size=4))
def test_no_byte_of_one_users_turns_is_in_the_others_prompt_answer_or_history(stack, url, plans):
    stack.model.requests.clear()

    async def drive():
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http, asyncio.TaskGroup() as group:
            for number, plan in enumerate(plans):  # each user holds two conversations at once
                group.create_task(talk(http, USERS[number % 2], plan))

    asyncio.run(drive())
    for request in stack.model.requests:
        assert len(whose(json.dumps(request.body))) == 1
