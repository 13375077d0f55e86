"""Drawing pages in a worker process: a file that crashes, hangs or exhausts memory there leaves the server alone."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING

from config.settings import IngestionSettings
from ingestion.errors import Unreadable
from ingestion.readers.drawing.view import View
from ingestion.readers.pool import MAX_POOLS, PoolBroken, done_in, end, new_pool

if TYPE_CHECKING:
    from pebble import ProcessPool

    from ingestion.readers.drawing.page import Layouts

SECONDS = 30.0  # for a page, less if files have less
_PAGES_PER_WORKER = 500  # then the worker is replaced: C libraries leak


class PagePainter:
    """Draws pages of PDFs and pictures in a worker process, which starts with the first page.

    It draws one page at a time: whoever calls it sees to it that pages wait, and how many.
    """

    def __init__(self, *, settings: IngestionSettings) -> None:
        self._timeout = min(settings.parse_timeout, SECONDS)
        self._memory = settings.parse_memory_bytes
        self._pool: ProcessPool | None = None

    async def draw(self, data: bytes, view: View) -> bytes:
        """Return a page as PNG, marked.

        Raises:
            Unreadable: the page cannot be drawn; the message says why.

        """
        from pebble import ProcessExpired

        try:
            return await self._drawn(data, view)
        except TimeoutError as exc:
            msg = f"drawing the page took longer than {self._timeout:g} seconds"
            raise Unreadable(msg) from exc
        except MemoryError as exc:
            msg = f"drawing the page took more than {self._memory >> 20} MiB of memory"
            raise Unreadable(msg) from exc
        except ProcessExpired as exc:
            msg = "the program that draws crashed on the page"
            raise Unreadable(msg) from exc

    async def aclose(self) -> None:
        """End the worker at once, also if it is drawing."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(end, pool)

    async def _drawn(self, data: bytes, view: View) -> bytes:
        for _ in range(MAX_POOLS):
            pool = self._pool = self._pool or new_pool(workers=1, tasks=_PAGES_PER_WORKER, memory=self._memory)
            try:
                return await done_in(pool, _draw, data, view, seconds=self._timeout)
            except PoolBroken:
                await self.aclose()
        msg = "the process that draws pages was killed, again and again"
        raise Unreadable(msg)


def _draw(data: bytes, view: View) -> bytes:
    """Draw a page, in the worker; whatever PDFium or Pillow raise becomes `Unreadable`."""
    from ingestion.readers.drawing.page import draw_page  # the server imports this module, and needs none of that

    try:
        return draw_page(data, view, _layouts())
    except (Unreadable, MemoryError):
        raise
    except Exception as exc:  # other people's code on hostile input: any of it may fail
        msg = f"the page cannot be drawn ({type(exc).__name__})"
        raise Unreadable(msg) from exc


@lru_cache(maxsize=1)
def _layouts() -> Layouts:
    """Return the worker's layouts."""
    from ingestion.readers.drawing.page import Layouts

    return Layouts()
