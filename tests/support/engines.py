"""The answer service over a real index, with a scripted model that is told apart by what it is asked to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from support.environment import make_settings
from support.model_server import ModelServer, Reply

from config.settings import Settings
from embedding.embedder import Embedder
from server.engines.models.choose import open_model
from server.services.answers import AnswerService
from server.services.pinned_generations import followed_generations
from storage.database import Database
from storage.leases import Leases

Say = str | Callable[[str], str]

HARBOUR = """\
# Harbour handbook

This handbook is for the crews of the harbour of Ostrava Bay and their guests.

## Lighthouse

### Lamp

The lamp of the lighthouse burns paraffin oil. It is lit an hour before sunset by the keeper on duty. Its flame is as
tall as a man's hand. The lenses were ground in Paris by the workshop of Barbier.

### Keeper

The keeper of the lighthouse lives in the tower. She writes the weather into a journal twice a day. Her pay is forty
crowns a month. She may keep goats on the meadow behind the tower.

## Tides

High water comes twice a day and a little later each day. The tide tables hang beside the office of the harbour master.
Spring tides rise to four metres and a half. Neap tides rise to two metres only.

## Fees

Boats below ten metres pay three crowns a night. Longer boats pay a crown more for each metre. Guests pay in the
morning at the office. Fishing boats of the bay pay nothing.
"""

BREAD = """\
# Bread

Sourdough bread rises for twelve hours before it is baked. Its starter is fed with rye flour every evening. Bread
crackles when it comes out of the oven.

Rolls are made of wheat flour, milk and butter. They rise for an hour only. Children like them with honey.
"""


@asynccontextmanager
async def service(
    settings: Settings, *, database: Database, embedder: Embedder, model_server: ModelServer | None, **groups: object
) -> AsyncIterator[AnswerService]:
    """Open the service; `groups` are settings' groups; without a model's server answers are extracted."""
    if model_server is None:
        llm: dict[str, object] = {"provider": "extractive"}
    else:
        llm = {"provider": "openai_like", "base_url": model_server.openai_url, "api_key": "k", "model": "m"}
        llm |= {"max_retries": 0, **groups.pop("llm", {})}  # type: ignore[dict-item]
    assert settings.database.url
    chosen = make_settings(settings.database.url.get_secret_value(), settings.data_dir, llm=llm, **groups)  # type: ignore[arg-type]
    model = await open_model(chosen)
    leases = Leases(database, seconds=30)
    try:
        async with followed_generations(database, leases=leases, embedder=embedder, settings=chosen) as generations:
            yield AnswerService(database, generations=generations, embedder=embedder, model=model, settings=chosen)
    finally:
        if model is not None:
            await model.close()


def scripted(
    *,
    answer: Say = "So it is [1].",
    listed: Say = "[]",
    finding: Say = "Found [1].",
    combined: Say = "Together [1].",
    choice: Say = '{"choice": 1}',
    **options: object,
) -> Reply:
    """Return a reply to each kind of prompt; what is asked is told by how its last message begins."""

    def said(prompt: str) -> str:
        if prompt.startswith("The question:"):
            told = listed
        elif prompt.startswith("Some choices are given below"):
            told = choice
        elif prompt.startswith("Findings:"):
            told = combined
        elif "\n\nTask: " in prompt:
            told = finding
        else:
            told = answer
        return told if isinstance(told, str) else told(prompt)

    return Reply(text=said, **options)  # type: ignore[arg-type]


async def requests_of(model_server: ModelServer, count: int) -> None:
    """Wait until the model was asked so often."""
    async with asyncio.timeout(20):
        while len(model_server.requests) < count:  # noqa: ASYNC110 (it is another thread's list)
            await asyncio.sleep(0.01)


def last_messages(model_server: ModelServer) -> list[str]:
    """Return what the model was asked, in the order in which it came."""
    return [str(request.body["messages"][-1]["content"]) for request in model_server.requests]
