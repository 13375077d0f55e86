"""The report of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from ingestion.incoming import Change
from ingestion.names import natural_order, source_name
from ingestion.pipeline.stages import Stages
from ingestion.types import Json, ReadWarning

MAX_NAMED = 1000  # files of each outcome that are named
MAX_SHOWN = 20  # documents of each change that people are shown
MAX_GONE_SHOWN = 10
DELETES_GONE = "--sync (make ingest: ARGS=--sync) deletes what has no file"
EXIT_OK, EXIT_FAILED, EXIT_SKIPPED, EXIT_INTERRUPTED = 0, 1, 3, 130


@dataclass(frozen=True, slots=True)
class NotIndexed:
    """A document that a run did not index.

    Attributes:
        name: a path, a URL, or the document's source.
        reason: one sentence for people, with no text of the document.

    """

    name: str
    reason: str

    def as_json(self) -> dict[str, Json]:
        """Return it for machines."""
        return {"path": source_name(self.name), "reason": self.reason}

    def as_text(self) -> str:
        """Return it for people."""
        return f"{source_name(self.name)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning about a document that is indexed."""

    name: str
    warning: ReadWarning

    def as_json(self) -> dict[str, Json]:
        """Return it for machines."""
        return {"path": source_name(self.name), **self.warning.as_json()}

    def as_text(self) -> str:
        """Return it for people."""
        return f"{source_name(self.name)}: {self.warning.as_text()}"


@dataclass(frozen=True, slots=True)
class Changed:
    """A document that a run added, changed, moved or deleted; `before` is the source that a moved one had."""

    source: str
    before: str | None = None

    def as_json(self) -> dict[str, Json]:
        """Return it for machines."""
        before: dict[str, Json] = {} if self.before is None else {"before": source_name(self.before)}
        return {"source": source_name(self.source), **before}

    def as_text(self) -> str:
        """Return it for people."""
        return (
            source_name(self.source)
            if self.before is None
            else f"{source_name(self.before)} → {source_name(self.source)}"
        )


Entry = TypeVar("Entry", NotIndexed, Warned, Changed)


@dataclass(slots=True)
class IngestReport:
    """Counts of documents and chunks; `ignored`, `skipped` and `failed` name the first thousand with their reasons.

    So do `warned`, of documents that are indexed, and `changes`.

    Attributes:
        changes: the documents that were added, changed, moved and deleted, by that word.
        generation: that was written to.
        attachments: of mails, written as documents of their own; not among the counts.
        carried: documents copied from the active generation.
        deleted: documents whose files are gone, with ``--sync``.
        gone: documents that stay though their files are gone from the folders named, without it; None: not looked.
        gone_named: sources of the first thousand of these.
        ignored: unsupported files found in a folder; not an error.
        warned: what readers left out, guessed or could not read, a line each.
        over_quota: of those that failed, the ones for which the tenant had no room.
        numbers: totals of those four.
        reused: chunks whose vector was stored already because their text had not changed.
        bytes: of the files read; unchanged files are not read.
        seconds: wall clock, model loading included.
        embedding_seconds: spent in the model.
        slowed: how little a remote model is asked for at once now, since it did not answer in time; None: it did.
        embedded_tokens: that a remote model read, as its provider counts them, else estimated; 0: none, or a local one.
        embedding_usd: what they cost by the settings' prices; None where these do not name the model.
        stages: how far the run is, for whoever shows it.

    """

    collection: str
    generation: str = ""
    added: int = 0
    changed: int = 0
    moved: int = 0
    attachments: int = 0
    carried: int = 0
    deleted: int = 0
    gone: int | None = None
    gone_named: list[str] = field(default_factory=list)
    unchanged: int = 0
    ignored: list[NotIndexed] = field(default_factory=list)
    skipped: list[NotIndexed] = field(default_factory=list)
    failed: list[NotIndexed] = field(default_factory=list)
    warned: list[Warned] = field(default_factory=list)
    changes: dict[str, list[Changed]] = field(default_factory=dict)
    numbers: Counter[str] = field(default_factory=Counter)
    over_quota: int = 0
    chunks: int = 0
    reused: int = 0
    bytes: int = 0
    seconds: float = 0.0
    embedding_seconds: float = 0.0
    slowed: str | None = None
    embedded_tokens: int = 0
    embedding_usd: float | None = None
    interrupted: bool = False
    stages: Stages = field(default_factory=Stages)

    def count(self, change: Change | Literal["deleted"], source: str, *, before: str | None = None) -> None:
        """Count a document that was written or deleted; `before` is the source that it had."""
        setattr(self, change, getattr(self, change) + 1)
        named = self.changes.setdefault(change, [])
        if len(named) < MAX_NAMED:
            named.append(Changed(source, before if change == "moved" else None))

    def count_gone(self, sources: Sequence[str]) -> None:
        """Count documents that stay though their files are gone."""
        self.gone = (self.gone or 0) + len(sources)
        self.gone_named += sources[: MAX_NAMED - len(self.gone_named)]

    def skip(self, name: str, reason: str, *, expected: bool = False) -> None:
        """Count a document that is not indexed; `expected` as in `Skipped`."""
        self._note("ignored" if expected else "skipped", NotIndexed(name, reason))

    def fail(self, name: str, reason: str) -> None:
        """Count a document that could not be indexed."""
        self._note("failed", NotIndexed(name, reason))

    def warn(self, name: str, warnings: Sequence[ReadWarning]) -> None:
        """Note what a reader says of a document that is indexed."""
        for warning in warnings:
            self._note("warned", Warned(name, warning))

    def _note(self, kind: Literal["ignored", "skipped", "failed", "warned"], entry: NotIndexed | Warned) -> None:
        self.numbers[kind] += 1
        named: list[NotIndexed | Warned] = getattr(self, kind)
        if len(named) < MAX_NAMED:
            named.append(entry)

    @property
    def documents(self) -> int:
        """Number of documents processed so far, whatever the outcome."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Number of documents by outcome."""
        return {
            "added": self.added,
            "changed": self.changed,
            "moved": self.moved,
            "carried": self.carried,
            "unchanged": self.unchanged,
            "ignored": self.numbers["ignored"],
            "skipped": self.numbers["skipped"],
            "failed": self.numbers["failed"],
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
                "carried": self.carried,
                "deleted": self.deleted,
                "unchanged": self.unchanged,
                "ignored": self.numbers["ignored"],
                "skipped": self.numbers["skipped"],
                "failed": self.numbers["failed"],
            },
            "changes": {change: [each.as_json() for each in _sorted(named)] for change, named in self.changes.items()},
            "gone": self.gone,
            "gone_sources": [source_name(source) for source in sorted(self.gone_named, key=natural_order)],
            "over_quota": self.over_quota,
            "attachments": self.attachments,
            "ignored": _listed(self.ignored),
            "skipped": _listed(self.skipped),
            "failed": _listed(self.failed),
            "warnings": [entry.as_json() for entry in _sorted(self.warned)],
            "chunks": {"written": self.chunks, "reused": self.reused},
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "embedding_seconds": round(self.embedding_seconds, 3),
            "embedded_tokens": self.embedded_tokens,
            "embedding_usd": None if self.embedding_usd is None else round(self.embedding_usd, 6),
            "interrupted": self.interrupted,
            "exit_code": self.exit_code,
        }

    def as_text(self) -> str:
        """Return it for people."""
        counts = [
            (self.added, "added"),
            (self.changed, "changed"),
            (self.moved, "moved"),
            (self.carried, "carried over"),
            (self.deleted, "deleted"),
            (self.unchanged, "unchanged"),
            (self.numbers["ignored"], "unsupported files ignored"),
            (self.numbers["skipped"], "skipped"),
            (self.numbers["failed"], "failed"),
        ]
        shown = ", ".join(f"{count} {name}" for count, name in counts if count) or "nothing found"
        plural = "" if self.attachments == 1 else "s"
        attached = f", with {self.attachments} attachment{plural}" if self.attachments else ""
        lines = [f"{self.collection}: documents: {shown}{attached}"]
        if self.chunks:
            reused = f", {self.reused} of them with vectors that were stored already" if self.reused else ""
            lines.append(f"{self.chunks} chunks written{reused}, {self.seconds:.1f} s")
        if self.embedded_tokens:
            cost = "" if self.embedding_usd is None else f", {self.embedding_usd:.4f} US dollars"
            lines.append(f"embedded remotely: {self.embedded_tokens:,} tokens{cost}")
        lines += self._changes_as_text()
        for kind, named in (("skipped", self.skipped), ("failed", self.failed)):
            lines += [f"  {kind} {entry.as_text()}" for entry in _sorted(named)]
            if self.numbers[kind] > len(named):
                lines.append(f"  … and {self.numbers[kind] - len(named)} more {kind}")
        lines += [f"  warning {entry.as_text()}" for entry in _sorted(self.warned)]
        if self.numbers["warned"] > len(self.warned):
            lines.append(f"  … and {self.numbers['warned'] - len(self.warned)} more warnings")
        if self.gone:
            still = "1 document is" if self.gone == 1 else f"{self.gone} documents are"
            lines.append(f"{still} still found though the file is gone; {DELETES_GONE}")
            named_gone = sorted(self.gone_named, key=natural_order)[:MAX_GONE_SHOWN]
            lines += [f"  gone {source_name(source)}" for source in named_gone]
            if self.gone > len(named_gone):
                lines.append(f"  … and {self.gone - len(named_gone)} more gone")
        if self.interrupted:
            lines.append("interrupted: every document is there whole or not at all; run it again to go on")
        return "\n".join(lines)

    def _changes_as_text(self) -> list[str]:
        """Return a line for each document that is not as before; none where all are new, as in a first run."""
        if not (self.changed or self.moved or self.deleted or self.unchanged):
            return []
        lines = []
        for change in ("added", "changed", "moved", "deleted"):
            named, count = _sorted(self.changes.get(change, ())), getattr(self, change)
            lines += [f"  {change} {each.as_text()}" for each in named[:MAX_SHOWN]]
            if count > MAX_SHOWN:
                lines.append(f"  … and {count - MAX_SHOWN} more {change}")
        return lines


def _sorted(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: natural_order(entry.source if isinstance(entry, Changed) else entry.name))


def _listed(entries: Sequence[NotIndexed]) -> list[Json]:
    return [entry.as_json() for entry in _sorted(entries)]
