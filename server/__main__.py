"""``python -m server``: serve HTTP until a signal comes; ``python -m server mcp``: serve one MCP client over stdio.

``python -m server check``: tell whether it could start.
``python -m server keys``: make, list, rotate and revoke API keys. ``python -m server tenants`` administers tenants.
``python -m server limits``: show a tenant's limits, and give it some of its own.
``python -m server audit``: list, check and export the record of who did what.

Exits with 0 after SIGTERM or Ctrl-C, with 2 when it cannot start (one line on stderr says why).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

import structlog

from config import logging
from config.errors import FootnoteError
from config.settings import Settings, SettingsError, load_settings
from config.telemetry.setup import keep_to_own_propagation, open_telemetry
from config.version import VERSION
from server.api.sockets import ListenError, bind, listening, url_of
from server.auth.mode import is_required
from server.peers.member import Member
from server.process.signals import log_stop
from server.process.worker_count import worker_count

if TYPE_CHECKING:
    from server.api.listener import Listener

WORKER = "worker"
COMMANDS = {name: f"server.{name}_command" for name in ("audit", "keys", "limits", "tenants")}
CANNOT_START = 2
INTERRUPTED = 130
MAX_FILES = 65_536
_log = structlog.get_logger(__name__)


def main() -> int:
    """Load the settings and serve; return the exit code."""
    keep_to_own_propagation()
    options = _arguments()
    try:
        settings = load_settings()
        logging.configure(settings.log)
        if options.command == "check":
            return _check(settings)
        if options.command == "mcp":
            return _serve_mcp(settings)
        if options.command in COMMANDS:
            status: int = import_module(COMMANDS[options.command]).run(settings, options.arguments)
            return status
        return _serve_as_worker(settings, options) if options.command == WORKER else _serve(settings)
    except (SettingsError, FootnoteError, ListenError) as exc:
        if options.command != WORKER or not options.to_supervisor.fails(str(exc)):
            _say(str(exc))
        return CANNOT_START
    except KeyboardInterrupt:
        return INTERRUPTED


def _say(reason: str) -> None:
    print(f"footnote: {' '.join(reason.split())}", file=sys.stderr)  # noqa: T201 (a program's last word)


def _arguments() -> argparse.Namespace:
    if sys.argv[1:2] == [WORKER]:
        from server.process.worker_arguments import parse

        return parse(sys.argv[2:])
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        return argparse.Namespace(command=sys.argv[1], arguments=sys.argv[2:])
    parser = argparse.ArgumentParser(
        prog="python -m server", description="Footnote's server; config/example.env lists its settings."
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("http", "mcp", "check", *COMMANDS),
        default="http",
        help="http (the default): serve HTTP, /mcp too; mcp: serve the program that started this one, over stdio; "
        "check: tell whether it could start, with these settings and at this address; "
        "audit, keys, limits, tenants: administer them, each with --help",
    )
    return parser.parse_args()


def _serve_mcp(settings: Settings) -> int:
    import uvloop

    from server.mcp.stdio import serve_stdio

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve_stdio(settings, version=VERSION))


def _serve(settings: Settings) -> int:
    import uvloop

    # first of all: where nobody has chosen its users, no port is opened
    announce = partial(
        _announce, with_key=is_required(settings), with_page=settings.server.page, log_file=settings.log.file
    )
    _allow_many_sockets()
    sockets = bind(
        settings.server.host, settings.server.port
    )  # before the models are loaded: a taken port is told at once
    count = worker_count(settings)
    _log.info("starting: opening the database", shown=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if count == 1:
            return _ended(runner.run(_run(settings, sockets, on_ready=announce)))
        from server.process.many import serve_with_workers

        return _ended(
            runner.run(
                serve_with_workers(
                    settings, sockets, count=count, on_ready=lambda: announce(url_of(sockets[0])), on_failure=_say
                )
            )
        )


def _ended(status: int) -> int:
    """Say that the server was stopped, if it was."""
    if status in {0, INTERRUPTED}:
        with suppress(OSError):  # the terminal may be gone
            print("\nStopped." if sys.stdout.isatty() else "Stopped.", flush=True)  # noqa: T201 (for the person who stopped it)
    return status


def _check(settings: Settings) -> int:
    """Tell whether the server could start: with these settings, at this address."""
    is_required(settings)
    for sock in bind(settings.server.host, settings.server.port):
        sock.close()
    return 0


def _serve_as_worker(settings: Settings, options: argparse.Namespace) -> int:
    import uvloop

    _allow_many_sockets()
    member = Member(options.name, options.number, options.of, options.folder)
    sockets, supervisor = listening(options.fds), os.getppid()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            serving = _run(
                settings,
                sockets,
                on_ready=lambda _: options.to_supervisor.serves(),
                member=member,
                supervisor=supervisor,
            )
            return runner.run(serving)
    finally:
        if os.getppid() != supervisor and not member.others():  # it was killed, and this is the last worker
            shutil.rmtree(member.directory, ignore_errors=True)


async def _run(
    settings: Settings,
    sockets: list[socket],
    *,
    on_ready: Callable[[str], None],
    member: Member | None = None,
    supervisor: int | None = None,
) -> int:
    from server.api.listener import Listener
    from server.app import create_app
    from server.runtime import open_runtime

    loop, starting = asyncio.get_running_loop(), asyncio.current_task()

    def give_up(number: int) -> None:
        if member is None:  # a worker's stop is its supervisor's to tell
            log_stop(number)
        (starting.cancel if starting else loop.stop)()

    for number in _stops():
        loop.add_signal_handler(number, give_up, number)
    if member is not None:  # it is the supervisor's
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
    try:
        with open_telemetry(settings.telemetry, version=VERSION) as telemetry:
            async with open_runtime(settings, telemetry=telemetry, member=member) as runtime:
                app = create_app(settings, open_runtime=lambda _: nullcontext(runtime))
                listener = Listener(app, settings=settings.server, on_ready=on_ready, supervisor=supervisor)
                _settle_memory()
                _obey(listener, member)
                await listener.listen(sockets)
    except asyncio.CancelledError:  # a signal before the server was up
        return INTERRUPTED
    return 0


def _obey(listener: Listener, member: Member | None) -> None:
    """Let signals stop the server, a second one at once.

    A worker hurries at SIGINT only: a service manager may send SIGTERM to it as the supervisor does.
    """
    loop = asyncio.get_running_loop()
    if member is None:

        def stop(number: int) -> None:
            log_stop(number, at_once=listener.should_exit)
            listener.stop()

        for number in _stops():
            loop.add_signal_handler(number, stop, number)
        return
    loop.add_signal_handler(signal.SIGTERM, listener.stop_once)
    loop.add_signal_handler(signal.SIGINT, listener.stop)
    loop.add_signal_handler(signal.SIGUSR1, listener.retire)


def _stops() -> list[signal.Signals]:
    """Return the signals that stop a server; not that of a terminal's end where ``nohup`` had it ignored."""
    is_hung_up_on = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if is_hung_up_on else [])]


def _allow_many_sockets() -> None:
    """Raise the number of open files to what the system lets us have.

    A stream takes two, its client's and the model's; shells and service managers begin with 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _settle_memory() -> None:
    """Keep what was built at the start out of the garbage collector's way.

    The libraries are some 770,000 objects, which live as long as the process: a full collection takes 0.4 s for them,
    in which every stream stands still.
    """
    gc.collect()
    gc.freeze()


def _announce(url: str, *, with_key: bool, with_page: bool, log_file: Path | None) -> None:
    page = "open it in a browser, or " if with_page else ""
    key = '-H "Authorization: Bearer $KEY" ' if with_key else ""
    print(  # noqa: T201 (for the person or the program that started us)
        f"Footnote is ready at {url} — {page}try: curl -s {url}/query {key}-H 'content-type: application/json' "
        """-d '{"question": "How do I change the port?"}'""",
        flush=True,
    )
    if log_file is not None:
        print(f"Ctrl-C stops it. Its log is {log_file}", flush=True)  # noqa: T201 (see above)


if __name__ == "__main__":
    sys.exit(main())
