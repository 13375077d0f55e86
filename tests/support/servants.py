"""What tests of `config.own_process` run: an object that holds the interpreter, dies and raises."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any


class Unpicklable(Exception):
    """Has two arguments of which it keeps none, as errors of SDKs do."""

    def __init__(self, message: str, *, response: object) -> None:
        super().__init__(message)
        self.response = response
        self.status_code = 429


def hold() -> None:
    """Hold the interpreter for hours: no thread of the process gets a turn, none can be stopped."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def obey(wish: str) -> str:
    """Do what a text says behind an exclamation mark; return the process's number."""
    if "!hold" in wish:
        hold()
    if "!slow" in wish:
        time.sleep(1)
    if "!die" in wish:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "!leave" in wish:
        os._exit(3)
    if "!raise" in wish:
        msg = "hunter2"
        raise ValueError(msg)
    return f"pid {os.getpid()}"


class Servant:
    """A servant of `config.own_process`."""

    told = "made"

    def __init__(self, wish: str = "") -> None:
        obey(wish)

    def obey(self, wish: str) -> str:
        return obey(wish)

    def nap(self, seconds: float) -> None:
        time.sleep(seconds)

    def echo(self, value: Any) -> Any:
        return value

    def count(self, most: int, pause: float = 0.0) -> Iterator[int]:
        for number in range(most):
            time.sleep(pause)
            yield number

    def raises(self, kind: str) -> None:
        kinds: dict[str, BaseException] = {
            "own": Unpicklable("slow down", response=None),
            "exit": SystemExit(1),
            "missing": NotImplementedError("no"),
        }
        raise kinds[kind]

    def sends_what_cannot_be_sent(self) -> Any:
        return lambda: None
