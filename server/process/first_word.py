"""The first word of a worker to its supervisor: that it serves, or why it does not. It goes over a pipe."""

from __future__ import annotations

import os
import select

SERVES, FAILS = b"1", b"0"


class FirstWord:
    """A worker's end of the pipe; only what is said first is heard."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def serves(self) -> None:
        """Say that this worker serves."""
        self._say(SERVES)

    def fails(self, reason: str) -> bool:
        """Say why it cannot; return whether that is heard."""
        return self._say(FAILS + reason.encode()[: select.PIPE_BUF - 1])

    def _say(self, word: bytes) -> bool:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return False
        try:
            os.write(descriptor, word)
            os.close(descriptor)
        except OSError:  # the supervisor was killed
            return False
        return True


def heard(descriptor: int) -> tuple[bool, str]:
    """Read a worker's first word; return whether it serves, and why not as far as it said so."""
    word = os.read(descriptor, select.PIPE_BUF)
    return word[:1] == SERVES, word[1:].decode("utf-8", "replace")
