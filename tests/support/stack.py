"""The whole stack in one place: a database with a small corpus, a scripted language model, and servers over both.

with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as stack:
    with stack.serve(streams={"grace": 0}) as http:  # a client of a real server, as `real_app` makes it
        ...
    assert stack.model.requests
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import httpx
import psutil
from starlette.middleware import Middleware
from support.databases import Databases, in_database
from support.environment import make_settings
from support.events import Event, parse
from support.indexed import index, real_app
from support.model_server import ModelServer, Reply, start_model_server
from support.programs import Program, interpreter
from support.scripted import running
from support.sql import execute

from embedding.calibration import LEAST_SCORES
from embedding.embedder import Embedder
from embedding.files import BUNDLED
from server.api.middleware.authentication import Authentication

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds that something may take on a busy machine."""

PROGRAM = """
import sys
import numpy as np
import server.runtime
from config.settings import EmbeddingSettings
from embedding.files import find_model
from server.__main__ import main

class OneVector:
    def __init__(self):
        self.files = find_model(EmbeddingSettings())
        self.identity = self.files.identity(EmbeddingSettings())
        self.accepted = {self.identity.fingerprint}

    async def query(self, text):
        return (await self.queries([text]))[0]

    async def queries(self, texts):
        return np.eye(1, self.identity.dimension, dtype=np.float32).repeat(len(texts), axis=0)

    texts = queries

    def close(self):
        pass

server.runtime.open_embedder = lambda settings: OneVector()
sys.exit(main())
"""


SERVERS = ("serve", "serve_with_workers")
"""The ways in which a `Stack` serves, for tests that hold for one process and for several."""


class StackClient(httpx.Client):
    """A client of one server.

    Attributes:
        app: the application, where it runs in this process.

    """

    app: Any = None
    served: Any = None

    def events(self, path: str, body: dict[str, object], **options: Any) -> list[Event]:
        """Ask for a stream and read it to its end."""
        response = self.post(path, json=body, **options)
        assert response.status_code == 200, response.text
        return parse(response.text)

    def messages(self, conversation: str) -> list[dict[str, Any]]:
        """Return the messages of a conversation."""
        return list(self.get(f"/conversations/{conversation}").raise_for_status().json()["messages"])

    def settled(self, conversation: str) -> list[dict[str, Any]]:
        """Return the messages of a conversation once none is being answered."""
        return until(
            lambda: (
                (found := self.messages(conversation))
                and all(message["state"] != "running" for message in found)
                and found
            )
        )


@dataclass
class Process:
    """``python -m server`` in a process of its own, real but for its embedding model."""

    popen: subprocess.Popen[str]
    url: str
    log: IO[str]

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that serve, where there are several."""
        children = psutil.Process(self.popen.pid).children()
        return [each for each in children if each.cmdline()[2:4] == ["server", "worker"]]

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it wrote to stderr."""
        self.popen.communicate(timeout=PATIENCE * 2)
        self.log.seek(0)
        return self.popen.returncode, self.log.read()


class Stack:
    """See `open_stack`."""

    def __init__(self, dsn: str, *, data_dir: Path, embedder: Embedder, model: ModelServer) -> None:
        self.dsn = dsn
        self.data_dir = data_dir
        self.embedder = embedder
        self.model = model

    @property
    def database(self) -> str:
        """Name of the database."""
        return urlsplit(self.dsn).path.strip("/")

    def by_way_of(self, dsn: str) -> Stack:
        """Return a stack over the same database at another address, a proxy's."""
        return Stack(dsn, data_dir=self.data_dir, embedder=self.embedder, model=self.model)

    def fresh(self, *replies: Reply, default: Reply | None = None) -> None:
        """Let the model forget what it was asked, and give it a new script."""
        self.model.requests.clear()
        self.model._replies.clear()
        self.model.disconnects = 0
        self.model.default = default or Reply()
        self.model.script(*replies)

    @contextlib.contextmanager
    def serve(self, *, around: type | None = None, **groups: dict[str, Any]) -> Iterator[StackClient]:
        """Serve the application on a socket of its own, with groups of settings: ``serve(chat={"lease_seconds": 2})``.

        Each fault of the model reaches the client as it is: nothing is tried again, the circuit breaker stays closed.
        `around` is a middleware in place of the one that authenticates. Yields a client of it.
        """
        llm = {"provider": "openai_like", "base_url": self.model.openai_url, "api_key": "k", "model": "m"}
        llm |= {"max_retries": 0, "breaker_failures": 0, **groups.pop("llm", {})}
        chosen = make_settings(self.dsn, self.data_dir, llm=llm, **groups)
        app = real_app(chosen, embedder=self.embedder)
        if around is not None:
            gates = (Middleware(around) if each.cls is Authentication else each for each in app.user_middleware)
            app.user_middleware = list(gates)
        limits = httpx.Limits(max_connections=200)
        with (
            running(app, settings=chosen.server) as server,
            StackClient(base_url=server.url, timeout=PATIENCE, limits=limits) as http,
        ):
            http.app, http.served = app, server
            yield http

    @contextlib.contextmanager
    def serve_with_workers(self, **groups: dict[str, Any]) -> Iterator[StackClient]:
        """Serve as `serve` does, from two processes; any of them may take a request, as each has its own connection."""
        groups["llm"] = {"max_retries": 0, "breaker_failures": 0, "prompt": "rules", **groups.get("llm", {})}
        groups["retrieval"] = {"min_score": LEAST_SCORES[BUNDLED], "refuse": 0, **groups.get("retrieval", {})}
        env = {
            f"{group}__{name}".upper(): str(value) for group, values in groups.items() for name, value in values.items()
        }
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
        with (
            self.process(program=("-m", "server"), forked=False, SERVER__WORKERS="2", **env) as process,
            StackClient(base_url=process.url, timeout=PATIENCE, limits=limits) as http,
        ):
            yield http

    @contextlib.contextmanager
    def process(
        self, *, program: tuple[str, ...] = ("-c", PROGRAM), forked: bool = True, root: Path = ROOT, **env: str
    ) -> Iterator[Process]:
        """Start a server in a process of its own; ``env`` are settings without their prefix.

        One process serves unless ``SERVER__WORKERS`` says otherwise, and then with the program below.
        ``program=("-m", "server")``: with the real embedding model, which takes longer. ``forked=False``: an
        interpreter that has imported nothing. ``root``: where the code is, if it is another's than this checkout's.
        """
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
        settings = {
            "SERVER__PORT": "0",
            "SERVER__WORKERS": "1",
            "DATA_DIR": str(self.data_dir),
            "DATABASE__URL": self.dsn,
            "LLM__PROVIDER": "openai_like",
            "LLM__BASE_URL": self.model.openai_url,
            "LLM__API_KEY": "k",
            "LLM__MODEL": "m",
            "RETRIEVAL__MIN_SCORE": "0",
            "RETRIEVAL__REFUSE": "0",
            "LLM__QUOTE_UNCITED": "false",
            **env,
        }
        with tempfile.TemporaryFile("w+", encoding="utf-8") as log:  # a pipe would fill up and stop the server
            popen = (Program if forked else interpreter)(
                program,
                cwd=self.data_dir,
                env=clean | {"PYTHONPATH": str(root)} | {f"FOOTNOTE_{name}": value for name, value in settings.items()},
                stdout=subprocess.PIPE,
                stderr=log,
            )
            process = Process(popen, "", log)
            try:
                assert popen.stdout is not None
                line = popen.stdout.readline()
                assert line.startswith("Footnote is ready at "), line + process.ended()[1]
                process.url = line.split()[4]
                yield process
            finally:
                if popen.poll() is None:
                    popen.kill()
                popen.communicate()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement."""
        return execute(self.dsn, statement, *values)


@contextlib.contextmanager
def open_stack(databases: Databases, *, shared_dir: Path, embedder: Embedder) -> Iterator[Stack]:
    """Lend a stack over a database of its own."""
    with databases.lend() as dsn, start_model_server() as model:
        model.models["m"] = "llama"  # what its settings name
        in_database(dsn, lambda database: index(database, embedder))
        yield Stack(dsn, data_dir=shared_dir, embedder=embedder, model=model)


def until(look: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
    """Look again and again until there is something; return it."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return seen


def texts(events: list[Event]) -> str:
    """Return what the tokens of a stream say."""
    return "".join(event.data["token"] for event in events if event.name == "token")
