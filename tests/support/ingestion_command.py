"""``python -m ingestion`` in the test's own process."""

from __future__ import annotations

from config.settings import Settings
from ingestion.cli.arguments import parse_arguments
from ingestion.cli.command import Outcome, run_command
from ingestion.pipeline.factory import open_indexing


class Quiet:
    """Progress that nobody watches."""

    def update(self, *_args: object, **_kwargs: object) -> None:
        """Show nothing."""


async def run_ingestion(settings: Settings, *arguments: object) -> Outcome:
    """Run the command with arguments."""
    async with open_indexing(settings) as indexing:
        options = parse_arguments([str(each) for each in arguments], description="")
        return await run_command(options, indexing, watch=lambda _: None, progress=Quiet())  # type: ignore[arg-type]
