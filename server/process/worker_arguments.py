"""What the supervisor tells a worker that it starts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from server.process.to_supervisor import ToSupervisor


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of ``python -m server worker``, which only the supervisor starts."""
    parser = argparse.ArgumentParser(prog="python -m server worker", description="For the supervisor's own use.")
    parser.add_argument("--fds", type=_numbers, required=True, help="descriptors of the listening sockets")
    parser.add_argument("--pipe", dest="to_supervisor", type=_to_supervisor, required=True, help="to say how it is")
    parser.add_argument("--name", required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--of", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="of the workers' own sockets")
    options = parser.parse_args(arguments)
    options.command = "worker"
    return options


def _to_supervisor(descriptor: str) -> ToSupervisor:
    return ToSupervisor(int(descriptor))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
