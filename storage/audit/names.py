"""Names of what lines of the audit record are about, as they are today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from storage.caller import current_tenant
from storage.documents.titles import titles_of

if TYPE_CHECKING:
    from storage.audit.lines import AuditLine
    from storage.database import Database

KEY, DOCUMENT = "key:", "document:"


async def names_in(database: Database, lines: Iterable[AuditLine], *, documents: bool, keys: bool) -> Mapping[str, str]:
    """Return the titles of documents and the names of keys in lines, by the names of these: ``key:0d2x4kq9vw1z``.

    What is gone has none, nor has a document that the caller may not read; `documents` and `keys`: whether those are
    his to know at all.
    """
    lines = list(lines)
    about = {line.object for line in lines} | {f"{KEY}{line.key}" for line in lines if line.key}
    named = [_place(each) for each in about if documents and each.startswith(DOCUMENT) and "/" in each]
    ids = [each.removeprefix(KEY) for each in about if keys and each.startswith(KEY)]
    async with database.transaction(readonly=True) as connection:
        titles = await titles_of(connection, named)
        rows = await connection.fetch(_KEYS, current_tenant(), ids) if ids else []
    return {f"{DOCUMENT}{collection}/{name}": title for (collection, name), title in titles.items()} | {
        f"{KEY}{row['id']}": row["name"] for row in rows
    }


_KEYS = "SELECT id, name FROM footnote.api_keys WHERE tenant_id = $1 AND id = ANY($2)"


def _place(about: str) -> tuple[str, str]:
    collection, _, document = about.removeprefix(DOCUMENT).partition("/")
    return collection, document
