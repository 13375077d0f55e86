"""A conversation of many messages and a list of many documents: copies of rows that the server wrote.

Each copy has its own ids and times, else all that the first one has. Copies of documents have no chunks: the list reads
none.
"""

from __future__ import annotations

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 (a class)

TURNS = """
INSERT INTO footnote.turns SELECT (jsonb_populate_record(t, jsonb_build_object(
    'number', n, 'question', n || '. ' || t.question, 'question_id', gen_random_uuid(), 'answer_id', gen_random_uuid(),
    'stream_id', NULL, 'trace_id', NULL, 'request_id', t.request_id || n
))).* FROM footnote.turns t, generate_series(2, %s) n WHERE t.conversation_id = %s AND t.number = 1
"""
DOCUMENTS = """
WITH known AS (SELECT d, row_number() OVER (ORDER BY id) AS place, count(*) OVER () AS of FROM footnote.documents d)
INSERT INTO footnote.documents SELECT (jsonb_populate_record(d, jsonb_build_object(
    'id', (d).id || '-' || n, 'source', n || '/' || (d).source, 'title', (d).title || ', copy ' || n,
    'ingested_at', (d).ingested_at - n * interval '1 minute'
))).* FROM known, generate_series(1, %s - of) n WHERE place = 1 + n %% of
"""


def lengthen(url: str, conversation: str, *, turns: int, documents: int) -> None:
    """Copy a conversation's first turn and the documents that are there, until there are so many of each."""
    connection: Connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(TURNS, [turns, conversation])
        cursor.execute(DOCUMENTS, [documents])
        cursor.execute("ANALYZE footnote.turns, footnote.documents")
    connection.close()
