"""Runs a command of ``python -m ingestion``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ingestion.cli.administration import CommandResult, administer
from ingestion.cli.arguments import INGEST, RUN
from ingestion.dry_run.manifest import ManifestDiffers
from ingestion.inputs.given import READERS
from ingestion.inputs.inputs import Inputs
from ingestion.plug_ins import suffixes_read
from ingestion.runs.gate import read_golden
from ingestion.runs.run import ingest, ingest_and_sync, reindex
from ingestion.runs.sync import EXIT_REFUSED, SyncRefused, require_folders

if TYPE_CHECKING:
    import argparse

    from ingestion.pipeline.factory import Indexing
    from ingestion.pipeline.pipeline import Progress
    from ingestion.runs.run import Watch


class Outcome(Protocol):
    """What a command prints, and its exit code."""

    @property
    def exit_code(self) -> int: ...  # noqa: D102 (see above)

    def as_json(self) -> Mapping[str, object]: ...  # noqa: D102 (see above)

    def as_text(self) -> str: ...  # noqa: D102 (see above)


async def run_command(options: argparse.Namespace, indexing: Indexing, *, watch: Watch, progress: Progress) -> Outcome:
    """Run the command in `options`; see `ingestion.cli.arguments`.

    Raises:
        FootnoteError: it cannot be done; the message says what to do.

    """
    if options.command == RUN:
        return await _run_sources(options, indexing, watch=watch, progress=progress)
    if options.command != INGEST:
        return await administer(options, indexing, watch=watch, progress=progress)
    indexing.embedding = options.embedding
    inputs = Inputs(
        options.collection,
        options.paths,
        base=options.base,
        metadata=dict(options.metadata) | ({} if options.readers is None else {READERS: options.readers}),
        exclude=tuple(options.exclude),
        plugged_in=suffixes_read(indexing.settings.ingestion),
    )
    try:
        if options.sync:
            require_folders(inputs)
        if options.dry_run or options.manifest:
            from ingestion.dry_run.commands import hold, plan
        if options.dry_run:
            manifest = options.manifest
            return await plan(indexing, inputs, reindex=options.reindex, sync=options.sync, manifest=manifest)
        if options.manifest:
            await hold(indexing, inputs, reindex=options.reindex, sync=options.sync, manifest=options.manifest)
        return await _ingest(options, indexing, inputs, watch=watch, progress=progress)
    except (SyncRefused, ManifestDiffers) as exc:
        return CommandResult(
            f"refused: {exc}", {"refused": str(exc), "exit_code": EXIT_REFUSED}, exit_code=EXIT_REFUSED
        )


async def _ingest(
    options: argparse.Namespace, indexing: Indexing, inputs: Inputs, *, watch: Watch, progress: Progress
) -> Outcome:
    if options.reindex:
        golden = await asyncio.to_thread(read_golden, options.gate) if options.gate else None
        return await reindex(
            indexing,
            inputs,
            resume=options.resume,
            activate=options.activate or ("if-better" if golden else "always"),
            golden=golden,
            force=options.yes,
            watch=watch,
            progress=progress,
            sync=options.sync,
        )
    if options.sync:
        return await ingest_and_sync(indexing, inputs, force=options.yes, watch=watch, progress=progress)
    return await ingest(indexing, inputs, watch=watch, progress=progress)


async def _run_sources(options: argparse.Namespace, indexing: Indexing, *, watch: Watch, progress: Progress) -> Outcome:
    from ingestion.schedule.scheduler import Scheduler
    from ingestion.schedule.source_file import read_sources

    listed = await asyncio.to_thread(read_sources, Path(options.file))
    scheduler = Scheduler(indexing, listed, watch=watch, progress=progress, force=options.yes)
    return await scheduler.run(only=options.only, everything=options.all, dry_run=options.dry_run)
