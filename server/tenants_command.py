"""``python -m server tenants``: make, list, suspend, resume, delete and export tenants."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from config.settings import Settings
from server.command_line import opened_database
from storage.access.export import TenantExport
from storage.access.tenants import Tenants


def run(settings: Settings, arguments: Sequence[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        FootnoteError: it cannot be done; the message says what to do.

    """
    options = _parser().parse_args(arguments)
    told = asyncio.run(_perform(options, settings))
    print(json.dumps(told, default=str) if options.json else _shown(told))  # noqa: T201 (the command's output)
    return 0


async def _perform(options: argparse.Namespace, settings: Settings) -> Any:  # noqa: ANN401 (JSON)
    async with opened_database(settings) as database:
        tenants = Tenants(database)
        if options.action == "list":
            return [asdict(info) for info in await tenants.list()]
        if options.action == "delete":
            return {"deleted": options.tenant, **await tenants.delete(options.tenant)}
        if options.action == "export":
            folder = options.folder or Path(f"{options.tenant}-export")
            export = TenantExport(database, tenant=options.tenant, folder=folder)
            return {"exported": options.tenant, "folder": str(folder), **await export.write()}
        await {"create": tenants.create, "suspend": tenants.suspend, "resume": tenants.resume}[options.action](
            options.tenant
        )
        return {"tenant": options.tenant, "status": await tenants.status(options.tenant)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m server tenants", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="list all tenants")
    for name, what in (
        ("create", "make a tenant"),
        ("suspend", "refuse its requests; nothing is deleted"),
        ("resume", "answer its requests again"),
        ("delete", "delete it with all its collections, documents, originals, conversations and jobs"),
        ("export", "write its documents as JSON lines, and their original files"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("tenant")
        if name == "export":
            action.add_argument("folder", nargs="?", type=Path, help="empty or new; default: TENANT-export")
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    return parser


def _shown(told: Any) -> str:  # noqa: ANN401 (see _perform)
    rows = told if isinstance(told, list) else [told]
    return "\n".join("  ".join(f"{name}: {value}" for name, value in row.items()) for row in rows)
