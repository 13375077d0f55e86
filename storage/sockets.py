"""TCP's own watch over a connection to the database: whoever is gone without a word is found out.

A server's ``tcp_keepalives_*`` and ``tcp_user_timeout`` act on the server's sockets. Where a network drops packets, the
client's must do it for themselves.
"""

from __future__ import annotations

import socket
from typing import Any

IDLE_SECONDS = 10
"""Of silence on an idle connection, before it is asked for a sign of life."""
INTERVAL_SECONDS = 5
ATTEMPTS = 3
UNACKNOWLEDGED_SECONDS = 20
"""For which the other side's TCP may leave what was sent unacknowledged; then the connection is broken."""

_OPTIONS = {
    "TCP_KEEPIDLE": IDLE_SECONDS,
    "TCP_KEEPALIVE": IDLE_SECONDS,  # macOS's name for it
    "TCP_KEEPINTVL": INTERVAL_SECONDS,
    "TCP_KEEPCNT": ATTEMPTS,
    "TCP_USER_TIMEOUT": UNACKNOWLEDGED_SECONDS * 1000,  # Linux only
}


def watch(connection: Any) -> None:  # noqa: ANN401 (asyncpg's stubs know of no socket)
    """Set keepalives, and a limit for what stays unacknowledged, as far as this system has them."""
    found = connection._transport.get_extra_info("socket")  # noqa: SLF001 (there is no public way)
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS.items():
        if (option := getattr(socket, name, None)) is not None:
            found.setsockopt(socket.IPPROTO_TCP, option, value)
