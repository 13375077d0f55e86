"""Our model behind LlamaIndex's interface, in LlamaIndex's hands."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage
from llama_index.core.response_synthesizers import CompactAndRefine
from llama_index.core.schema import NodeWithScore, TextNode
from support.model_server import ANSWER, ModelServer, Reply, start_model_server

from config.settings import LLMSettings, Settings
from server.engines.models.choose import open_model
from server.engines.models.errors import ModelRejected
from server.engines.models.guarded import GuardedLLM
from server.engines.models.model import LanguageModel

ASKED = [ChatMessage(role="user", content="Where does the rain fall?")]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with start_model_server() as running:
        yield running


@pytest.fixture(params=["chat", "completions", "ollama"])
async def model(server: ModelServer, request: pytest.FixtureRequest) -> AsyncIterator[LanguageModel]:
    if request.param == "ollama":
        llm = LLMSettings(provider="ollama", ollama_base_url=server.ollama_url, model="a-name-no-list-knows")
    else:
        llm = LLMSettings(
            provider="openai_like",
            base_url=server.openai_url,
            model="a-name-no-list-knows",
            is_chat_model=request.param == "chat",
            context_window=3000,
        )
    opened = await open_model(Settings(llm=llm))
    assert opened is not None
    yield opened
    await opened.close()


async def test_a_whole_answer_comes_by_chat_and_by_completion(model: LanguageModel) -> None:
    assert (await GuardedLLM(model).achat(ASKED)).message.content == ANSWER
    response = await GuardedLLM(model).acomplete("Where does the rain fall?", max_tokens=5, temperature=0.0)
    assert response.text == ANSWER
    assert response.additional_kwargs["finish_reason"] == "stop"
    assert response.additional_kwargs["completion_tokens"] == len(ANSWER.split())


async def test_an_answer_streams_by_chat_and_by_completion(model: LanguageModel) -> None:
    chat = [part async for part in await GuardedLLM(model).astream_chat(ASKED)]
    assert "".join(part.delta or "" for part in chat) == ANSWER
    assert chat[-1].message.content == ANSWER
    completion = [part async for part in await GuardedLLM(model).astream_complete("Where?")]
    assert completion[-1].text == ANSWER


async def test_metadata_knows_models_that_llama_index_does_not(model: LanguageModel) -> None:
    assert GuardedLLM(model).metadata.model_name == "a-name-no-list-knows"
    assert GuardedLLM(model).metadata.context_window == model.context_window
    assert GuardedLLM(model).metadata.is_chat_model is model.is_chat


async def test_a_synthesizer_answers_and_its_errors_are_ours(model: LanguageModel, server: ModelServer) -> None:
    synthesizer = CompactAndRefine(llm=GuardedLLM(model), streaming=False)
    nodes = [NodeWithScore(node=TextNode(text="Rain falls on the plain."), score=1.0)]
    assert str(await synthesizer.asynthesize("Where?", nodes)) == ANSWER
    server.default = Reply(fault="unauthorized")
    with pytest.raises(ModelRejected):
        await synthesizer.asynthesize("Where?", nodes)


async def test_prompts_reach_the_model(model: LanguageModel, server: ModelServer) -> None:
    assert await GuardedLLM(model).apredict(PromptTemplate("Say {word}"), word="hello") == ANSWER
    assert "Say hello" in str(server.requests[0].body)


@pytest.mark.parametrize("politely", [True, False])
async def test_a_stream_that_llama_index_drops_hangs_up(
    model: LanguageModel, server: ModelServer, *, politely: bool
) -> None:
    server.default = Reply(text="on and on " * 1000, delay=0.01)
    stream = await GuardedLLM(model).astream_chat(ASKED)
    await anext(stream)
    if politely:
        await stream.aclose()
    del stream
    gc.collect()
    assert await asyncio.to_thread(server.wait_for_disconnects, 1, timeout=1)


async def test_sync_calls_are_refused_with_the_name_of_the_async_one(model: LanguageModel) -> None:
    with pytest.raises(NotImplementedError, match="acomplete"):
        GuardedLLM(model).complete("Where?")
