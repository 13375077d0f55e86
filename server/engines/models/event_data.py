"""The data of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as bytes come in."""

from __future__ import annotations

from collections.abc import Iterator


class EventData:
    """Takes a stream apart; comments and all fields but ``data`` are left out.

    The SDK's own reader costs several times what the rest of a token's way through Footnote does: it makes a typed
    object of each event, of which five fields are read.
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
