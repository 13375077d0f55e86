"""An incremental parser of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Iterator


class EventData:
    """Extracts the ``data`` of events; comments and other fields are ignored.

    The SDK's own reader makes a typed object of each event, which costs several times as much as the rest of a token's
    way through Footnote.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._after_return = False

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yield the data of the events that end within a piece.

        Raises:
            UnicodeDecodeError: it is not UTF-8.

        """
        if not piece:
            return
        begin = 1 if self._after_return and piece.startswith(b"\n") else 0  # the second half of a line's end
        self._after_return = piece.endswith(b"\r")
        lines = (self._rest + piece[begin:]).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        for line in lines:
            name, _, value = line.rstrip(b"\r\n").partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" ").decode())
            elif not name and not value and self._data:  # a blank line
                data, self._data = "\n".join(self._data), []
                yield data
