"""Readers and transformations of plug-ins: what settings and installed packages name, as worker processes need it.

Nothing of them is imported here; `check_plug_ins` does it, before anything is read.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import TYPE_CHECKING, Any

from config.environment import PREFIX
from config.plug_ins import class_at, entry_of, group_of, made, offered, shown
from config.settings import IngestionSettings, PlugIn, SettingsError
from ingestion.errors import Unreadable
from ingestion.types import PlugInCode

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from importlib.metadata import EntryPoint

READERS, TRANSFORMATIONS = group_of("readers"), group_of("transformations")


def plugged_in_readers(settings: IngestionSettings) -> tuple[tuple[str, PlugInCode], ...]:
    """Return the plug-ins that read files, by suffix.

    Raises:
        SettingsError: a name is taken twice, or nothing of that name is installed.

    """
    return _codes(settings.model_dump_json(include={"readers", "transformations"}), tuple(sys.path))[0]


def plugged_in_transformations(settings: IngestionSettings) -> tuple[PlugInCode, ...]:
    """Return the plug-ins that chunks pass, in order; raise as `plugged_in_readers` does."""
    return _codes(settings.model_dump_json(include={"readers", "transformations"}), tuple(sys.path))[1]


def suffixes_read(settings: IngestionSettings) -> frozenset[str]:
    """Return the suffixes of files that plug-ins read."""
    return frozenset(suffix for suffix, _ in plugged_in_readers(settings))


def listed(call: Callable[[], object], of: type, code: PlugInCode, *, named: str) -> list[Any]:
    """Call a plug-in; return the list that it gives, of things of one class (``a list of nodes`` is what `named` says).

    Raises:
        Unreadable: it raised something, or returned something else.

    """
    try:
        found = call()
    except MemoryError:
        raise
    except Exception as exc:
        msg = f"the plug-in {code.path} failed on it ({type(exc).__name__})"
        raise Unreadable(msg) from exc
    if not isinstance(found, list | tuple) or not all(isinstance(each, of) for each in found):
        msg = f"the plug-in {code.path} returned something else than {named}"
        raise Unreadable(msg)
    return list(found)


def check_plug_ins(settings: IngestionSettings, *, ours: Container[str]) -> None:
    """Import and make each plug-in once, before anything depends on it; `ours` are suffixes that Footnote reads.

    Raises:
        SettingsError: one cannot be used; one line that names it.

    """
    for suffix, code in plugged_in_readers(settings):
        if suffix in ours and suffix not in settings.readers:
            msg = f"{code.setting}: Footnote reads {suffix} files, too; name {code.path}, or remove its package"
            raise SettingsError(msg)
        reader_of(code)
    for code in plugged_in_transformations(settings):
        transformation_of(code)


@lru_cache(maxsize=64)
def reader_of(code: PlugInCode) -> Any:  # noqa: ANN401 (a BaseReader of LlamaIndex's)
    """Make a reader, once a process; raise `SettingsError` if it is none."""
    from llama_index.core.readers.base import BaseReader

    return _made(code, BaseReader)


@lru_cache(maxsize=64)
def transformation_of(code: PlugInCode) -> Any:  # noqa: ANN401 (a TransformComponent of LlamaIndex's)
    """Make a transformation, once a process; raise `SettingsError` if it is none."""
    from llama_index.core.schema import TransformComponent

    return _made(code, TransformComponent)


def _made(code: PlugInCode, base: type[Any]) -> Any:  # noqa: ANN401 (an object of the class)
    kind = class_at(code.path, setting=code.setting, base=base)
    return made(kind, json.loads(code.arguments), setting=code.setting)


Codes = tuple[tuple[tuple[str, PlugInCode], ...], tuple[PlugInCode, ...]]


@lru_cache(maxsize=16)
def _codes(settings_json: str, _path: tuple[str, ...]) -> Codes:
    """Return both kinds; what is installed is looked for once, as it takes a tenth of a second."""
    settings = IngestionSettings.model_validate_json(settings_json)
    return tuple(_readers(settings)), tuple(_transformations(settings))


def _readers(settings: IngestionSettings) -> Iterator[tuple[str, PlugInCode]]:
    suffixes: dict[str, EntryPoint] = {}
    for name, entry in offered(READERS).items():
        suffix = f".{name.removeprefix('.').lower()}"
        if (other := suffixes.setdefault(suffix, entry)) is not entry:
            msg = f"{shown(other)} and {shown(entry)} both read {suffix} files; uninstall one of them"
            raise SettingsError(msg)
    for suffix in sorted({*suffixes, *settings.readers}):
        is_set = suffix in settings.readers
        setting = f"{PREFIX}INGESTION__READERS {suffix!r}" if is_set else shown(suffixes[suffix])
        chosen = settings.readers.get(suffix)
        if chosen is not None and suffix in suffixes and "." in (chosen.path or ""):
            msg = f"{setting}: an installed package reads {suffix} files, too; uninstall it, or name what it offers"
            raise SettingsError(msg)
        name = suffixes[suffix].name if suffix in suffixes else ""
        yield suffix, _code(chosen or PlugIn(), READERS, name=name, setting=setting)


def _transformations(settings: IngestionSettings) -> Iterator[PlugInCode]:
    for number, chosen in enumerate(settings.transformations):
        setting = f"{PREFIX}INGESTION__TRANSFORMATIONS[{number}]"
        yield _code(chosen, TRANSFORMATIONS, name="", setting=setting)


def _code(chosen: PlugIn, group: str, *, name: str, setting: str) -> PlugInCode:
    path = chosen.path or ""
    if "." not in path:  # while the name of what a package offers may have one: a suffix
        path = entry_of(path or name, group, setting=setting).value.replace(":", ".")
    return PlugInCode(setting, path, json.dumps(chosen.arguments, sort_keys=True), _version(path))


def _version(path: str) -> str:
    package = path.partition(".")[0]
    try:
        return ",".join(version(name) for name in sorted(set(packages_distributions().get(package, ()))))
    except PackageNotFoundError:
        return ""
