"""Settings of fetching pages, as a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class WebLimits(Protocol):
    """Limits of fetching.

    Attributes:
        user_agent: sent with each request; its first word is the name in robots.txt. None: Footnote and its version.
        allowed_ports: ports allowed in URLs.
        allow_private: networks (``10.1.0.0/16``) and host names (``wiki.corp``) allowed though not public.
        ca_file: additional trusted certificate authorities, PEM.
        robots: whether to obey robots.txt.
        requests_per_second: for each host; may be a fraction.
        connect_timeout: seconds to resolve a name and to connect.
        read_timeout: seconds without data.
        total_timeout: seconds for one page, including redirects, without waiting for its turn.
        max_bytes: of a page, both received and decompressed.
        max_feed_bytes: of a feed or a sitemap, likewise.
        max_entries: of a feed or a sitemap; the first are used.

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
