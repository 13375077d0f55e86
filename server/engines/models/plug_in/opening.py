"""Makes the LlamaIndex model that the settings name: by class, by entry point or by a provider's name."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from config.own_process.frames import Servant
from config.own_process.processes import ProcessDied, Processes
from config.plug_ins import class_at, class_named, made, resolved
from config.settings import LLMSettings, SettingsError
from server.engines.models.failures import Hints
from server.engines.models.plug_in.abilities import Abilities, abilities_of, metadata_of
from server.engines.models.plug_in.asking import Asking, InItsProcess, InThisProcess
from server.engines.models.plug_in.provider import PlugIn
from server.engines.models.plug_in.tools import calls_functions

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

GROUP = "footnote.llms"
"""Entry points of packages that offer LLMs."""
_MODELS = ("model", "model_name", "model_id")
_URLS = ("base_url", "api_base", "azure_endpoint", "endpoint_url")
UNNAMED = "unknown"  # LlamaIndex's default
_SHORTEST_SECRET = 6
_SECRET = re.compile(r"key|secret|token|password", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Named:
    """A provider's integration.

    Attributes:
        path: its class.
        model: the model where the settings name none; "": it must be named.
        arguments: what the class is made with besides, from the settings.
        needs: settings without which it cannot work.

    """

    path: str
    model: str
    arguments: Callable[[LLMSettings], Mapping[str, Any]] = lambda _: {}
    needs: tuple[str, ...] = ()


NAMED: Mapping[str, Named] = {
    "anthropic": Named("llama_index.llms.anthropic.Anthropic", "claude-sonnet-4-5", needs=("api_key",)),
    "azure": Named(
        "llama_index.llms.azure_openai.AzureOpenAI",
        "",
        arguments=lambda llm: {"engine": llm.model, "model": _openai_s(llm.model or ""), "api_version": "2024-10-21"},
        needs=("base_url",),
    ),
    "bedrock": Named("llama_index.llms.bedrock_converse.BedrockConverse", ""),
    "gemini": Named("llama_index.llms.google_genai.GoogleGenAI", "gemini-2.5-flash", needs=("api_key",)),
    "vertex": Named("llama_index.llms.google_genai.GoogleGenAI", "gemini-2.5-flash", needs=("vertexai_config",)),
}


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that was made.

    Attributes:
        context_window: tokens, as the settings or the class say.
        told: what the class can do, for the log.

    """

    source: PlugIn
    context_window: int
    told: str


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a model that was made, wherever it is.

    Attributes:
        provider: the name of its provider, or its class's.
        says_why: whether its class tells why each answer ended.

    """

    abilities: Abilities
    provider: str
    model: str
    context_window: int
    calls_functions: bool
    says_why: bool
    secrets: tuple[str, ...]


def open_plug_in(llm: LLMSettings) -> Opened:
    """Make the model, in this process or in one of its own; it is not called yet.

    Raises:
        SettingsError: its package is not installed, or its class cannot be made so; one line that says what to do.

    """
    asking: Asking
    if llm.processes:
        asking, told = _in_its_process(llm)
        where = f"in {llm.processes} process{'es' if llm.processes > 1 else ''} of its own"
    else:
        model, told = open_model(llm)
        asking, where = InThisProcess(model, abilities=told.abilities, threads=llm.threads), ""
    source = PlugIn(
        asking,
        abilities=told.abilities,
        name=told.provider,
        model=told.model,
        hints=Hints(
            address="FOOTNOTE_LLM__BASE_URL",
            key="FOOTNOTE_LLM__API_KEY and FOOTNOTE_LLM__ARGUMENTS",
            unknown_model="check FOOTNOTE_LLM__MODEL and FOOTNOTE_LLM__ARGUMENTS",
        ),
        secrets=told.secrets,
        says_why=told.says_why,
        calls_functions=told.calls_functions,
    )
    line = ", ".join(filter(None, (told.abilities.told, where)))
    return Opened(source, context_window=told.context_window, told=line)


def _in_its_process(llm: LLMSettings) -> tuple[InItsProcess, Told]:
    name = (llm.class_path or llm.provider).rpartition(".")[2]
    servant = Servant("server.engines.models.plug_in.servant:LLMServant", (llm,))
    processes = Processes(name, servant, most=llm.processes)
    try:
        told = processes.open()
    except ProcessDied as exc:
        msg = f"FOOTNOTE_LLM__PROCESSES: {name} cannot be made in a process of its own: {exc}"
        raise SettingsError(msg) from exc
    return InItsProcess(processes, token_timeout=llm.token_timeout, total_timeout=llm.total_timeout), told


def open_model(llm: LLMSettings) -> tuple[LLM, Told]:
    """Make the model in this process.

    Raises:
        SettingsError: its package is not installed, or its class cannot be made so; one line that says what to do.

    """
    named = None if llm.class_path else NAMED[llm.provider]
    kind = _class(llm) if named is None else _integration(named, llm.provider)
    arguments = _arguments(kind, llm, named)
    _check(named, llm, arguments)
    model = made(kind, arguments, setting="FOOTNOTE_LLM__ARGUMENTS")
    _warm(model)
    abilities = abilities_of(model, in_threads=llm.in_threads)
    return model, Told(
        abilities=abilities,
        provider=llm.provider if named else abilities.name,
        model=_name_of(model, llm),
        context_window=_window(model, llm),
        calls_functions=abilities.is_chat and calls_functions(model),
        says_why=named is not None,
        secrets=tuple(_secrets(llm, resolved(arguments, setting="FOOTNOTE_LLM__ARGUMENTS"))),
    )


def _class(llm: LLMSettings) -> type[LLM]:
    return class_named(llm.class_path or "", GROUP, setting="FOOTNOTE_LLM__CLASS", base=_base())


def _integration(named: Named, provider: str) -> type[LLM]:
    return class_at(named.path, setting=f"FOOTNOTE_LLM__PROVIDER={provider}", base=_base())


def _base() -> type[LLM]:
    from llama_index.core.llms import LLM

    return LLM


def _arguments(kind: type[LLM], llm: LLMSettings, named: Named | None) -> dict[str, Any]:
    """Return what the class is made with: the settings under the names that it knows, then its own arguments."""
    known = _parameters(kind)
    model = llm.model or (named.model if named else None) or None
    common: dict[str, Any] = {
        "temperature": llm.temperature,
        "max_tokens": llm.max_tokens,
        "max_retries": 0,  # LanguageModel has the one policy
        "timeout": llm.total_timeout,
        "api_key": llm.api_key.get_secret_value() if llm.api_key else None,
        **dict.fromkeys(_MODELS, model),
        **dict.fromkeys(_URLS, llm.base_url),
        "context_window": llm.context_window if "context_window" in llm.model_fields_set else None,
        **(named.arguments(llm) if named else {}),
    }
    taken = {name: value for name, value in common.items() if name in known and value is not None}
    return taken | dict(llm.arguments)


def _parameters(kind: type[LLM]) -> set[str]:
    """Return the names of what a class can be made with."""
    found = inspect.signature(kind.__init__).parameters
    is_open = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in found.values())
    return set(found) | (set(kind.model_fields) if is_open else set())


def _check(named: Named | None, llm: LLMSettings, arguments: Mapping[str, Any]) -> None:
    """Check that a provider has what it needs, and that nothing that was set is lost.

    Raises:
        SettingsError: it has not, or something is.

    """
    places = {"api_key": ("api_key",), "base_url": _URLS, "model": (*_MODELS, "engine")}
    needs = (*named.needs, *(() if named.model else ("model",))) if named else ()
    for need in needs:
        if not any(arguments.get(name) for name in places.get(need, (need,))):
            where = f"FOOTNOTE_LLM__{need.upper()}" if need in places else f'FOOTNOTE_LLM__ARGUMENTS={{"{need}": …}}'
            msg = f"{where}: set it to use {llm.provider}"
            raise SettingsError(msg)
    for name, values in places.items():
        if getattr(llm, name) is not None and not any(each in arguments for each in values):
            msg = f"FOOTNOTE_LLM__{name.upper()}: the class takes no such argument; write what it takes into ARGUMENTS"
            raise SettingsError(msg)


def _openai_s(deployment: str) -> str:
    """Return the OpenAI model that a deployment of Azure's is called after; the class must know which it is."""
    from llama_index.llms.openai.utils import openai_modelname_to_contextsize

    try:
        openai_modelname_to_contextsize(deployment)
    except ValueError:
        return "gpt-4o"
    return deployment


def _warm(model: LLM) -> None:
    """Let a class of OpenAI's family make its client now: within the first question it takes seconds."""
    if callable(client := getattr(model, "_get_aclient", None)):
        with contextlib.suppress(Exception):
            _ = client().chat.completions


def _name_of(model: LLM, llm: LLMSettings) -> str:
    told, said = metadata_of(model), [getattr(model, name, None) for name in _MODELS]
    name = next((each for each in said if isinstance(each, str) and each), told.model_name if told else UNNAMED)
    return llm.model or (name if name != UNNAMED else type(model).__name__)


def _window(model: LLM, llm: LLMSettings) -> int:
    told = metadata_of(model)
    is_set = "context_window" in llm.model_fields_set
    return llm.context_window if told is None or is_set else max(256, told.context_window)


def _secrets(llm: LLMSettings, arguments: Mapping[str, Any]) -> list[str]:
    """Return texts that no log may show: the key, and each text that came from the environment or is called so."""
    key = llm.api_key.get_secret_value() if llm.api_key else ""
    texts = [(name, value) for name, value in arguments.items() if isinstance(value, str)]
    hidden = [value for name, value in texts if _SECRET.search(name) or llm.arguments.get(name, value) != value]
    return [secret for secret in {key, *hidden} if len(secret) >= _SHORTEST_SECRET]
