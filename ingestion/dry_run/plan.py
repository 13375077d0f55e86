"""What an ingestion would do, for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ingestion.names import source_name
from ingestion.pipeline.report import NotIndexed

if TYPE_CHECKING:
    from ingestion.dry_run.estimate import Estimate
    from ingestion.dry_run.manifest import Entry

MOST_NAMED = 1000  # documents of each kind that are named to machines
MOST_SHOWN = 10  # and to people
_SIGNS = {"added": "+", "changed": "~", "moved": ">", "reindexed": "=", "carried": "=", "deleted": "-"}


@dataclass(slots=True)
class Plan:
    """What would be done.

    Attributes:
        generation: that answers now; None where the collection is new.
        documents: by what would come of them; `unchanged`, `ignored`, `skipped` and `failed` as in a report.
        bytes: by the same.
        named: sources, the first thousand of each.
        skipped: files that would be skipped, as far as can be told without reading them, and pages that did not answer.
        sync_refused: why nothing would be deleted without ``--yes``.

    """

    collection: str
    generation: str | None
    reindex: bool
    documents: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[NotIndexed] = field(default_factory=list)
    sync_refused: str | None = None
    estimate: Estimate | None = None
    exit_code: int = 0

    def count(self, entry: Entry) -> None:
        """Take note of a document."""
        self.documents[entry.action] += 1
        self.bytes[entry.action] += entry.bytes
        named = self.named.setdefault(entry.action, [])
        if len(named) < MOST_NAMED:
            named.append(entry.source)

    def skip(self, name: str, reason: str, *, kind: Literal["ignored", "skipped", "failed"]) -> None:
        """Take note of a file or a page that would not be indexed."""
        self.documents[kind] += 1
        if kind != "ignored" and len(self.skipped) < MOST_NAMED:
            self.skipped.append(NotIndexed(name, reason))

    def as_json(self) -> Mapping[str, object]:
        """Return it for machines."""
        names = [*_SIGNS, "unchanged", "ignored", "skipped", "failed"]
        return {
            "dry_run": True,
            "collection": self.collection,
            "generation": self.generation,
            "reindex": self.reindex,
            "documents": {name: self.documents[name] for name in names},
            "bytes": {name: self.bytes[name] for name in _SIGNS},
            "named": self.named,
            "skipped": [entry.as_json() for entry in self.skipped],
            "sync_refused": self.sync_refused,
            "estimate": self.estimate.as_json() if self.estimate else None,
            "exit_code": self.exit_code,
        }

    def as_text(self) -> str:
        """Return it for people."""
        names = {"reindexed": "made anew", "carried": "carried over", "ignored": "unsupported files ignored"}
        order = [*_SIGNS, "unchanged", "ignored", "skipped", "failed"]
        counts = [f"{self.documents[name]} {names.get(name, name)}" for name in order if self.documents[name]]
        lines = [f"{self.collection}: documents would be: {', '.join(counts) or 'none found'}"]
        for action, sign in _SIGNS.items():
            named = self.named.get(action, [])
            lines += [f"  {sign} {source_name(source)}" for source in named[:MOST_SHOWN]]
            if self.documents[action] > MOST_SHOWN:
                lines.append(f"  {sign} … and {self.documents[action] - MOST_SHOWN} more {names.get(action, action)}")
        lines += [f"  skipped {entry.as_text()}" for entry in self.skipped[:MOST_SHOWN]]
        if self.sync_refused:
            lines.append(f"sync: it would be refused: {self.sync_refused}; --yes deletes all the same")
        lines += [self.estimate.as_text()] if self.estimate else []
        return "\n".join([*lines, "nothing was written"])
