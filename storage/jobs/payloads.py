"""The kinds of jobs, and the payload of each: what its handler must know of the request. Stored as JSON.

Servers and workers of different versions may share a database, so a payload ignores fields that it does not know, and a
field that is added later needs a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What all kinds have in common.

    Attributes:
        kind: names the handler, in the database and to clients.

    """

    kind: ClassVar[str]

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        """Return the payload that a job's arguments are."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in arguments.items() if name in known})

    def arguments(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentVersion(Payload):
    """A version of a document, by whatever it is read from.

    Attributes:
        revision: taken when the request came; an older one never replaces a newer one.
        readers: who may read it; None: see `storage.documents.versions.NewDocument`.

    """

    source: str
    revision: int
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    readers: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexDocument(DocumentVersion):
    """Index bytes that are stored (`storage.documents.originals`).

    Attributes:
        name: the file's.

    """

    kind: ClassVar[str] = "index-document"
    content_hash: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexUrl(DocumentVersion):
    """Fetch a page and index it."""

    kind: ClassVar[str] = "index-url"
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp(Payload):
    """Bring into the active generation the documents that changed in the one before it.

    Attributes:
        generation: the name of the one before.

    """

    kind: ClassVar[str] = "catch-up"
    generation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate(Payload):
    """Run ``python -m evaluation`` with golden questions, as whoever submitted it.

    Attributes:
        evaluation: id of the row that has its options and gets its results.
        groups, sees_all: of the caller: what he may read is what it finds.
        collections: that he reaches; None: all.

    """

    kind: ClassVar[str] = "evaluate"
    evaluation: str
    groups: Sequence[str] = ()
    sees_all: bool = False
    collections: Sequence[str] | None = None


NEEDS_ORIGINAL = """
SELECT FROM footnote.jobs j WHERE j.tenant_id = o.tenant_id AND j.status IN ('queued', 'running', 'failed')
    AND j.arguments ->> 'content_hash' = o.content_hash"""
"""Subquery: an `IndexDocument` that may still run needs the original ``o``."""
