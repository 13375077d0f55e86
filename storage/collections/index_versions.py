"""Version numbers of collections, for caches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.database import Database
    from storage.generation import Generation


class IndexVersions:
    """A number for each collection that changes with every commit that affects its search results.

    A trigger on the documents increments it: see migration 0008.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, generation: Generation) -> int | None:
        """Return the number of a generation's collection; None if it is deleted or was never written to.

        Data read after this call is at least as new as the number.
        """
        async with self._database.connection() as connection:
            version = await connection.fetchval(
                "SELECT version FROM footnote.index_versions WHERE collection_id = $1", generation.collection_id
            )
        return None if version is None else int(version)
