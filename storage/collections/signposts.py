"""Short descriptions of a tenant's collections, for choosing one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.caller import current_tenant
from storage.generation import ACTIVE
from storage.reach import reachable_collections

if TYPE_CHECKING:
    from storage.database import Database

MAX_TITLE_LENGTH = 80  # characters


@dataclass(frozen=True, slots=True)
class Signpost:
    """A collection and the titles of some of its documents."""

    collection: str
    titles: tuple[str, ...]


async def signposts(database: Database, *, first: str, limit: int, titles: int) -> list[Signpost]:
    """Return a tenant's non-empty collections: `first`, if it exists, then the others by name."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""SELECT c.name, array(
                    SELECT left(title, {MAX_TITLE_LENGTH}) FROM footnote.documents
                    WHERE generation_id = g.id ORDER BY id LIMIT $4
                ) AS titles
                FROM {ACTIVE}
                WHERE c.tenant_id = $1 AND ($5::text[] IS NULL OR c.name = ANY($5))
                    AND EXISTS (SELECT FROM footnote.documents WHERE generation_id = g.id)
                ORDER BY c.name <> $2, c.name LIMIT $3""",
            current_tenant(),
            first,
            limit,
            titles,
            reachable_collections(),
        )
    return [Signpost(row["name"], tuple(row["titles"])) for row in rows]
