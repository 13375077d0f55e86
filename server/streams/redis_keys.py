"""The layout of streams in Redis.

A stream is a Redis stream, ``footnote:stream:{id}``. An entry holds consecutive frames; its id is the number of the
last of them, each of its fields is a frame, and the fields' name is the writing process, with a suffix in the entry
that ends the stream. (Redis stores field names once for entries that share them, so they cost no memory.) An entry
numbered `MARK` says that nothing more follows: the stream was deleted, or a frame was lost.
"""

from __future__ import annotations

from typing import Final

RETRY_SECONDS = 0.5
"""Pause after a failed call, before the next one."""

MARK: Final = 2**53
ENDS: Final = b"."


def stream_key(stream_id: str) -> str:
    """Return the key of a stream's frames."""
    return f"footnote:stream:{stream_id}"


def reader_key(stream_id: str) -> str:
    """Return the key that exists while another process reads a stream."""
    return f"footnote:reader:{stream_id}"


def stop_key(stream_id: str) -> str:
    """Return the key that exists once another process wants a stream to be stopped."""
    return f"footnote:stop:{stream_id}"


def owner_key(process: str) -> str:
    """Return the key that exists while a process is alive."""
    return f"footnote:owner:{process}"
