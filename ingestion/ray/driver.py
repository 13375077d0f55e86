"""``python -m ingestion.ray.driver``: the process that runs Ray, controlled over pipes.

When its cluster is lost, Ray may exit the process without a message; in a separate process that is only the end of a
pipe. Ray also sets signal handlers, prints, and waits without a timeout.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import structlog

from config.errors import FootnoteError
from ingestion.errors import ClusterUnavailable
from ingestion.ray.messages import Reply, Request, read, write

if TYPE_CHECKING:
    from config.settings import Settings
    from ingestion.ray.messages import Patience
    from ingestion.ray.session import Session

LOCAL, AUTO = "local", "auto"
_CODE = ("config", "storage", "ingestion")
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a late call must not start a new cluster
    # Ray exits a process that lost its cluster for a minute; report it, and exit before that
    "RAY_gcs_rpc_server_reconnect_timeout_s": "900",
}
_SHOWN = 300
_log = structlog.get_logger(__name__)


class Driver:
    """Handles requests until its input ends."""

    def __init__(self, writer: asyncio.StreamWriter, *, log: TextIO, stack: AsyncExitStack) -> None:
        self._writer = writer
        self._log = log
        self._stack = stack
        self._session: Session | None = None
        self._made: list[Any] = []
        self._running: dict[int, asyncio.Task[None]] = {}

    def take(self, request: Request) -> None:
        """Start a request, or cancel one."""
        if request.method is None:
            if task := self._running.get(request.number):
                task.cancel()
            return
        task = asyncio.create_task(self._answer(request))
        self._running[request.number] = task
        task.add_done_callback(lambda _: self._running.pop(request.number))

    async def _answer(self, request: Request) -> None:
        try:
            value = await getattr(self, f"do_{request.method}")(*request.arguments)
        except FootnoteError as exc:
            reply = Reply(request.number, error=exc)
        except Exception as exc:  # noqa: BLE001 (whoever asked must not wait for ever, whatever Ray raises)
            _log.exception("a call to the Ray cluster failed", method=request.method)
            reply = Reply(request.number, error=ClusterUnavailable(f"Ray failed ({type(exc).__name__}); see the log"))
        else:
            reply = Reply(request.number, value)
        write(self._writer, reply)
        await self._writer.drain()

    async def do_open(self, address: str, settings: Settings, patience: Patience) -> None:
        """Connect to the cluster."""
        from config import logging as logs

        logs.configure(settings.log, stream=self._log)
        ray = _connected(address)
        from ingestion.ray.session import Session, find_layout

        self._stack.callback(ray.shutdown)
        self._session = Session(
            address, settings=settings, layout=find_layout(settings), patience=patience, stack=self._stack
        )

    async def do_parser(self, arguments: dict[str, Any]) -> tuple[int, int]:
        """Create a reader; return its number and width."""
        return self._keep(await self._opened.parser(**arguments))

    async def do_embedder(self, arguments: dict[str, Any]) -> tuple[int, int]:
        """Create an embedder; return its number and width."""
        return self._keep(self._opened.embedder(**arguments))

    async def do_parse(self, number: int, path: Path) -> object:
        """Read and split a file."""
        return await self._made[number].parse(path)

    async def do_texts(self, number: int, texts: list[str]) -> object:
        """Embed passages."""
        return await self._made[number].texts(texts)

    @property
    def _opened(self) -> Session:
        if self._session is None:
            msg = "no Ray cluster has been opened"
            raise ClusterUnavailable(msg)
        return self._session

    def _keep(self, made: Any) -> tuple[int, int]:  # noqa: ANN401 (a reader or an embedder)
        self._made.append(made)
        return len(self._made) - 1, made.width


def _connected(address: str) -> Any:  # noqa: ANN401 (a module)
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    import ray
    import ray._private.worker as driver

    logging.getLogger("ray").setLevel(logging.ERROR)
    driver._worker_logs_enabled = False  # noqa: SLF001 (else it prints the cluster's errors among our output)
    arguments: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address == LOCAL:
        arguments["include_dashboard"] = False
    else:
        arguments["runtime_env"] = {"py_modules": _code()}
    try:
        ray.init(address, **arguments)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as exc:
        lines = str(exc).strip().splitlines() or [type(exc).__name__]
        msg = f"no Ray cluster at {address}: {lines[0][:_SHOWN]}"
        if address == AUTO:
            msg = f"{msg} --ray local starts one for this run"
        raise ClusterUnavailable(msg) from exc
    return ray


def _code() -> list[str]:
    """Return the folders of our code, which the nodes run instead of a version of their own."""
    return [str(Path(next(iter(import_module(name).__path__)))) for name in _CODE]


def _own_streams() -> tuple[BinaryIO, TextIO]:
    """Redirect standard output: what Ray prints is neither a message nor a log line."""
    output, log = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(2), "w", buffering=1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    return output, log


async def main() -> None:
    """Serve the process that started this one."""
    output, log = _own_streams()
    loop = asyncio.get_running_loop()
    requests = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, output)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    async with AsyncExitStack() as stack:
        driver = Driver(writer, log=log, stack=stack)
        while (request := await read(requests)) is not None:
            driver.take(request)


if __name__ == "__main__":
    asyncio.run(main())
