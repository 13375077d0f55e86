"""Whether whoever began a long response or call may still go on with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from server.api.contracts import Runtime
from server.errors import Forbidden, Unauthenticated
from server.principal import principal
from server.waiting.interrupts import Interrupt

LOOK_SECONDS = 0.5


def still_admitted(runtime: Runtime) -> Callable[[], Awaitable[None]]:
    """Return what raises once the key of the current request was revoked, or its tenant suspended."""
    who = principal()
    is_required = runtime.settings.auth.mode == "required"

    async def require() -> None:
        if who is not None and is_required:
            await runtime.authenticator.require_still(who)

    return require


async def interrupt_unadmitted(
    interrupt: Interrupt,
    *,
    require: Callable[[], Awaitable[None]],
    told: Callable[[Forbidden | Unauthenticated], Exception] = lambda error: error,
) -> None:
    """Interrupt when `require` raises, with what `told` makes of the error; run it beside what it interrupts."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await require()
        except (Forbidden, Unauthenticated) as exc:
            interrupt.now(told(exc))
            return
