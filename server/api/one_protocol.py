"""HTTP's parser for a server that changes to no other protocol: an ``Upgrade`` is ignored (RFC 9110, 7.8)."""

from __future__ import annotations

from typing import Any

import httptools

FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class OneProtocolParser(httptools.HttpRequestParser):
    """Reads the body of a request that asks for another protocol, too.

    httptools ends such a request with its header, and takes what follows for the next one. So the body would be a
    request of its own: a way into other people's connections behind a proxy that passes ``Upgrade`` on, and a lost body
    for clients that offer HTTP/2 with every request, as Java's does.

    Attributes:
        is_reframing: whether callbacks are those of a header that stands for one that was read, apart from its
            ``Upgrade``; they are to be ignored.
        awaits_body: whether the message ends with its header only because of its ``Upgrade``; that end is to be
            ignored.

    """

    is_reframing = False

    def __init__(self, protocol: Any) -> None:  # noqa: ANN401 (httptools' callbacks)
        super().__init__(protocol)
        self._protocol = protocol

    @property
    def awaits_body(self) -> bool:
        """See the class."""
        return bool(self.should_upgrade())

    def feed_data(self, data: bytes) -> None:  # type: ignore[override] # sockets give bytes
        """Parse.

        Raises:
            httptools.HttpParserError: it is no HTTP.

        """
        while True:
            try:
                super().feed_data(data)
            except httptools.HttpParserUpgrade as exc:
                data = data[exc.args[0] :]
                self._reframe()
            else:
                return

    def _reframe(self) -> None:
        lines = [b"%s: %s\r\n" % field for field in self._protocol.headers if field[0] in FRAMING]
        self.is_reframing = True
        super().feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(lines))
