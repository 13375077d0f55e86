"""Classes of other packages that a setting names, and those that packages offer as entry points.

A plug-in is wanted by name: nothing is imported that no setting and no request asks for.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from config.environment import environment
from config.settings import PlugInSettings, SettingsError

Made = TypeVar("Made")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DEEPEST = 16


def class_at(path: str, *, setting: str, base: type[Made]) -> type[Made]:
    """Import a class, ``package.module.Class``, that is to be a `base`.

    Raises:
        SettingsError: there is no such class, its package is not installed, or it is of another kind; one line that
            names the `setting`.

    """
    return _checked(found_at(path, setting=setting), setting=setting, base=base)


def class_named(name: str, group: str, *, setting: str, base: type[Made]) -> type[Made]:
    """Import a class, ``package.module.Class``, or the one that a package offers under a name in a group.

    Raises:
        SettingsError: as `class_at` and `entry_of` do.

    """
    if "." in name:
        return class_at(name, setting=setting, base=base)
    try:
        entry = entry_of(name, group, setting=setting)
    except SettingsError as exc:
        msg = f"{exc}; write package.module.Class, or the name of an entry point of {group}"
        raise SettingsError(msg) from None
    found: type[Made] = loaded(entry, base=base)
    return found


def found_at(path: str, *, setting: str) -> Any:  # noqa: ANN401 (a class, or a function)
    """Import what ``package.module.name`` names.

    Raises:
        SettingsError: there is nothing, or its package is not installed; one line that names the `setting`.

    """
    if not _DOTTED.fullmatch(path):
        msg = f"{setting}: {path[:200]!r} is no class; write package.module.Class"
        raise SettingsError(msg)
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise SettingsError(_missing(setting, module_name, exc)) from exc
    except (Exception, SystemExit) as exc:  # a module runs anything when it is imported
        msg = f"{setting}: {module_name} cannot be imported ({type(exc).__name__}: {_line(exc)})"
        raise SettingsError(msg) from exc
    if (found := getattr(module, name, None)) is None:
        msg = f"{setting}: {module_name} has no class {name}"
        raise SettingsError(msg)
    return found


def _checked(found: object, *, setting: str, base: type[Made]) -> type[Made]:
    if not isinstance(found, type) or not issubclass(found, base):
        name = getattr(found, "__name__", type(found).__name__)
        msg = f"{setting}: {name} is no {base.__module__}.{base.__name__}"
        raise SettingsError(msg)
    return found


def made(kind: type[Made], arguments: Mapping[str, Any], *, setting: str) -> Made:
    """Make an object with arguments as settings have them; see `resolved`.

    Raises:
        SettingsError: the class does not take them, or fails; values are not repeated, since they may be secrets.

    """
    try:
        return kind(**resolved(arguments, setting=setting))
    except SettingsError:
        raise
    except (Exception, SystemExit) as exc:  # a constructor raises anything, and may quote what it was given
        places = getattr(exc, "errors", None)
        fields = ", ".join(".".join(map(str, each["loc"])) for each in places()) if callable(places) else ""
        what = _line(exc) if isinstance(exc, TypeError) else f"see {fields}" if fields else "see its documentation"
        msg = f"{setting}: {kind.__name__} does not take these arguments ({type(exc).__name__}: {what})"
        raise SettingsError(msg) from exc


def resolved(arguments: Mapping[str, Any], *, setting: str) -> dict[str, Any]:
    """Return arguments with ``${NAME}`` in texts replaced by environment variables, so that secrets stand elsewhere.

    Raises:
        SettingsError: a variable is not set, neither in the environment nor in ``.env``.

    """
    return {name: _resolved(value, setting, _DEEPEST) for name, value in arguments.items()}


def offered(group: str) -> dict[str, EntryPoint]:
    """Return what installed packages offer in an entry-point group, such as ``footnote.engines``, by name.

    Raises:
        SettingsError: two packages offer the same name.

    """
    found: dict[str, EntryPoint] = {}
    for each in entry_points(group=group):
        other = found.setdefault(each.name, each)
        if other.value != each.value:
            packages = " and ".join(sorted(_package(one) for one in (other, each)))
            msg = f"{packages} both offer {each.name!r} as {group}; uninstall one of them"
            raise SettingsError(msg)
    return found


def entry_of(name: str, group: str, *, setting: str) -> EntryPoint:
    """Return what an installed package offers under a name.

    Raises:
        SettingsError: none does, or two do; one line that names the `setting`, and what there is.

    """
    installed = offered(group)
    if name not in installed:
        there = ", ".join(sorted(installed)) or "none"
        msg = f"{setting}: no installed package offers {name[:200]!r} as {group}; there are: {there}"
        raise SettingsError(msg)
    return installed[name]


def group_of(kind: str) -> str:
    """Return the entry-point group of a kind of plug-ins, ``engines`` say."""
    return f"footnote.{kind}"


def engine_names(settings: PlugInSettings) -> tuple[str, ...]:
    """Return the names of plug-ins' query engines, by settings and by installed packages; nothing is imported."""
    return tuple(sorted({*offered(group_of("engines")), *settings.engines}))


def chat_engine_names(settings: PlugInSettings) -> tuple[str, ...]:
    """Return the names of plug-ins' chat engines, those of query engines not among them."""
    return tuple(sorted({*offered(group_of("chat_engines")), *settings.chat_engines}))


def loaded(entry: EntryPoint, *, base: type[Made] | None = None) -> Any:  # noqa: ANN401 (whatever was offered)
    """Import what an entry point names; a class of the kind `base` where one is given.

    Raises:
        SettingsError: it cannot be imported, or is of another kind.

    """
    setting = shown(entry)
    try:
        found = entry.load()
    except (Exception, SystemExit) as exc:  # see `found_at`
        msg = f"{setting} cannot be imported ({type(exc).__name__}: {_line(exc)})"
        raise SettingsError(msg) from exc
    return found if base is None else _checked(found, setting=setting, base=base)


def shown(entry: EntryPoint) -> str:
    """Return what a message calls something that a package offers, and no setting names."""
    return f"{entry.group} {entry.name!r} of {_package(entry)}"


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value


def _resolved(value: Any, setting: str, depth: int) -> Any:  # noqa: ANN401 (JSON)
    if depth == 0:
        msg = f"{setting}: the arguments are nested too deep"
        raise SettingsError(msg)
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _variable(match[1], setting), value)
    if isinstance(value, Mapping):
        return {name: _resolved(each, setting, depth - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, setting, depth - 1) for each in value]
    return value


def _variable(name: str, setting: str) -> str:
    if (value := environment().get(name)) is None:
        msg = f"{setting}: the environment variable {name} is not set"
        raise SettingsError(msg)
    return value


def _missing(setting: str, module: str, exc: ModuleNotFoundError) -> str:
    missing = exc.name or module
    if not (module == missing or module.startswith(f"{missing}.")):
        return f"{setting}: {module} needs {missing}, which is not installed (pip install {_distribution(missing)})"
    return f"{setting}: {module} is not installed (pip install {_distribution(module)})"


def _distribution(module: str) -> str:
    """Return the package that has a module: LlamaIndex's integrations are named after theirs."""
    parts = module.split(".")
    return "-".join(parts[:3] if parts[0] == "llama_index" else parts[:1]).replace("_", "-")


def _line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [""])[0][:200]
