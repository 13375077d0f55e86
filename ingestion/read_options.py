"""What the settings tell the readers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ingestion.plug_ins import plugged_in_readers, plugged_in_transformations
from ingestion.types import ReadOptions

if TYPE_CHECKING:
    from config.settings import IngestionSettings


def read_options(settings: IngestionSettings, *, language: str) -> ReadOptions:
    """Return the settings' options for a collection in a language, which is a text search configuration."""
    return ReadOptions(
        language=language,
        ocr=settings.ocr,
        ocr_pages=settings.ocr_pages,
        pictures=settings.pictures,
        hidden=settings.hidden,
        attachments=settings.attachments,
        readers=plugged_in_readers(settings),
        transformations=plugged_in_transformations(settings),
    )


def unusual(options: ReadOptions) -> dict[str, object]:
    """Return the options that differ from the defaults, without the language."""
    usual = asdict(ReadOptions(language=options.language))
    return {name: value for name, value in asdict(options).items() if value != usual[name]}
