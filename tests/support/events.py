"""Reading server-sent events as their specification says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

BODY = {"question": "q"}


@dataclass
class Event:
    name: str | None
    data: Any
    id: str | None


def parse(text: str) -> list[Event]:
    """Read events as the specification of server-sent events says."""
    events = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields: dict[str, str] = {}
        data = []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
            elif name:
                fields[name] = value.removeprefix(" ")
        if data:
            raw = "\n".join(data)
            events.append(Event(fields.get("event"), raw if raw == "[DONE]" else json.loads(raw), fields.get("id")))
    return events


def ending(events: list[Event]) -> Event:
    """Return the one event that ends the stream; `[DONE]` must follow it, and nothing else."""
    assert [event.name for event in events if event.name in {"done", "error"}] == [events[-2].name]
    assert (events[-1].name, events[-1].data, events[-1].id) == (None, "[DONE]", None)
    return events[-2]


def read_until(response: httpx.Response, mark: str) -> Iterator[str]:
    """Read up to a mark; the connection closes when the iterator that is returned goes away."""
    seen, pieces = "", response.iter_text()
    while mark not in seen:
        seen += next(pieces)
    return pieces
