"""Drawing pages in a worker process: a PDF that crashes, hangs or exhausts memory there leaves the server alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING

from config.settings import IngestionSettings
from ingestion.errors import Unreadable
from ingestion.readers.pdf.drawing import draw_page
from ingestion.readers.process_pool import LOOK_SECONDS, MAX_POOLS, START_SECONDS, prepare_worker
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
            await asyncio.to_thread(_end, pool)

    async def _drawn(self, arguments: tuple[object, ...]) -> bytes:
        for _ in range(MAX_POOLS):
            pool = self._pool = self._pool or self._new_pool()
            try:
                return await self._in_pool(pool, arguments)
            except _PoolBroken:
                await self.aclose()
        msg = "the process that draws pages was killed, again and again"
        raise Unreadable(msg)

    async def _in_pool(self, pool: ProcessPool, arguments: tuple[object, ...]) -> bytes:
        """Draw a page, and poll the pool, which does not report when it breaks."""
        try:
            future = pool.schedule(_draw, args=arguments, timeout=self._timeout)
        except RuntimeError as exc:
            raise _PoolBroken from exc
        drawing: asyncio.Future[bytes] = asyncio.wrap_future(future)
        try:
            began = time.monotonic()
            while not (await asyncio.wait({drawing}, timeout=LOOK_SECONDS))[0]:
                is_late = not future.running() and time.monotonic() - began > START_SECONDS
                if is_late or not pool.active:
                    raise _PoolBroken
        finally:
            drawing.cancel()  # no effect if it is done
        try:
            return drawing.result()
        except BrokenExecutor as exc:
            raise _PoolBroken from exc

    def _new_pool(self) -> ProcessPool:
        from pebble import ProcessPool

        return ProcessPool(
            max_workers=1,
            max_tasks=_PAGES_PER_WORKER,
            initializer=prepare_worker,
            initargs=(self._memory,),
            context=multiprocessing.get_context("spawn"),
        )


class _PoolBroken(Exception):
    """The pool does not work any more."""


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


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
    try:
        return draw_page(
            data, name=name, page=page, start=start, end=end, options=options, page_start=page_start, width=width
        )
    except (Unreadable, MemoryError):
        raise
    except Exception as exc:  # other people's code on hostile input: any of it may fail
        msg = f"the page cannot be drawn ({type(exc).__name__})"
        raise Unreadable(msg) from exc
