"""The plan of a run, as text and as JSON."""

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

MAX_NAMED = 1000  # documents of each action named in JSON
MAX_SHOWN = 10  # and in text
_SIGNS = {"added": "+", "changed": "~", "moved": ">", "reindexed": "=", "carried": "=", "deleted": "-"}


@dataclass(slots=True)
class Plan:
    """What a run would do.

    Attributes:
        generation: the active one; None if the collection is new.
        documents: number by action; `unchanged`, `ignored`, `skipped` and `failed` as in a report.
        bytes: likewise.
        named: the first thousand sources of each action.
        skipped: files that would be skipped, as far as is known without reading them, and pages that failed.
        sync_refused: why the deletion would need ``--yes``.

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
        """Count a document."""
        self.documents[entry.action] += 1
        self.bytes[entry.action] += entry.bytes
        named = self.named.setdefault(entry.action, [])
        if len(named) < MAX_NAMED:
            named.append(entry.source)

    def skip(self, name: str, reason: str, *, kind: Literal["ignored", "skipped", "failed"]) -> None:
        """Count a file or page that would not be indexed."""
        self.documents[kind] += 1
        if kind != "ignored" and len(self.skipped) < MAX_NAMED:
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
            lines += [f"  {sign} {source_name(source)}" for source in named[:MAX_SHOWN]]
            if self.documents[action] > MAX_SHOWN:
                lines.append(f"  {sign} … and {self.documents[action] - MAX_SHOWN} more {names.get(action, action)}")
        lines += [f"  skipped {entry.as_text()}" for entry in self.skipped[:MAX_SHOWN]]
        if self.sync_refused:
            lines.append(f"sync: it would be refused: {self.sync_refused}; --yes deletes all the same")
        lines += [self.estimate.as_text()] if self.estimate else []
        return "\n".join([*lines, "nothing was written"])
