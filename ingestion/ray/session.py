"""A connected cluster, in the Ray process: creates readers and embedders, each a pool of actors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import ray
import structlog
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ingestion.ray.actors import EmbeddingActor, EmbeddingJob, ParsingActor, ParsingJob
from ingestion.ray.layout import EMBEDDING_SHARE, LATER_SHARE, PARSING_SHARE, Layout, Node, lay_out
from ingestion.ray.pool import DEPTH, ActorPool
from ingestion.ray.reading import SpreadParser
from ingestion.ray.vectors import SpreadEmbedder

if TYPE_CHECKING:
    from pathlib import Path

    from config.settings import EmbeddingSettings, Settings
    from ingestion.ray.messages import Patience

A = TypeVar("A")
_log = structlog.get_logger(__name__)


class Session:
    """Creates readers and embedders, which live until the session is closed."""

    def __init__(
        self, address: str, *, settings: Settings, layout: Layout, patience: Patience, stack: AsyncExitStack
    ) -> None:
        self.layout = layout
        self._address = address
        self._settings = settings
        self._patience = patience
        self._stack = stack
        self._kinds: set[str] = set()

    async def parser(self, *, tokenizer_file: Path, max_tokens: int, overlap: int, language: str) -> SpreadParser:
        """Return a reader for a tokenizer and sizes in tokens; its actors start in the background."""
        ingestion = self._settings.ingestion
        tokenizer = await asyncio.to_thread(tokenizer_file.read_bytes)
        run = uuid4().hex
        share = self._share("reading", PARSING_SHARE)

        def start(number: int) -> tuple[Any, object]:
            job = ParsingJob(
                tokenizer=tokenizer,
                max_tokens=max_tokens,
                overlap=overlap,
                language=language,
                settings=ingestion,
                log=self._settings.log,
                folder=f"footnote-ray-{run}-{number}",
            )
            node = self.layout.parsers[number]
            return self._actor(ParsingActor, node=node, cpus=self.layout.cpus(share)), job

        seconds = DEPTH * ingestion.parse_timeout + self._patience.connect
        patience = replace(self._patience, call=seconds)
        pool = self._pool(start, size=len(self.layout.parsers), kind="reading", patience=patience)
        return SpreadParser(pool, max_file_bytes=ingestion.max_file_bytes)

    def embedder(self, settings: EmbeddingSettings, *, fingerprint: str, opener: str) -> SpreadEmbedder:
        """Return an embedder for the model with this fingerprint; its actors load it in the background."""
        own = self._settings.model_copy(
            update={"embedding": settings.model_copy(update={"threads": self.layout.threads})}
        )
        share = self._share("embedding", EMBEDDING_SHARE)
        job = EmbeddingJob(settings=own, fingerprint=fingerprint, opener=opener)

        def start(number: int) -> tuple[Any, object]:
            node = self.layout.embedders[number]
            return self._actor(EmbeddingActor, node=node, cpus=self.layout.cpus(share), gpus=self.layout.gpus), job

        pool = self._pool(start, size=len(self.layout.embedders), kind="embedding", patience=self._patience)
        return SpreadEmbedder(pool, batch_size=settings.batch_size)

    def _share(self, kind: str, share: float) -> float:
        if kind in self._kinds:
            return LATER_SHARE
        self._kinds.add(kind)
        return share

    def _pool(
        self, start: Callable[[int], tuple[Any, object]], *, size: int, kind: str, patience: Patience
    ) -> ActorPool:
        pool = ActorPool(start, size=size, kind=kind, address=self._address, patience=patience)
        self._stack.push_async_callback(pool.close)
        return pool

    def _actor(self, cls: type[A], *, node: str, cpus: float, gpus: int = 0) -> Any:  # noqa: ANN401 (Ray's handles are made at run time)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": -1, "max_task_retries": 0}
        # by default Ray fills one node with readers, which leaves no room for embedding actors there
        placed = NodeAffinitySchedulingStrategy(node, soft=True)
        remote: Any = ray.remote(cls)
        return remote.options(**options, scheduling_strategy=placed, max_concurrency=2 * DEPTH).remote()


def find_layout(settings: Settings) -> Layout:
    """Return a layout for the cluster's nodes.

    Raises:
        ClusterUnavailable: as `lay_out`.

    """
    nodes = [
        Node(each["NodeID"], each["Resources"].get("CPU", 0), each["Resources"].get("GPU", 0))
        for each in ray.nodes()  # type: ignore[no-untyped-call]
        if each["Alive"]
    ]
    made = lay_out(nodes, settings=settings.embedding)
    _log.info("working on a Ray cluster", nodes=len(nodes), parsers=len(made.parsers), embedders=len(made.embedders))
    return made
