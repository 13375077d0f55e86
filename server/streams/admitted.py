"""Streams whose key was revoked, or whose tenant is suspended, end: within a second, with an error that says why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from server.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from server.principal import Principal
    from server.streams.run import Run
    from server.streams.streams import Streams

LOOK_SECONDS = 0.5


async def end_unadmitted(streams: Streams, *, require: Callable[[Principal], Awaitable[None]]) -> None:
    """End, until this is cancelled, the runs of this process whose holder `require` no longer lets in."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        held: dict[object, list[Run]] = {}
        for run in streams.running():
            if run.holder is not None:
                who = run.holder.caller.tenant, run.holder.tenant_since, run.holder.key_id
                held.setdefault(who, []).append(run)
        await asyncio.gather(*(_end_unless(runs, require) for runs in held.values()))


async def _end_unless(runs: list[Run], require: Callable[[Principal], Awaitable[None]]) -> None:
    holder = runs[0].holder
    if holder is None:
        return
    try:
        await require(holder)
    except (Unauthenticated, Forbidden) as exc:
        for run in runs:
            run.end(exc)
