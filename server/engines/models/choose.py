"""Choosing the model: the one that the settings name, or the best one available."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from config.settings import CLASS_PROVIDERS, LLMSettings, Settings, SettingsError
from server.engines.models.connections import shown
from server.engines.models.errors import ModelError, ModelUnavailable
from server.engines.models.fallback.model import FallbackModel
from server.engines.models.fallback.policy import FallbackPolicy
from server.engines.models.limits import Limits
from server.engines.models.local import LINE, LocalModel, context_window, llama_server, missing
from server.engines.models.model import LanguageModel
from server.engines.models.ollama import Ollama
from server.engines.models.openai_compatible import OPENAI_URL, OpenAICompatible
from server.engines.models.provider import Provider
from server.engines.models.shared_llama import FILE, SharedLlama

OPENAI_MODEL = "gpt-4.1-mini"
"""It answers without reasoning first, has a context window of a million tokens, and is cheap."""

OLLAMA_TIMEOUT = 0.5
"""Seconds that ``auto`` waits for an Ollama server."""

DEFAULT = "default"
SAID = "FOOTNOTE_LLM__PROVIDER says so"
CHANGE = "FOOTNOTE_LLM__PROVIDER and FOOTNOTE_LLM__MODEL choose another"
CHANGE_CLASS = "another FOOTNOTE_LLM__CLASS, or FOOTNOTE_LLM__PROVIDER in its place, chooses another"


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who shares the local model: `of` processes, one of which says in `folder` where it runs."""

    folder: Path
    of: int


async def open_model(settings: Settings, *, sharing: Sharing | None = None) -> LanguageModel | None:
    """Open the language model that the settings ask for; None means extractive answers. Close it at the end.

    The model is not called yet, and the local one starts in the background: see `LanguageModel.ready`.

    Raises:
        SettingsError: the provider that the settings name cannot work; one line that says what to do.

    """
    if not settings.llm.fallback:
        return await _opened(settings, sharing)
    opened: dict[str, LanguageModel] = {}
    try:
        for name in (DEFAULT, *settings.llm.fallback):
            llm = settings.llm if name == DEFAULT else settings.llms[name]
            opened[name] = await _named(settings.model_copy(update={"llm": llm}), name)
        return FallbackModel(opened, policy=FallbackPolicy.of(settings))
    except BaseException:
        for model in opened.values():
            await model.close()
        raise


async def _named(settings: Settings, name: str) -> LanguageModel:
    """Open one of several models.

    Raises:
        SettingsError: it cannot work, or is none that another can stand for.

    """
    try:
        model = await _opened(settings, None) if settings.llm.provider != "local" else None
    except SettingsError as exc:
        msg = str(exc) if name == DEFAULT else f"FOOTNOTE_LLMS, {name}: {exc}"
        raise SettingsError(msg) from exc
    if model is None:
        msg = (
            f"FOOTNOTE_LLM__FALLBACK: {name} is not a model that another can stand for: its answers are checked, or "
            "quoted, in ways of their own; name a provider other than local and extractive"
        )
        raise SettingsError(msg)
    model.call_it(name)
    return model


async def _opened(settings: Settings, sharing: Sharing | None) -> LanguageModel | None:
    """Open the model of one group of settings."""
    llm = settings.llm
    if llm.class_path or llm.provider in CLASS_PROVIDERS:
        return _plug_in(llm)
    match llm.provider:
        case "openai":
            return _openai(llm, why=SAID)
        case "openai_like" | "vllm":
            return await _openai_like(llm, why=SAID)
        case "ollama":
            return await _ollama(llm)
        case "local":
            return _local(settings, sharing=sharing, why=SAID)
        case _:
            return await _best_at_hand(settings) if llm.provider == "auto" else None


def describe_extractive(settings: Settings) -> str:
    """Return the line for the log where `open_model` returned None."""
    if settings.llm.provider == "extractive":
        return f"answers are quoted from the passages, no model writes them: FOOTNOTE_LLM__PROVIDER says so; {CHANGE}"
    return (
        "answers are quoted from the passages, no model writes them: no key is set (FOOTNOTE_LLM__API_KEY), no Ollama "
        f"with a model at {settings.llm.ollama_base_url}; FOOTNOTE_LLM__PROVIDER=local lets a small one say it in prose"
    )


async def _best_at_hand(settings: Settings) -> LanguageModel | None:
    llm = settings.llm
    if llm.base_url and not _is_openai(llm.base_url):
        return await _openai_like(llm, why="a base URL is set")
    if llm.api_key:
        return _openai(llm, why="a key is set")
    if model := await _ollama_model(llm):
        return await _ollama(llm, model=model)
    return None  # the local model is right less often than the quotations that it would stand for: docs/answers.md


def _plug_in(llm: LLMSettings) -> LanguageModel:
    from server.engines.models.plug_in.opening import open_plug_in

    opened, why = open_plug_in(llm), "FOOTNOTE_LLM__CLASS says so" if llm.class_path else SAID
    line = f"{opened.source.model} by {opened.source.name} ({why}; {opened.told})"
    return _model(opened.source, llm, window=opened.context_window, line=line)


def _openai(llm: LLMSettings, *, why: str) -> LanguageModel:
    if llm.api_key is None:
        msg = "FOOTNOTE_LLM__API_KEY: set it to use openai, or choose another FOOTNOTE_LLM__PROVIDER"
        raise SettingsError(msg)
    model = llm.model or OPENAI_MODEL
    window = _known_window(llm, model)
    try:
        source = _connect(llm, llm.base_url or OPENAI_URL, name="openai", model=model, is_chat=True, window=window)
    except ValueError as exc:
        msg = f"FOOTNOTE_LLM__MODEL: {model} does not answer by OpenAI's chat completions; choose another"
        raise SettingsError(msg) from exc
    return _model(source, llm, window=window, line=f"{model} by OpenAI ({why})")


async def _openai_like(llm: LLMSettings, *, why: str) -> LanguageModel:
    if not llm.base_url:
        msg = (
            "FOOTNOTE_LLM__BASE_URL: set it to the address of the OpenAI-compatible server, such as http://host:8000/v1"
        )
        raise SettingsError(msg)
    name = "vllm" if llm.provider == "vllm" else "openai_like"
    connect = partial(_connect, llm, llm.base_url, name=name, is_chat=llm.is_chat_model, window=llm.context_window)
    model = llm.model or await _first_model(connect(model=""))
    source = connect(model=model)
    return _model(source, llm, window=llm.context_window, line=f"{model} at {shown(llm.base_url)} ({why})")


def _connect(llm: LLMSettings, url: str, *, name: str, model: str, is_chat: bool, window: int) -> OpenAICompatible:
    return OpenAICompatible(
        _url("FOOTNOTE_LLM__BASE_URL", url),
        name=name,
        model=model,
        api_key=llm.api_key.get_secret_value() if llm.api_key else None,
        is_chat=is_chat,
        context_window=window,
        connect_timeout=llm.connect_timeout,
    )


async def _first_model(source: OpenAICompatible) -> str:
    """Return the first model that a compatible server lists; most serve only one."""
    try:
        names, why = await source.models(), "lists no models"
    except ModelError as error:
        names, why = [], f"does not list its models ({error})"
    finally:
        await source.close()
    if names:
        return names[0]
    msg = f"FOOTNOTE_LLM__MODEL: set it; the server at FOOTNOTE_LLM__BASE_URL {why}, so there is none to choose"
    raise SettingsError(msg)


async def _ollama(llm: LLMSettings, *, model: str | None = None) -> LanguageModel:
    why = "it answers, and no key is set" if model else "FOOTNOTE_LLM__PROVIDER says so"
    model = model or llm.model or await _ollama_model(llm)
    if model is None:
        msg = (
            f"FOOTNOTE_LLM__OLLAMA_BASE_URL: no Ollama with a model answers at {shown(llm.ollama_base_url)}; "
            "start it and `ollama pull` one, or set FOOTNOTE_LLM__MODEL"
        )
        raise SettingsError(msg)
    line = f"{model} by Ollama at {shown(llm.ollama_base_url)} ({why})"
    return _model(_ollama_at(llm, model), llm, window=llm.context_window, line=line)


async def _ollama_model(llm: LLMSettings) -> str | None:
    """Return the model to use of a reachable Ollama: the configured one, or the first that generates text."""
    source = _ollama_at(llm, llm.model or "")
    try:
        models = await source.installed(timeout=OLLAMA_TIMEOUT)
    except ModelUnavailable:
        return None
    finally:
        await source.close()
    return llm.model or next(iter(models), None)


def _ollama_at(llm: LLMSettings, model: str) -> Ollama:
    url = _url("FOOTNOTE_LLM__OLLAMA_BASE_URL", llm.ollama_base_url)
    return Ollama(url, model=model, context_window=llm.context_window, connect_timeout=llm.connect_timeout)


def _local(settings: Settings, *, sharing: Sharing | None, why: str) -> LanguageModel:
    llm = settings.llm
    if reason := missing():
        msg = f"FOOTNOTE_LLM__PROVIDER: {reason}, or choose another provider"
        raise SettingsError(msg)
    if sharing is None:
        source = LocalModel(llama_server(settings), llm=llm)
    else:
        source = LocalModel(SharedLlama(sharing.folder / FILE), llm=llm, line=-(-LINE // sharing.of))
    source.start()
    # no breaker: a process that died is back in seconds, and a full queue is reported as such
    llm = llm.model_copy(update={"breaker_failures": 0})
    return _model(source, llm, window=context_window(llm), line=f"{source.model} on this machine ({why})")


def _model(source: Provider, llm: LLMSettings, *, window: int, line: str) -> LanguageModel:
    description = f"answers are written by {line}; {CHANGE_CLASS if llm.class_path else CHANGE}"
    return LanguageModel(source, limits=Limits.of(llm), context_window=window, description=description)


def _known_window(llm: LLMSettings, model: str) -> int:
    """Return the context window of an OpenAI model: the settings', else from LlamaIndex's list."""
    if "context_window" in llm.model_fields_set:
        return llm.context_window
    from llama_index.llms.openai.utils import openai_modelname_to_contextsize

    try:
        return openai_modelname_to_contextsize(model)
    except ValueError:  # newer than the list
        return llm.context_window


def _is_openai(url: str) -> bool:
    return (urlsplit(url).hostname or "").endswith("openai.com")


def _url(name: str, url: str) -> str:
    """Check an address.

    Raises:
        SettingsError: it is no valid URL.

    """
    if not url.startswith(("http://", "https://")) or not urlsplit(url).hostname:
        msg = f"{name}: must be an address that starts with http:// or https://"
        raise SettingsError(msg)
    return url
