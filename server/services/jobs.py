"""A bound on the clients that follow jobs at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import Overloaded


class JobWatchers:
    """Counts the clients that follow a job's events; each of them makes a query to the database twice a second.

    Attributes:
        count: clients that follow a job now.

    """

    def __init__(self, *, most: int) -> None:
        self.most = most
        self.count = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count one more client while the block runs.

        Raises:
            Overloaded: there are `most` already.

        """
        if self.count >= self.most:
            raise Overloaded(retry_after=5)
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
