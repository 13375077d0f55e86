"""`--dry-run` and `--manifest`: planning a run, and refusing a run that differs from its plan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.dry_run.estimate import Estimator
from ingestion.dry_run.manifest import compare, read_header, writing
from ingestion.dry_run.planner import Planner, open_plan

if TYPE_CHECKING:
    from ingestion.dry_run.plan import Plan
    from ingestion.inputs.inputs import Inputs
    from ingestion.inputs.web_pages import UrlDocuments
    from ingestion.pipeline.factory import Indexing


async def plan(indexing: Indexing, inputs: Inputs, *, reindex: bool, sync: bool, manifest: Path | None = None) -> Plan:
    """Return what a run would do and an estimate of its cost; write a manifest if a path is given.

    Raises:
        ManifestInvalid: the manifest cannot be written.
        FootnoteError: the collection, the database or the model cannot be used.

    """
    planner = await open_plan(indexing, inputs, reindex=reindex, sync=sync)
    async with _open_pages(indexing, inputs, planner, sync=sync) as pages:
        with writing(manifest, planner.header) if manifest else nullcontext() as file:
            async for entry in planner.entries(pages):
                if file:
                    file.add(entry)
        embedding, chunking = planner.made
        planner.plan.estimate = await Estimator(indexing, embedding=embedding, chunking=chunking).estimate(
            planner.sample
        )
    return planner.plan


async def hold(indexing: Indexing, inputs: Inputs, *, reindex: bool, sync: bool, manifest: Path) -> None:
    """Check that a run would do exactly what a manifest says.

    Raises:
        ManifestDiffers: it would not.
        ManifestInvalid: the manifest cannot be read.
        FootnoteError: as `plan`.

    """
    read_header(manifest)
    planner = await open_plan(indexing, inputs, reindex=reindex, sync=sync)
    async with _open_pages(indexing, inputs, planner, sync=sync) as pages:
        await compare(manifest, planner.header, planner.entries(pages))


@asynccontextmanager
async def _open_pages(
    indexing: Indexing, inputs: Inputs, planner: Planner, *, sync: bool
) -> AsyncIterator[UrlDocuments | None]:
    if not inputs.urls:
        yield None
        return
    from ingestion.inputs.destination import Destination
    from ingestion.inputs.web_pages import UrlDocuments, open_web

    async with open_web(indexing.settings.web) as (fetcher, folder):
        yield UrlDocuments(
            indexing.database,
            destination=Destination(*planner.made, planner.active, indexing.settings.ingestion),
            fetcher=fetcher,
            limits=indexing.settings.web,
            folder=folder,
            urls=inputs.urls,
            metadata=inputs.metadata,
            sync=sync,
        )
