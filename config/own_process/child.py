"""The process of a plug-in: makes one object, and calls its methods as it is told, one after the other.

    python -m config.own_process.child FILE_DESCRIPTOR

It ends with its link. What the plug-in prints goes to the standard error output, like its log.
"""

from __future__ import annotations

import importlib
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from config.own_process.frames import Call, End, Item, Raised, Servant, Stop, encoded, read


def main() -> None:
    """Serve until the link ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the server ends this process
    os.dup2(2, 1)
    with socket.socket(fileno=int(sys.argv[1])) as link:
        servant = read(link)
        try:
            made = _made(servant)
            told = encoded(Item(getattr(made, "told", None)))
        except BaseException as exc:  # noqa: BLE001 (a plug-in's constructor raises anything)
            link.sendall(encoded(_raised(exc)))
            return
        link.sendall(told)
        while (frame := read(link)) is not None:
            if isinstance(frame, Call):
                _serve(link, made, frame)


def _made(servant: Servant) -> Any:  # noqa: ANN401 (whatever it is)
    module, _, name = servant.path.partition(":")
    return getattr(importlib.import_module(module), name)(*servant.arguments)


def _serve(link: socket.socket, servant: Any, call: Call) -> None:  # noqa: ANN401
    try:
        made = getattr(servant, call.method)(*call.arguments)
        if not call.streams:
            end = encoded(Item(made)) + encoded(End())
        else:
            try:
                for item in made:
                    if _is_left(link):
                        break
                    link.sendall(encoded(Item(item)))
            finally:
                if callable(close := getattr(made, "close", None)):
                    close()
            end = encoded(End())
    except BaseException as exc:  # noqa: BLE001 (of somebody else's code; it is raised where the call is awaited)
        end = encoded(_raised(exc))
    link.sendall(end)


def _is_left(link: socket.socket) -> bool:
    """Tell whether a frame has come within a call: that can only be a `Stop`."""
    readable, _, _ = select.select([link], [], [], 0)
    return bool(readable) and isinstance(read(link), Stop | None)


def _raised(error: BaseException) -> Raised:
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None)
    status = next(
        (
            each
            for each in (getattr(error, "status_code", None), getattr(response, "status_code", None))
            if type(each) is int
        ),
        None,
    )
    return Raised(
        pickled=_pickled(error),
        name=type(error).__name__,
        text=str(error),
        is_error=isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration),
        trace="".join(traceback.format_exception(error)),
        status=status,
        retry_after=_text(headers.get("retry-after")) if isinstance(headers, Mapping) else None,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _pickled(error: BaseException) -> bytes | None:
    """Return an exception as a pickle that can be read again; many SDKs' cannot."""
    try:
        data = pickle.dumps(error)
        return data if type(pickle.loads(data)) is type(error) else None  # noqa: S301 (its own)
    except Exception:  # noqa: BLE001 (whatever the class does)
        return None


if __name__ == "__main__":
    main()
