"""Titles of documents by the names that others have for them: ids or sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from storage.caller import current_tenant
from storage.reach import reachable_collections

if TYPE_CHECKING:
    from storage.database import Connection

Named = tuple[str, str]
"""A collection, and a document in it by its id or source."""

# an id is believed before a source, and that before an attachment's, of which each part has an index of its own; the
# documents' own policy holds in all of them
_TITLES = """
    WITH named AS (
        SELECT n.collection, n.name, g.id AS generation_id FROM unnest($2::text[], $3::text[]) AS n(collection, name)
            JOIN footnote.collections c ON c.tenant_id = $1 AND c.name = n.collection AND c.deleted_at IS NULL
            JOIN footnote.generations g ON g.collection_id = c.id AND g.state = 'active'
        WHERE $4::text[] IS NULL OR c.name = ANY($4))
    SELECT DISTINCT ON (collection, name) collection, name, title FROM (
        SELECT collection, name, title, 0 AS place FROM named n
            JOIN footnote.documents d ON d.generation_id = n.generation_id AND d.id = n.name
        UNION ALL SELECT collection, name, title, 1 FROM named n
            JOIN footnote.documents d ON d.generation_id = n.generation_id AND d.source = n.name AND d.parent IS NULL
        UNION ALL SELECT collection, name, title, 2 FROM named n
            JOIN footnote.documents d ON d.generation_id = n.generation_id AND d.source = n.name
                AND d.parent IS NOT NULL) found
    ORDER BY collection, name, place, title"""


async def titles_of(connection: Connection, named: Iterable[Named], /) -> Mapping[Named, str]:
    """Return the titles of those documents that are there and that the caller may read."""
    wanted = sorted(set(named))
    if not wanted:
        return {}
    collections, names = zip(*wanted, strict=True)
    rows = await connection.fetch(_TITLES, current_tenant(), list(collections), list(names), reachable_collections())
    return {(row["collection"], row["name"]): row["title"] for row in rows}
