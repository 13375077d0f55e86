"""A small evaluation that needs nothing but a checkout: Footnote's own documentation, and questions about it.

``make evaluate`` runs it in a database of its own; the tests hold the same floors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden.jsonl"
COLLECTION = "small"
ENGINES = "hybrid,vector,keyword"
# Well below what was measured: they detect breakage, and pages are edited every day.
FLOORS = ("passages.ndcg@10=0.55", "documents.ndcg@10=0.7", "documents.recall@10=0.8")
LEFT_OUT = frozenset({"docs/evaluation.md"})  # it quotes these questions
FOLDERS = ("docs", "docs/operations")


def corpus() -> list[Path]:
    """Return the documentation's pages, which exist in a checkout, but not in the container image."""
    pages = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]
    return [ROOT / "README.md", *(page for page in pages if page.relative_to(ROOT).as_posix() not in LEFT_OUT)]


async def ingest(settings: Settings) -> None:
    """Ingest the pages.

    Raises:
        FootnoteError: the database or the model cannot be used.

    """
    from ingestion.inputs.inputs import Inputs
    from ingestion.pipeline.factory import open_indexing
    from ingestion.runs.run import ingest as bring

    async with open_indexing(settings) as indexing:
        inputs = Inputs(COLLECTION, [str(page) for page in corpus()], base=ROOT)
        await bring(indexing, inputs, watch=lambda _: None)


def arguments(*, floors: Sequence[str] = FLOORS, engines: str = ENGINES) -> list[str]:
    """Return the arguments of ``python -m evaluation`` that ask the questions."""
    return ["run", str(GOLDEN), "--collection", COLLECTION, "--engine", engines, *_options("--floor", floors)]


def _options(name: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (name, value)]
