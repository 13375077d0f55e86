"""Statements outside of the application's own pool."""

from __future__ import annotations

from typing import Any

import psycopg2


def execute(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement in a connection and a transaction of its own."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
