"""``python -m server limits``: show a tenant's limits, and give it some of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Any

from config.errors import CallerError
from config.settings import LimitSettings, Settings, overridden
from server.command_line import opened_database
from storage.access.tenant_limits import TenantLimits
from storage.caller import Caller, acting_as
from storage.generation import DEFAULT_TENANT


class InvalidLimit(CallerError):
    """A limit cannot be set; the message says why."""

    slug = "invalid-request"


def run(settings: Settings, arguments: Sequence[str]) -> int:
    """Show limits, after changing them where it is asked for; return the exit code.

    Raises:
        InvalidLimit, TenantNotFound: nothing was changed.

    """
    options = _parser().parse_args(arguments)
    changes = dict(map(change_of, options.set))
    own = asyncio.run(_applied(settings, options.tenant, changes, unset=options.unset))
    print(json.dumps(_shown(settings.limits, options.tenant, own), indent=2))  # noqa: T201 (what it is asked for)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m server limits", description="Limits of a tenant.")
    parser.add_argument("--tenant", default=DEFAULT_TENANT, help=f"its id; {DEFAULT_TENANT} if none is given")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a limit of its own, in place of the settings'; NAME=none: no limit, whatever the settings say",
    )
    parser.add_argument(
        "--unset", action="append", default=[], metavar="NAME", help="let the settings' limit hold again"
    )
    return parser


def change_of(given: str) -> tuple[str, object]:
    """Return the name and the value of ``NAME=VALUE``; ``NAME=none``: None.

    Raises:
        InvalidLimit: it is nothing of the kind.

    """
    name, _, value = given.partition("=")
    if value == "none":
        return name, None
    try:
        return name, json.loads(value)
    except ValueError:
        msg = f"{name[:80]}: a limit is a number, or none"
        raise InvalidLimit(msg) from None


async def _applied(
    settings: Settings, tenant: str, changes: dict[str, object], *, unset: Sequence[str]
) -> dict[str, Any]:
    async with opened_database(settings) as database:
        with acting_as(Caller(tenant, "local", sees_all=True)):
            limits = TenantLimits(database)
            before = dict(await limits.read(tenant))
            own = {name: value for name, value in {**before, **changes}.items() if name not in unset}
            if own != before or changes:
                _check(own)
                await limits.write(tenant, own)
            return own


def _check(own: dict[str, object]) -> None:
    try:
        overridden(LimitSettings(), own)
    except ValueError as exc:
        raise InvalidLimit(str(exc)) from None


def _shown(settings: LimitSettings, tenant: str, own: dict[str, Any]) -> dict[str, object]:
    try:
        holds = overridden(settings, own)
    except ValueError as exc:
        raise InvalidLimit(str(exc)) from None
    return {
        "tenant": tenant,
        "own": own,
        "limits": {name: value for name, value in holds.model_dump().items() if value is not None},
    }
