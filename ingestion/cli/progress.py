"""Progress of a run: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ingestion.pipeline.report import IngestReport

LINE_EVERY = 10.0
PACE_SECONDS = 60.0  # that a pace is taken over
PACE_LEAST = 5.0  # that it is known after


class Pace:
    """Chunks embedded a second, of late."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, embedded: int) -> float | None:
        """Take note of how many are embedded by now; return the pace, None until it is known.

        It begins with the first chunks that come: those before them waited for the model.
        """
        now, seen = self._clock(), self._seen
        if embedded and (not seen or seen[-1][1] != embedded):
            seen.append((now, embedded))
        while len(seen) > 2 and now - seen[1][0] > PACE_SECONDS:  # noqa: PLR2004 (two ends)
            seen.popleft()
        if len(seen) < 2 or seen[-1][0] - seen[0][0] < PACE_LEAST:  # noqa: PLR2004 (see above)
            return None
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])


def stage_of(report: IngestReport, *, total: int | None, pace: float | None) -> str:
    """Return what a run is doing, and the time left where that is known: once all documents are split into chunks."""
    stages = report.stages
    embedded, chunks = min(stages.embedded, stages.to_embed), stages.to_embed
    of = "" if total is None else f" of {total:,}"
    if stages.is_opening_model:
        return f"opening the embedding model, {stages.read:,}{of} documents read"
    if not embedded and not stages.is_all_read:
        return "looking for documents that are new or changed" if not stages.read else "reading and splitting"
    if stages.is_all_read and embedded == chunks:
        is_stored = total is not None and report.documents >= total
        return "finishing the index" if is_stored else "storing"
    so_far = "" if stages.is_all_read else " so far"
    said = f"embedding: {embedded:,} of {_chunks(chunks)}{so_far}"
    if pace is None:
        return said
    left = int((chunks - embedded) / pace)
    time_left = f"{left // 3600} h {left // 60 % 60:02d} min" if left >= 3600 else f"{left // 60}:{left % 60:02d}"  # noqa: PLR2004 (an hour)
    return f"{said}, {pace:.0f}/s" + (f", {time_left} left" if stages.is_all_read else "")


class PlainProgress:
    """A line on standard error every ten seconds."""

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._pace = Pace()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        return None

    def update(self, report: IngestReport, *, total: int | None) -> None:
        """Print a line, unless the last one is less than ten seconds old."""
        pace, now = self._pace.add(report.stages.embedded), time.monotonic()
        if now - self._shown < LINE_EVERY:
            return
        self._shown = now
        of = "" if total is None else f" of {total:,}"
        done = f"{report.documents:,}{of} documents done"
        stage = stage_of(report, total=total, pace=pace)
        print(f"{done}; {stage}{_slowed(report)}", file=sys.stderr)  # noqa: T201 (the command's output)


class BarProgress:
    """A bar on a terminal: documents done, what is being done, the time so far."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._pace = Pace()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("documents"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("getting ready", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, report: IngestReport, *, total: int | None) -> None:
        """Update the bar, which draws itself ten times a second."""
        stage = stage_of(report, total=total, pace=self._pace.add(report.stages.embedded))
        self._bar.update(self._task, completed=report.documents, total=total, description=stage + _slowed(report))


def open_progress(*, quiet: bool) -> PlainProgress | BarProgress:
    """Return a bar if standard error is a terminal, else lines."""
    return BarProgress() if sys.stderr.isatty() and not quiet else PlainProgress()


def _slowed(report: IngestReport) -> str:
    return f"; embedding server {report.slowed}" if report.slowed else ""


def _chunks(count: int) -> str:
    return "1 chunk" if count == 1 else f"{count:,} chunks"
