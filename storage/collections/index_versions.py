"""Whether something may have changed in a collection since one last looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.database import Database
    from storage.generation import Generation


class IndexVersions:
    """A number for each collection, another one after every commit that changes what can be found in it.

    A trigger on the documents counts, whoever writes or deletes: see the migration 0008.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, generation: Generation) -> int | None:
        """Return the number of a generation's collection; None where it is gone, or nothing was ever written to it.

        What is read after this is at least as new as the number says.
        """
        async with self._database.connection() as connection:
            version = await connection.fetchval(
                "SELECT version FROM footnote.index_versions WHERE collection_id = $1", generation.collection_id
            )
        return None if version is None else int(version)
