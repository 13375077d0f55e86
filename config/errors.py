"""The root of Footnote's error tree.

Each package has an ``errors`` module of its own. Every class there has a `slug`; `server.api.problems` has each slug's
HTTP status, and a test fails where one is missing.

    FootnoteError
    ├── CallerError           the request, not Footnote, is to blame; a base class of errors in every package
    ├── storage.errors        the database, the schema, collections, documents, filters, jobs
    ├── embedding.errors      the embedding model
    ├── ingestion.errors      files, URLs, commands
    ├── server.engines.models.errors   the language model's provider
    └── server.errors         engines, streams, uploads, load
"""

from __future__ import annotations

from typing import ClassVar

INTERNAL = "internal"
"""The slug of what Footnote has no name for."""


class FootnoteError(Exception):
    """An error that Footnote knows. ``str(error)`` is safe to show to a client: no document text, SQL or secret.

    Attributes:
        slug: its name in problem documents, jobs, spans and metrics; a subclass without one of its own inherits it.
        was_logged: whether it was logged where it happened, so that handlers further up need not log it again.

    """

    slug: ClassVar[str] = INTERNAL
    was_logged = False


class CallerError(FootnoteError):
    """What was asked for cannot be done, and the caller has to change it. Spans name such an error and do not fail."""


def slug_of(error: BaseException) -> str:
    """Return the slug of an error; ``internal`` where it is not one of Footnote's."""
    return error.slug if isinstance(error, FootnoteError) else INTERNAL
