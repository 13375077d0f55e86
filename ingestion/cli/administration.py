"""Commands on generations: list, activate, roll back, prune, check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion.runs.checking import Checked, check
from ingestion.runs.pruning import prune
from ingestion.runs.reindexing import catch_up
from storage.deletions import forget_deletions
from storage.documents.originals import Originals

if TYPE_CHECKING:
    import argparse

    from ingestion.pipeline.factory import Indexing
    from ingestion.pipeline.pipeline import Pipeline, Progress
    from ingestion.pipeline.report import IngestReport
    from storage.collections.generations import Flip, GenerationInfo

MAX_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command."""

    text: str
    json: Mapping[str, object]
    exit_code: int = 0

    def as_json(self) -> Mapping[str, object]:
        """Return it for machines."""
        return self.json

    def as_text(self) -> str:
        """Return it for people."""
        return self.text


async def administer(
    options: argparse.Namespace, indexing: Indexing, *, watch: Callable[[Pipeline], None], progress: Progress
) -> CommandResult | Checked:
    """Run the command.

    Raises:
        FootnoteError: it cannot be done; the message says why.

    """
    collection = options.collection
    if options.command == "generations":
        return _listed((await indexing.generations.list(collection, limit=MAX_SHOWN)).items)
    if options.command == "prune":
        return await _pruned(indexing, collection)
    if options.command == "check":
        return await check(indexing, collection, repair=options.repair, watch=watch, progress=progress)
    name = options.generation if options.command == "activate" else await indexing.generations.previous(collection)
    flip = await indexing.generations.activate(collection, name)
    if options.no_catch_up or flip.before == flip.after:
        return _flipped(collection, flip, None)
    report = await catch_up(
        indexing,
        target=await indexing.collections.active(collection),
        reference=await indexing.generations.get(collection, flip.before),
        watch=watch,
        progress=progress,
    )
    return _flipped(collection, flip, report)


async def _pruned(indexing: Indexing, collection: str) -> CommandResult:
    dropped = await prune(indexing, collection)
    await forget_deletions(indexing.database)
    originals = await Originals(indexing.database).prune()
    shown = f"generations dropped: {', '.join(dropped) or 'none'}; originals dropped: {originals}"
    return CommandResult(shown, {"generations": list(dropped), "originals": originals})


def _flipped(collection: str, flip: Flip, report: IngestReport | None) -> CommandResult:
    if flip.before == flip.after:
        return CommandResult(f"generation {flip.after} of {collection!r} answers already", {"generation": flip.after})
    lines = [f"generation {flip.after} of {collection!r} answers now, in place of {flip.before}"]
    if report is not None and report.documents:
        lines.append(f"brought up to date: {report.as_text()}")
    json = {"generation": flip.after, "before": flip.before, "caught_up": report.as_json() if report else None}
    return CommandResult("\n".join(lines), json, exit_code=report.exit_code if report else 0)


def _listed(generations: Sequence[GenerationInfo]) -> CommandResult:
    rows = [
        f"{each.name:>4}  {each.state:<9} {each.documents:>9} documents {each.chunks:>10} chunks  "
        f"{each.chunk_tokens} tokens  {each.embedding_model}  {each.created_at:%Y-%m-%d %H:%M}"
        for each in generations
    ]
    items = [
        {
            "generation": each.name,
            "state": each.state,
            "documents": each.documents,
            "chunks": each.chunks,
            "chunk_tokens": each.chunk_tokens,
            "chunk_overlap": each.chunk_overlap,
            "embedding_model": each.embedding_model,
            "dimension": each.dimension,
            "table": each.table,
            "created_at": each.created_at.isoformat(),
            "report": each.report,
        }
        for each in generations
    ]
    return CommandResult("\n".join(rows), {"items": items})
