"""Fetched pages: their validators, for conditional requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.caller import current_tenant

if TYPE_CHECKING:
    from storage.database import Database


@dataclass(frozen=True, slots=True)
class KnownPage:
    """The last fetch of a page.

    Attributes:
        final_url: after redirects; the validators belong to it.
        content_hash: SHA-256 of the indexed bytes.
        file_name: selects its reader.

    """

    url: str
    final_url: str
    etag: str | None
    last_modified: str | None
    content_hash: str
    file_name: str


class WebPages:
    """The pages of one tenant, in any collection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, url: str) -> KnownPage | None:
        """Return a page's last fetch, if any."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """SELECT url, final_url, etag, last_modified, content_hash, file_name FROM footnote.web_pages
                   WHERE tenant_id = $1 AND url = $2""",
                current_tenant(),
                url,
            )
        return KnownPage(**dict(row)) if row else None

    async def put(self, page: KnownPage) -> None:
        """Store a fetch."""
        async with self._database.connection() as connection:
            await connection.execute(
                """INSERT INTO footnote.web_pages
                       (tenant_id, url, final_url, etag, last_modified, content_hash, file_name)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)
                   ON CONFLICT (tenant_id, url) DO UPDATE SET final_url = excluded.final_url, etag = excluded.etag,
                       last_modified = excluded.last_modified, content_hash = excluded.content_hash,
                       file_name = excluded.file_name, fetched_at = now()""",
                current_tenant(),
                page.url,
                page.final_url,
                page.etag,
                page.last_modified,
                page.content_hash,
                page.file_name,
            )

    async def forget(self, url: str) -> None:
        """Delete a page."""
        async with self._database.connection() as connection:
            await connection.execute(
                "DELETE FROM footnote.web_pages WHERE tenant_id = $1 AND url = $2", current_tenant(), url
            )
