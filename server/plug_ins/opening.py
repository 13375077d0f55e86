"""Opens plug-ins at the start of the server: those that settings name, and engines that installed packages offer.

What is of the wrong kind, not installed or named twice is refused here, before a port is listened on.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from types import MappingProxyType
from typing import Any

import structlog
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.postprocessor.types import BaseNodePostprocessor

from config.environment import PREFIX
from config.machine import cores
from config.own_process.frames import Servant
from config.own_process.processes import ProcessDied, Processes
from config.plug_ins import entry_of, found_at, group_of, loaded, made, offered, shown
from config.settings import PlugIn, PlugInSettings, SettingsError
from config.threads import Threads
from server.engines.chat.condensing import CondensingChatEngine, condensing
from server.engines.parts import ChatEngine, Engine, EngineParts, PlugIns
from server.engines.registry import CHAT_ENGINES, ENGINES
from server.plug_ins.abilities import Way, awaits
from server.plug_ins.calls import Away, Calls
from server.plug_ins.chat_engines import PlugInChat, PlugInTurn, way_to_chat, way_to_stream
from server.plug_ins.guards import Guard, Guards
from server.plug_ins.postprocessors import PlugInPostprocessor, way_to_postprocess
from server.plug_ins.query_engines import PlugInEngine, lacks, way_to_query
from server.plug_ins.retrievers import engine_over, way_to_retrieve

CHECKS = ("check_question", "check_answer")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenPlugIns:
    """Everything that is plugged in.

    Attributes:
        names: of engines and chat engines, as a question's `mode` names them.
        calls: of every plug-in.

    """

    engines: PlugIns = field(default_factory=PlugIns)
    guards: Guards = field(default_factory=Guards)
    calls: Sequence[Calls] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The modes that plug-ins add."""
        return tuple(self.engines.chat_engines)

    def troubles(self) -> Iterator[tuple[Calls, str | None]]:
        """Yield each plug-in with the reason why it cannot be called at the moment, or None."""
        for each in self.calls:
            yield each, each.trouble

    async def close(self) -> None:
        """End the processes of those that have some."""
        for each in self.calls:
            if each.processes is not None:
                await each.processes.close()


@dataclass(frozen=True, slots=True)
class _Found:
    """What a setting or a package names: a class or a function, and how it is to be called."""

    what: Any
    options: PlugIn
    setting: str
    calls: Calls

    def begin(self, *, together: int) -> None:
        """Start its process, if it has one, at the same time as so many others on each core."""
        if self.calls.processes is not None:
            self.calls.processes.begin(together=together)

    def made(self) -> Any:  # noqa: ANN401 (an object of its class)
        """Return an object of its class, which has so many seconds to be made as a call has.

        In a process of its own it is made there, with what is imported for it in `own_process.START_SECONDS`.
        """
        if (processes := self.calls.processes) is not None:
            try:
                processes.open()
            except ProcessDied as exc:
                msg = f"{self.setting}: {self.what.__name__} cannot be made in a process of its own: {exc}"
                raise SettingsError(msg) from exc
            return Away(self.what, processes)
        return _in_time(partial(made, self.what, self.options.arguments, setting=self.setting), self)


def open_plug_ins(settings: PlugInSettings) -> OpenPlugIns:
    """Open all plug-ins of the server; it may take seconds, for what they import.

    Raises:
        SettingsError: one cannot be used; one line that names it.

    """
    engines, chat_engines, calls = {}, {}, []
    named = dict(_named("engines", settings.engines, settings, ours=CHAT_ENGINES))
    postprocessors = list(_listed("postprocessors", settings.postprocessors, settings))
    away = [each for each in (*named.values(), *postprocessors) if each.calls.processes is not None]
    for found in away:
        found.begin(together=ceil(len(away) / cores()))
    for name, found in named.items():
        engines[name], chat_engines[name] = _engine(found)
        calls.append(found.calls)
    for name, found in _named("chat_engines", settings.chat_engines, settings, ours={**CHAT_ENGINES, **engines}):
        chat_engines[name] = _chat_engine(found)
        calls.append(found.calls)
    listed = [_postprocessor(found) for found in postprocessors]
    guards = [_guard(found) for found in _listed("guards", settings.guards, settings)]
    plug_ins = PlugIns(
        engines=MappingProxyType(engines),
        chat_engines=MappingProxyType(chat_engines),
        postprocessors=tuple(make for make, _ in listed),
    )
    every = (*calls, *(each for _, each in listed), *(guard.calls for guard in guards))
    return OpenPlugIns(plug_ins, Guards(guards), every)


def _named(
    group: str, chosen: Mapping[str, PlugIn], settings: PlugInSettings, *, ours: Mapping[str, object]
) -> Iterator[tuple[str, _Found]]:
    """Yield what settings name, and what installed packages offer besides."""
    installed = offered(group_of(group))
    for name in sorted({**installed, **chosen}):
        setting = f"{PREFIX}PLUG_INS__{group.upper()} {name!r}" if name in chosen else shown(installed[name])
        options = chosen.get(name, PlugIn())
        if name in ours or (name in ENGINES):
            msg = f"{setting}: there is an engine of this name already; give it another one"
            raise SettingsError(msg)
        if name in installed and options.path is not None:
            msg = f"{setting}: an installed package offers {name!r}, too; give one of the two another name"
            raise SettingsError(msg)
        yield name, _found(group, name, options, settings, setting=setting)


def _listed(group: str, chosen: Sequence[PlugIn], settings: PlugInSettings) -> Iterator[_Found]:
    for number, options in enumerate(chosen):
        setting = f"{PREFIX}PLUG_INS__{group.upper()}[{number}]"
        if options.path is None:
            msg = f"{setting}: name a class, or what an installed package offers as footnote.{group}"
            raise SettingsError(msg)
        is_class = "." in options.path
        name = options.path.rpartition(".")[2]
        own = options if is_class else options.model_copy(update={"path": None})
        yield _found(group, name, own, settings, setting=setting)


def _found(group: str, name: str, options: PlugIn, settings: PlugInSettings, *, setting: str) -> _Found:
    timeout = options.timeout or settings.timeout
    threads = Threads(name, most=options.threads or settings.threads)
    processes = None
    if options.processes:
        given = (options.path, name, group, options.arguments, setting)
        processes = Processes(name, Servant("server.plug_ins.servant:PlugInServant", given), most=options.processes)
    calls = Calls(
        name,
        group.removesuffix("s"),
        threads,
        timeout,
        processes=processes,
        blocks=options.blocks,
        brings_passages=options.brings_passages,
    )
    if options.path is not None:
        return _Found(found_at(options.path, setting=setting), options, setting, calls)
    return _Found(loaded(entry_of(name, group_of(group), setting=setting)), options, setting, calls)


def _engine(found: _Found) -> tuple[Engine, ChatEngine]:
    kind, calls = found.what, found.calls
    if _is_class(kind, BaseRetriever):
        retriever = found.made()
        build = engine_over(retriever, calls)
        _tell(found, way=way_to_retrieve(kind))
        return build, condensing(build)
    _require_here(found)
    if _is_class(kind, BaseQueryEngine):
        engine = found.made()
        _tell(found, way=way_to_query(kind), lacks=lacks(kind))
        return _engines(calls, lambda _: engine)
    if _is_builder(kind):
        _tell(found, way="async")
        return _engines(calls, partial(_built, kind, found))
    raise _wrong(found, "BaseQueryEngine, no BaseRetriever and no function build(parts)")


def _engines(calls: Calls, make: Callable[[EngineParts], Any]) -> tuple[Engine, ChatEngine]:
    def build(parts: EngineParts) -> PlugInEngine:
        return PlugInEngine(parts, calls, make)

    def build_chat(parts: EngineParts) -> CondensingChatEngine:
        return PlugInTurn(parts, engine=build(parts))

    return build, build_chat


def _chat_engine(found: _Found) -> ChatEngine:
    kind, calls = found.what, found.calls
    _require_here(found)
    if _is_class(kind, BaseChatEngine):
        found.made()  # once, to see that it can be
        streams = way_to_stream(kind) == "async"
        _tell(found, way="async" if streams else way_to_chat(kind), lacks=() if streams else ("streaming",))
        make = partial(_made_anew, found)
    elif _is_builder(kind):
        _tell(found, way="async")
        make = partial(_built, kind, found)
    else:
        raise _wrong(found, "BaseChatEngine and no function build(parts)")
    return lambda parts: PlugInChat(parts, calls, make)


def _postprocessor(found: _Found) -> tuple[Callable[[EngineParts], BaseNodePostprocessor], Calls]:
    if not _is_class(found.what, BaseNodePostprocessor):
        raise _wrong(found, "BaseNodePostprocessor")
    inner = found.made()
    _tell(found, way=way_to_postprocess(found.what))
    return (lambda parts: PlugInPostprocessor(inner, parts, found.calls)), found.calls


def _guard(found: _Found) -> Guard:
    checks = [getattr(found.what, name) for name in CHECKS if callable(getattr(found.what, name, None))]
    if not isinstance(found.what, type) or not checks:
        raise _wrong(found, f"class with {' or '.join(CHECKS)}")
    _require_here(found)
    inner = found.made()
    _tell(found, way="async" if all(map(awaits, checks)) else "sync")
    return Guard(inner, found.calls)


def _require_here(found: _Found) -> None:
    """Refuse processes for what cannot run there: it takes parts of the server, or streams.

    Raises:
        SettingsError: it is to have some.

    """
    if found.calls.processes is not None:
        msg = f"{found.setting}: only retrievers and postprocessors can have `processes`; this runs in the server's"
        raise SettingsError(msg)


def _made_anew(found: _Found, _: EngineParts) -> Any:  # noqa: ANN401 (an object of its class)
    return made(found.what, found.options.arguments, setting=found.setting)


def _built(build: Callable[..., Any], found: _Found, parts: EngineParts) -> Any:  # noqa: ANN401 (whatever it builds)
    return build(parts, **found.options.arguments)


def _is_class(what: object, base: type) -> bool:
    return isinstance(what, type) and issubclass(what, base)


def _is_builder(what: object) -> bool:
    return inspect.isfunction(what) and not inspect.iscoroutinefunction(what)


def _wrong(found: _Found, wanted: str) -> SettingsError:
    name = getattr(found.what, "__name__", type(found.what).__name__)
    return SettingsError(f"{found.setting}: {name} is no {wanted}")


def _tell(found: _Found, *, way: Way, lacks: Sequence[str] = ()) -> None:
    """Say at the start what was plugged in, how it runs and what it cannot do."""
    is_threaded = way != "async" or found.calls.blocks
    _log.info(
        "plug-in opened",
        kind=found.calls.kind,
        plug_in=found.calls.name,
        of=f"{found.what.__module__}.{found.what.__qualname__}",
        runs=_runs(found.calls, is_threaded=is_threaded),
        cannot=list(lacks),
    )


def _runs(calls: Calls, *, is_threaded: bool) -> str:
    most = f"{calls.timeout:g} seconds at most"
    if calls.processes is not None:
        return f"in processes of its own, {most}"
    return f"in threads, {most}" if is_threaded else "on the event loop"


def _in_time(make: Callable[[], Any], found: _Found) -> Any:  # noqa: ANN401 (what is made)
    """Call a constructor, which may never return."""
    outcome: list[Any] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(make())
        except BaseException as exc:  # noqa: BLE001 (raised again below)
            raised.append(exc)

    thread = threading.Thread(target=work, name=f"plug-in {found.calls.name}", daemon=True)
    thread.start()
    thread.join(found.calls.timeout)
    if raised:
        raise raised[0]
    if not outcome:
        msg = f"{found.setting}: {found.what.__name__} was not made in {found.calls.timeout:g} seconds"
        raise SettingsError(msg)
    return outcome[0]
