"""Attachments, read by their own readers as sections of the message that brings them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.sections import Section, headed
from ingestion.types import ReadOptions, ReadWarning


def attached(name: PurePath, data: bytes, options: ReadOptions, warnings: list[ReadWarning]) -> Iterator[Section]:
    """Yield an attachment under its name, or nothing if no reader takes it; not those of attached mails.

    What is to be said of it is added to `warnings`.
    """
    from ingestion.readers import read

    try:
        found = read(name, data=data, options=replace(options, attachments="no"))
    except Unreadable as exc:
        warnings.append(ReadWarning("attachment-not-read", f"{name}: {exc}."))
        return
    except MemoryError:
        raise
    except Exception as exc:  # noqa: BLE001 (readers are other people's code on hostile input: any of it may fail)
        warnings.append(ReadWarning("attachment-not-read", f"{name}: the reader failed on it ({type(exc).__name__})."))
        return
    warnings += [replace(warning, detail=f"{name}: {warning.detail}", page=None) for warning in found.warnings]
    yield headed(str(name), Section(found.text, found.headings))
