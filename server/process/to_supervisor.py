"""What a worker says to its supervisor, over a pipe: that it serves, or why it does not; then that its loop turns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select

SERVES, FAILS, BEAT = b"1", b"0", b"."
BEAT_SECONDS = 1.0


class ToSupervisor:
    """A worker's end of the pipe; whether it serves is said once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._has_spoken = False

    def serves(self) -> None:
        """Say that this worker serves, and from now on, each second, that its event loop turns."""
        if self._say(SERVES):
            os.set_blocking(self._descriptor, False)
            asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def fails(self, reason: str) -> bool:
        """Say why it cannot; return whether that is heard."""
        return self._say(FAILS + reason.encode()[: select.PIPE_BUF - 1])

    def _say(self, word: bytes) -> bool:
        if self._has_spoken:
            return False
        self._has_spoken = True
        try:
            os.write(self._descriptor, word)
        except OSError:  # the supervisor was killed
            return False
        return True

    def _beat(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the supervisor stands still, and the pipe is full
            try:
                os.write(self._descriptor, BEAT)
            except BrokenPipeError:  # it was killed
                return
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)


def first_word(said: bytes) -> tuple[bool, str]:
    """Return whether a worker serves, and why not as far as it said so; `said` is what it wrote first."""
    if said[:1] == SERVES:
        return True, ""
    return False, said[1:].decode("utf-8", "replace")
