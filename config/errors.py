"""The root of Footnote's error tree.

Each package has an ``errors`` module of its own; every class there is mapped to an RFC 9457 problem in
``server/api/problems.py``, and a test fails if one is not.

    FootnoteError
    ├── storage.errors        the database, the schema, collections, documents, filters
    ├── ingestion.errors      reading, embedding
    ├── server.engines.models.errors   the language model's provider
    └── server.errors         engines, load
"""


class FootnoteError(Exception):
    """Something that Footnote can name. ``str(error)`` is safe to show to a client: no document text, SQL or secret.

    Attributes:
        was_logged: it has been, where it happened; those whom it passes by need not.

    """

    was_logged = False
