"""The queue's tables are those of the installed procrastinate."""

from pathlib import Path

import procrastinate

import storage

COPY = Path(storage.__file__).parent / "migrations" / "versions" / "0005_procrastinate.sql"


def test_the_installed_procrastinate_has_the_schema_that_was_migrated_to():
    shipped = Path(procrastinate.__file__).parent / "sql" / "schema.sql"
    assert shipped.read_text() == COPY.read_text(), "an upgrade of procrastinate needs a migration of its tables"
