"""Drawing pages in a worker process: a PDF that crashes, hangs or exhausts memory there leaves the server alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from config.settings import IngestionSettings
from ingestion.errors import Unreadable
from ingestion.readers.pool import MAX_POOLS, PoolBroken, done_in, end, new_pool
from ingestion.types import ReadOptions

if TYPE_CHECKING:
    from pebble import ProcessPool

SECONDS = 30.0  # for a page, less if files have less
_PAGES_PER_WORKER = 500  # then the worker is replaced: C libraries leak
_WAITING = 32  # drawings that wait for the worker, at most


class PagePainter:
    """Draws pages of PDFs in a worker process, one at a time; the worker starts with the first page."""

    def __init__(self, *, settings: IngestionSettings) -> None:
        self._timeout = min(settings.parse_timeout, SECONDS)
        self._memory = settings.parse_memory_bytes
        self._turns = asyncio.Semaphore(1)
        self._waiting = 0
        self._pool: ProcessPool | None = None

    async def draw(  # noqa: PLR0917 (called with what `draw_page` takes by name)
        self,
        data: bytes,
        name: str,
        page: int,
        start: int | None,
        end: int | None,
        options: ReadOptions,
        *,
        page_start: int | None = None,
        width: int = 1000,
    ) -> bytes:
        """Return a page as PNG, the characters `start` to `end` of `Extracted.text` marked.

        Give `page_start`, the page's own offset, where it is known: pages before it then need no OCR.

        Raises:
            Unreadable: the page cannot be drawn; the message says why.

        """
        from pebble import ProcessExpired

        if self._waiting >= _WAITING:
            msg = "too many pages are being drawn; try again later"
            raise Unreadable(msg)
        arguments = (data, name, page, start, end, options, page_start, width)
        self._waiting += 1
        try:
            async with self._turns:
                return await self._drawn(arguments)
        except TimeoutError as exc:
            msg = f"drawing the page took longer than {self._timeout:g} seconds"
            raise Unreadable(msg) from exc
        except MemoryError as exc:
            msg = f"drawing the page took more than {self._memory >> 20} MiB of memory"
            raise Unreadable(msg) from exc
        except ProcessExpired as exc:
            msg = "PDFium crashed on the page"
            raise Unreadable(msg) from exc
        finally:
            self._waiting -= 1

    async def aclose(self) -> None:
        """End the worker at once, also if it is drawing."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(end, pool)

    async def _drawn(self, arguments: tuple[object, ...]) -> bytes:
        for _ in range(MAX_POOLS):
            pool = self._pool = self._pool or new_pool(workers=1, tasks=_PAGES_PER_WORKER, memory=self._memory)
            try:
                return await done_in(pool, _draw, *arguments, seconds=self._timeout)
            except PoolBroken:
                await self.aclose()
        msg = "the process that draws pages was killed, again and again"
        raise Unreadable(msg)


def _draw(  # noqa: PLR0917 (pebble passes arguments by position)
    data: bytes,
    name: str,
    page: int,
    start: int | None,
    end: int | None,
    options: ReadOptions,
    page_start: int | None,
    width: int,
) -> bytes:
    """Draw a page, in the worker; whatever PDFium or Pillow raise becomes `Unreadable`."""
    from ingestion.readers.pdf.drawing import draw_page  # the server imports this module, and needs none of that

    try:
        return draw_page(
            data, name=name, page=page, start=start, end=end, options=options, page_start=page_start, width=width
        )
    except (Unreadable, MemoryError):
        raise
    except Exception as exc:  # other people's code on hostile input: any of it may fail
        msg = f"the page cannot be drawn ({type(exc).__name__})"
        raise Unreadable(msg) from exc
