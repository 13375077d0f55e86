"""How many connections a server may open, beside what PostgreSQL allows."""

from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs
from support.sql import execute

from server.process.connections import OWN, compared, read, write


@pytest.mark.parametrize(
    ("workers", "jobs", "wanted"),
    [
        (1, "never", (12, OWN)),
        (3, "never", (12, 3 * OWN)),
        (4, "never", (16, 4 * OWN)),  # each has four at least
        (2, "always", (24, 2 * OWN + 1 + 5)),
    ],
)
async def test_what_all_processes_of_a_server_may_open(settings, database, workers, jobs, wanted):
    jobs_of = settings.jobs.model_copy(update={"worker": jobs, "concurrency": 5})
    found = await compared(database, settings.model_copy(update={"jobs": jobs_of}), workers=workers)
    assert ((found.pooled, found.direct), found.fits) == (wanted, True)
    assert found.open >= 1


async def test_more_than_postgresql_allows_is_told(dsn, settings, database, tmp_path):
    execute(dsn, f"ALTER DATABASE {urlsplit(dsn).path.removeprefix('/')} CONNECTION LIMIT 7")
    with capture_logs() as lines:
        found = await compared(database, settings, workers=1)
    (line,) = lines
    assert (line["log_level"], line["allowed"], found.fits) == ("warning", 7, False)
    assert "7 allowed by PostgreSQL: room for 0 such servers" in str(found)
    assert read(tmp_path) is None
    write(tmp_path, found)
    assert read(tmp_path) == found
