"""``python -m server keys``: makes, lists, limits, rotates and revokes API keys, for whoever runs the server."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from server.api.schemas.keys import DEFAULT_OVERLAP, MAX_OVERLAP, KeyBody, KeyOut, MadeKeyOut, RotationBody
from server.auth.key_text import PREFIX, KeyText
from server.command_line import opened_database
from server.errors import InvalidKey
from server.limits_command import change_of
from server.principal import EVERYBODY, SCOPES, being
from server.services.key_limits import changed
from server.services.keys import KeyService, MadeKey
from storage.access.keys import ApiKeys

if TYPE_CHECKING:
    from config.settings import Settings
    from storage.access.keys import ApiKey

PAGE = 1000
Body = TypeVar("Body", KeyBody, RotationBody)


def run(settings: Settings, arguments: Sequence[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        FootnoteError: it cannot be done; the message says why.

    """
    options = _parser().parse_args(arguments)
    asyncio.run(_run(settings, options))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m server keys", description="API keys of a Footnote server.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(dest="command", required=True, metavar="create|list|limits|rotate|revoke")
    create = commands.add_parser("create", parents=[shared], help="make a key, and print it this once")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument("--scopes", required=True, type=_listed, metavar="A,B", help=f"of {', '.join(SCOPES)}")
    create.add_argument("--tenant", help="unset: public")
    create.add_argument("--subject", help="whom it stands for; unset: its name")
    create.add_argument("--groups", type=_listed, default=[], metavar="A,B", help="that the subject is in")
    create.add_argument("--collections", type=_listed, metavar="A,B", help="those that exist for it; unset: all")
    create.add_argument("--expires-in", type=float, metavar="DAYS", help="after which it is refused; unset: never")
    create.add_argument(
        "--limits", type=_listed, metavar="NAME=VALUE,…", help="of its own, in place of those that hold for all keys"
    )
    listing = commands.add_parser("list", parents=[shared], help="list keys, revoked ones too")
    listing.add_argument("--tenant", help="unset: public")
    limits = commands.add_parser("limits", parents=[shared], help="show a key's own limits, and change them")
    limits.add_argument("id", type=_key_id, help="the part of the key after fn_")
    limits.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a limit of its own; NAME=none: no limit, whatever holds for all keys",
    )
    limits.add_argument(
        "--unset", action="append", default=[], metavar="NAME", help="let what holds for all keys hold again"
    )
    rotate = commands.add_parser("rotate", parents=[shared], help="give a key another secret, and print it this once")
    rotate.add_argument("id", type=_key_id, help="the part of the key after fn_")
    rotate.add_argument(
        "--overlap",
        type=int,
        default=DEFAULT_OVERLAP,
        metavar="SECONDS",
        help=f"how long the earlier secret is good yet, at most {MAX_OVERLAP}; unset: {DEFAULT_OVERLAP}",
    )
    revoke = commands.add_parser("revoke", parents=[shared], help="refuse a key from now on")
    revoke.add_argument("id", type=_key_id, help="the part of the key after fn_")
    return parser


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _key_id(value: str) -> str:
    """Return a key's id, also of the whole key."""
    text = KeyText.parse(value)
    return text.id if text else value.removeprefix(PREFIX)


async def _run(settings: Settings, options: argparse.Namespace) -> None:
    async with opened_database(settings) as database:
        with being(EVERYBODY):
            await _commands(KeyService(ApiKeys(database)), options)


async def _commands(keys: KeyService, options: argparse.Namespace) -> None:
    if options.command == "create":
        _show_made(await keys.create(_wanted(options).to_key(), by=EVERYBODY), as_json=options.json)
    elif options.command == "rotate":
        overlap = _checked(RotationBody, overlap_seconds=options.overlap).overlap
        _show_made(await keys.rotate(options.id, by=EVERYBODY, overlap=overlap), as_json=options.json)
    elif options.command == "limits":
        await _limit(keys, options)
    elif options.command == "revoke":
        await keys.revoke(options.id, by=EVERYBODY)
        _print(f'{{"id": "{options.id}"}}' if options.json else f"key {options.id} is refused from now on")
    else:
        await _list(keys, options)


def _wanted(options: argparse.Namespace) -> KeyBody:
    days = options.expires_in
    return _checked(
        KeyBody,
        name=options.name,
        scopes=options.scopes,
        tenant=options.tenant,
        subject=options.subject or options.name,
        groups=options.groups,
        collections=options.collections,
        expires_at=None if days is None else _in_days(days),
        limits=None if options.limits is None else dict(map(change_of, options.limits)),
    )


async def _limit(keys: KeyService, options: argparse.Namespace) -> None:
    key = await keys.get(options.id, by=EVERYBODY)
    changes = dict(map(change_of, options.set))
    if changes or options.unset:
        own = {name: value for name, value in changed(key, changes).items() if name not in options.unset}
        key = await keys.limit(key.id, own, by=EVERYBODY)
    _print(KeyOut.model_validate(key).model_dump_json() if options.json else json.dumps(dict(key.limits), indent=2))


def _in_days(days: float) -> datetime:
    try:
        return datetime.now(UTC) + timedelta(days=days)
    except (OverflowError, ValueError):
        msg = "--expires-in: that is no date any more"
        raise InvalidKey(msg, field="expires_at") from None


def _checked(kind: type[Body], **members: object) -> Body:
    try:
        return kind.model_validate(members)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        option = str(first["loc"][0])
        which = f" {str(first['loc'][1])[:80]}:" if option == "limits" and len(first["loc"]) > 1 else ""
        msg = f"--{option.replace('_', '-')}:{which} {first['msg'].removeprefix('Value error, ')}"
        raise InvalidKey(msg, field=option) from None


async def _list(keys: KeyService, options: argparse.Namespace) -> None:
    cursor = None
    while True:
        page = await keys.list(by=EVERYBODY, tenant=options.tenant, limit=PAGE, cursor=cursor)
        for key in page.items:
            _print(KeyOut.model_validate(key).model_dump_json() if options.json else _line(key))
        if (cursor := page.next_cursor) is None:
            return


def _line(key: ApiKey) -> str:
    whose = f"{key.subject} of {key.tenant}"
    limits = "".join(f", {name}={'none' if value is None else value}" for name, value in key.limits.items())
    return f"{key.id}  {_state(key)}  {key.name}: {whose}, {','.join(key.scopes)}{limits}"


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "active "


def _show_made(made: MadeKey, *, as_json: bool) -> None:
    """Print the key alone, so that a script can take it, and what is to be said of it on standard error."""
    if as_json:
        _print(MadeKeyOut.of(made).model_dump_json())
        return
    _print(str(made.text))
    shown = f"This is the only time that key {made.key.id} is shown; it may: {', '.join(made.key.scopes)}"
    print(shown, file=sys.stderr)  # noqa: T201 (beside a command's output)


def _print(line: str) -> None:
    print(line)  # noqa: T201 (a command's output)
