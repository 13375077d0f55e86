"""What an ingestion did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ingestion.sources import source_name
from ingestion.types import Json, Skipped

EXIT_OK, EXIT_FAILED, EXIT_SKIPPED, EXIT_INTERRUPTED = 0, 1, 3, 130


@dataclass(slots=True)
class IngestReport:
    """Counts of documents and chunks; `skipped` and `failed` name each file with its reason.

    Attributes:
        ignored: files of kinds that have no reader, met in a folder; nothing to worry about.
        reused: chunks whose vector was stored already, since their text had not changed.
        bytes: of the files that were read; unchanged ones are not.
        seconds: wall clock, model loading included.
        embedding_seconds: spent in the model.

    """

    collection: str
    generation: str = ""
    added: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0
    ignored: list[Skipped] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Skipped] = field(default_factory=list)
    chunks: int = 0
    reused: int = 0
    bytes: int = 0
    seconds: float = 0.0
    embedding_seconds: float = 0.0
    interrupted: bool = False

    @property
    def documents(self) -> int:
        """Documents dealt with so far, whatever came of them."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Documents by what came of them."""
        return {
            "added": self.added,
            "changed": self.changed,
            "moved": self.moved,
            "unchanged": self.unchanged,
            "ignored": len(self.ignored),
            "skipped": len(self.skipped),
            "failed": len(self.failed),
        }

    @property
    def exit_code(self) -> int:
        """130 when interrupted, 1 when a document failed, 3 when one was skipped, else 0."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.failed:
            return EXIT_FAILED
        return EXIT_SKIPPED if self.skipped else EXIT_OK

    def as_json(self) -> dict[str, Json]:
        """Return it for machines."""
        return {
            "collection": self.collection,
            "generation": self.generation,
            "documents": {
                "added": self.added,
                "changed": self.changed,
                "moved": self.moved,
                "unchanged": self.unchanged,
                "ignored": len(self.ignored),
            },
            "ignored": _listed(self.ignored),
            "skipped": _listed(self.skipped),
            "failed": _listed(self.failed),
            "chunks": {"written": self.chunks, "reused": self.reused},
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "embedding_seconds": round(self.embedding_seconds, 3),
            "interrupted": self.interrupted,
            "exit_code": self.exit_code,
        }

    def as_text(self) -> str:
        """Return it for people."""
        counts = [
            (self.added, "added"),
            (self.changed, "changed"),
            (self.moved, "moved"),
            (self.unchanged, "unchanged"),
            (len(self.ignored), "of other kinds ignored"),
            (len(self.skipped), "skipped"),
            (len(self.failed), "failed"),
        ]
        shown = ", ".join(f"{count} {name}" for count, name in counts if count) or "nothing found"
        lines = [f"{self.collection}: documents: {shown}"]
        if self.chunks:
            reused = f", {self.reused} of them with vectors that were stored already" if self.reused else ""
            lines.append(f"{self.chunks} chunks written{reused}, {self.seconds:.1f} s")
        lines += [f"  skipped {source_name(entry.path)}: {entry.reason}" for entry in self.skipped]
        lines += [f"  failed {source_name(entry.path)}: {entry.reason}" for entry in self.failed]
        if self.interrupted:
            lines.append("interrupted: every document is there whole or not at all; run it again to go on")
        return "\n".join(lines)


def _listed(entries: Sequence[Skipped]) -> list[Json]:
    return [{"path": source_name(entry.path), "reason": entry.reason} for entry in entries]
