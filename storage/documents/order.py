"""The orders that a list of documents can be in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from storage.order import MOMENT, NUMBER, TEXT, Ordering

Sort = Literal["id", "source", "-source", "title", "-title", "ingested_at", "-ingested_at", "bytes", "-bytes"]
SORTS: Sequence[str] = get_args(Sort)


@dataclass(frozen=True, slots=True)
class Order(Ordering):
    """One of `SORTS`."""

    types: ClassVar[Mapping[str, str]] = {
        "id": TEXT,
        "source": TEXT,
        "title": TEXT,
        "ingested_at": MOMENT,
        "bytes": NUMBER,
    }
    sort: Sort = "id"
