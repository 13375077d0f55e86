"""Which model the settings lead to, with real servers at hand or not."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.model_server import ModelServer, start_model_server

from config.settings import LLMSettings, Settings, SettingsError
from server.engines.models import choose
from server.engines.models.choose import describe_extractive, open_model

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with start_model_server() as running:
        yield running


@pytest.fixture
def nothing_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "missing", lambda: "the local model is not installed")


async def chosen(**llm: Any) -> tuple[str, str, str, int]:
    """Return (provider, model, description, context window)."""
    model = await open_model(Settings(llm=LLMSettings(**llm)))
    if model is None:
        return "extractive", "", "", 0
    await model.close()
    return model.provider, model.name, model.description, model.context_window


async def test_auto_with_a_key_is_openai(server: ModelServer) -> None:
    provider, name, line, window = await chosen(api_key="sk-secret", ollama_base_url=server.ollama_url)
    assert (provider, name) == ("openai", "gpt-4.1-mini")
    assert window > 1_000_000
    assert "a key is set" in line
    assert "sk-secret" not in line


async def test_auto_with_a_base_url_is_that_server_and_its_first_model(server: ModelServer) -> None:
    provider, name, line, _ = await chosen(base_url=server.openai_url)
    assert (provider, name) == ("openai_like", "scripted")
    assert server.openai_url in line


async def test_auto_with_openais_own_address_is_openai() -> None:
    provider, *_ = await chosen(api_key="sk-secret", base_url="https://api.openai.com/v1")
    assert provider == "openai"


async def test_auto_takes_a_reachable_ollama_and_no_embedding_model(server: ModelServer) -> None:
    server.models = {"nomic-embed-text:latest": "nomic-bert", "llama3.2:3b": "llama"}
    provider, name, line, _ = await chosen(ollama_base_url=server.ollama_url)
    assert (provider, name) == ("ollama", "llama3.2:3b")
    assert "FOOTNOTE_LLM__PROVIDER" in line


@pytest.mark.usefixtures("nothing_local")
async def test_auto_passes_over_an_ollama_with_embedding_models_only(server: ModelServer) -> None:
    server.models = {"nomic-embed-text:latest": "nomic-bert"}
    assert (await chosen(ollama_base_url=server.ollama_url))[0] == "extractive"


async def test_auto_with_nothing_at_hand_is_extractive_and_says_what_to_do() -> None:
    assert (await chosen(ollama_base_url=NOBODY))[0] == "extractive"
    line = describe_extractive(Settings(llm=LLMSettings(ollama_base_url=NOBODY)))
    for word in ("FOOTNOTE_LLM__API_KEY", NOBODY, "FOOTNOTE_LLM__PROVIDER=local"):
        assert word in line


async def test_extractive_asks_nobody(server: ModelServer) -> None:
    assert (await chosen(provider="extractive", api_key="sk-secret", ollama_base_url=server.ollama_url))[
        0
    ] == "extractive"
    assert server.looks == []


async def test_a_model_newer_than_any_list_works() -> None:
    provider, name, _, window = await chosen(provider="openai", api_key="sk", model="gpt-99-ultra", context_window=9000)
    assert (provider, name, window) == ("openai", "gpt-99-ultra", 9000)
    assert (await chosen(provider="openai", api_key="sk", model="gpt-99-ultra"))[3] == 8192


@pytest.mark.parametrize(
    ("llm", "setting"),
    [
        ({"provider": "openai"}, "FOOTNOTE_LLM__API_KEY"),
        ({"provider": "openai", "api_key": "sk", "model": "gpt-5.4-pro"}, "FOOTNOTE_LLM__MODEL"),
        ({"provider": "openai_like"}, "FOOTNOTE_LLM__BASE_URL"),
        ({"provider": "openai_like", "base_url": NOBODY}, "FOOTNOTE_LLM__MODEL"),
        ({"provider": "openai_like", "base_url": "localhost:8000", "model": "m"}, "FOOTNOTE_LLM__BASE_URL"),
        ({"provider": "ollama", "ollama_base_url": NOBODY}, "FOOTNOTE_LLM__OLLAMA_BASE_URL"),
        ({"provider": "local"}, "FOOTNOTE_LLM__PROVIDER"),
    ],
)
@pytest.mark.usefixtures("nothing_local")
async def test_a_provider_that_cannot_work_says_in_one_line_which_setting_to_change(
    llm: dict[str, Any], setting: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        await chosen(**llm)
    assert str(caught.value).startswith(f"{setting}: ")
    assert "\n" not in str(caught.value)


async def test_a_password_in_an_address_is_not_shown(server: ModelServer) -> None:
    url = server.openai_url.replace("http://", "http://user:hunter2@")
    _, _, line, _ = await chosen(provider="openai_like", base_url=url, model="m")
    assert "hunter2" not in line
