"""What the fetching of pages must be told; the settings have this shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class WebLimits(Protocol):
    """Bounds of fetching.

    Attributes:
        user_agent: sent with each request; its first word is looked up in robots.txt. None: Footnote and its version.
        allowed_ports: that URLs may name.
        allow_private: networks (``10.1.0.0/16``) and host names (``wiki.corp``) that may be reached though not public.
        ca_file: certificates of authorities that are trusted beside the public ones, PEM.
        robots: whether robots.txt is asked.
        requests_per_second: to one host; fractions are allowed.
        connect_timeout: seconds to resolve a name and to connect.
        read_timeout: seconds of silence.
        total_timeout: seconds for one page, redirects included, waiting for its turn not.
        max_bytes: of a page, as sent and after decompression.
        max_feed_bytes: of a feed or a sitemap, likewise.
        max_entries: of a feed or a sitemap that are taken, the first ones.

    """

    @property
    def user_agent(self) -> str | None: ...  # noqa: D102 (told above)
    @property
    def allowed_ports(self) -> Sequence[int]: ...  # noqa: D102 (told above)
    @property
    def allow_private(self) -> Sequence[str]: ...  # noqa: D102 (told above)
    @property
    def ca_file(self) -> Path | None: ...  # noqa: D102 (told above)
    @property
    def robots(self) -> bool: ...  # noqa: D102 (told above)
    @property
    def requests_per_second(self) -> float: ...  # noqa: D102 (told above)
    @property
    def connect_timeout(self) -> float: ...  # noqa: D102 (told above)
    @property
    def read_timeout(self) -> float: ...  # noqa: D102 (told above)
    @property
    def total_timeout(self) -> float: ...  # noqa: D102 (told above)
    @property
    def max_bytes(self) -> int: ...  # noqa: D102 (told above)
    @property
    def max_feed_bytes(self) -> int: ...  # noqa: D102 (told above)
    @property
    def max_entries(self) -> int: ...  # noqa: D102 (told above)
