"""Server-sent events as Footnote writes them: `event`, `data` with a JSON object, and `data: [DONE]` at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    name: str
    data: dict[str, Any]


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a stream's lines (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    name, data = "message", list[str]()
    for line in lines:
        if not line:
            if (event := _event(name, data)) is not None:
                yield event
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _event(name: str, data: list[str]) -> Event | None:
    try:
        found = json.loads("\n".join(data))
    except ValueError:  # [DONE], or nothing
        return None
    return Event(name, found) if isinstance(found, dict) else None
