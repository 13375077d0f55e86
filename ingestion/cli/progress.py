"""Progress of a run: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from ingestion.pipeline.report import IngestReport

LINE_EVERY = 10.0


class PlainProgress:
    """A line on standard error every ten seconds."""

    def __init__(self) -> None:
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        return None

    def update(self, report: IngestReport, *, total: int | None) -> None:
        """Print a line, unless the last one is less than ten seconds old."""
        now = time.monotonic()
        if now - self._shown < LINE_EVERY:
            return
        self._shown = now
        rate = report.chunks / (now - self._started)
        left = remaining(report, total=total, seconds=now - self._started)
        done = f"{report.documents} of {total or 'some'} documents, {report.chunks} chunks, {rate:.1f} chunks/s, {left}"
        print(done + _slowed(report), file=sys.stderr)  # noqa: T201 (the command's output)


class BarProgress:
    """A bar on a terminal: documents, chunks a second, time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._started = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("documents"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, report: IngestReport, *, total: int | None) -> None:
        """Update the bar."""
        seconds = time.monotonic() - self._started
        left = remaining(report, total=total, seconds=seconds)
        pace = f"{report.chunks} chunks, {report.chunks / seconds:.1f}/s, {left}{_slowed(report)}"
        shown = pace if report.chunks else "the first wait for the model"
        self._bar.update(self._task, completed=report.documents, total=total, description=shown)


def open_progress(*, quiet: bool) -> PlainProgress | BarProgress:
    """Return a bar if standard error is a terminal, else lines."""
    return BarProgress() if sys.stderr.isatty() and not quiet else PlainProgress()


def _slowed(report: IngestReport) -> str:
    return f"; embedding server {report.slowed}" if report.slowed else ""


def remaining(report: IngestReport, *, total: int | None, seconds: float) -> str:
    """Estimate the time left from the pace so far; unknown at first, while the model loads."""
    if total is None or report.documents < max(3, total // 50):
        return "time left unknown"
    left = int(seconds / report.documents * (total - report.documents))
    return f"{left // 60}:{left % 60:02d} left"
