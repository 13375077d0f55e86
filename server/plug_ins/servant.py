"""A retriever or a postprocessor in a process of its own: the end that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from config.plug_ins import entry_of, found_at, group_of, loaded, made

if TYPE_CHECKING:
    from server.plug_ins.abilities import Way


class PlugInServant:
    """Makes the object that a setting or a package names, and calls its methods."""

    def __init__(self, path: str | None, name: str, group: str, arguments: Mapping[str, Any], setting: str) -> None:
        """Make the object; `path` is None where an installed package offers it.

        Raises:
            SettingsError: it cannot be made.

        """
        kind = (
            loaded(entry_of(name, group_of(group), setting=setting))
            if path is None
            else found_at(path, setting=setting)
        )
        self._object = made(kind, arguments, setting=setting)
        self._loop = asyncio.new_event_loop()  # one for all calls: what the object keeps may belong to it

    def call(self, way: Way, name: str, sync_name: str, arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401
        """Call an async method, or its synchronous twin; see `Calls.called`."""
        if way == "sync":
            return getattr(self._object, sync_name)(*arguments)
        return self._loop.run_until_complete(getattr(self._object, name)(*arguments))
