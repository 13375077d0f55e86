"""``--ray``: reading, splitting and embedding on a Ray cluster. Ray itself is loaded by a process of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from config.settings import Settings
from config.telemetry import spans
from embedding.observation import observed_call
from ingestion.errors import ClusterUnavailable
from ingestion.ray.actors import OPENER
from ingestion.ray.link import started
from ingestion.ray.messages import Patience
from ingestion.types import Parsed, Skipped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from config.settings import EmbeddingSettings
    from embedding.files import ModelFiles
    from ingestion.ray.link import Link
    from storage.generation import EmbeddingIdentity

_ADDRESS = re.compile(r"(ray://)?(?P<host>[^\s/:]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_PROBING = 5.0


class RayParser:
    """Does what `Parser` does, on other machines; a file that harms its reader costs itself only.

    Attributes:
        width: how many files it can read at once.

    """

    def __init__(self, link: Link, *, number: int, width: int) -> None:
        self._link = link
        self._number = number
        self.width = width

    async def parse(self, path: Path, /) -> Parsed | Skipped:
        """Read and split one file of this machine; what cannot be read, for whatever reason, comes back as `Skipped`.

        Raises:
            ClusterUnavailable: the cluster is lost.

        """
        result: Parsed | Skipped = await self._link.call("parse", self._number, path)
        return result


class RayEmbedder:
    """Does what `Embedder.texts` does, on other machines, with the same model.

    Attributes:
        width: how many calls it can work on at once; each is spread over the cluster by itself.

    """

    def __init__(self, link: Link, *, number: int, width: int, identity: EmbeddingIdentity) -> None:
        self.identity = identity
        self.width = width
        self._link = link
        self._number = number

    async def texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Embed passages; shape (len(texts), dimension), float32.

        Raises:
            EmbeddingFailed: the model failed, or worker after worker was lost with these texts.
            ClusterUnavailable: the cluster is lost.

        """
        if not texts:
            import numpy as np

            return np.empty((0, self.identity.dimension), dtype=np.float32)
        identity = self.identity
        with observed_call(identity.model, dimension=identity.dimension, texts=len(texts), kind=spans.CLIENT):
            made: NDArray[np.float32] = await self._link.call("texts", self._number, list(texts))
        return made


class RayCluster:
    """Gives out readers and embedders; they live until the cluster is left."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def parser(self, *, tokenizer_file: Path, max_tokens: int, overlap: int) -> RayParser:
        """Return a reader of files for this tokenizer and these sizes, in tokens; its actors come up meanwhile."""
        arguments = {"tokenizer_file": tokenizer_file, "max_tokens": max_tokens, "overlap": overlap}
        number, width = await self._link.call("parser", arguments)
        return RayParser(self._link, number=number, width=width)

    async def embedder(self, settings: EmbeddingSettings, *, files: ModelFiles, opener: str = OPENER) -> RayEmbedder:
        """Return an embedder that runs this model; its actors load it meanwhile."""
        identity = files.identity(settings)
        arguments = {"settings": settings, "fingerprint": identity.fingerprint, "opener": opener}
        number, width = await self._link.call("embedder", arguments)
        return RayEmbedder(self._link, number=number, width=width, identity=identity)


@asynccontextmanager
async def open_ray(address: str, *, settings: Settings, patience: Patience | None = None) -> AsyncIterator[RayCluster]:
    """Connect to a cluster: ``host:port``, ``ray://host:port``, ``auto`` for the one on this machine, or ``local``.

    ``local`` starts one on this machine, and ends it with the block.

    Raises:
        ClusterUnavailable: Ray is not installed, nothing answers there, or it is another version; says what to do.

    """
    if find_spec("ray") is None:
        msg = "--ray needs the extra `ray`: uv pip install 'ray>=2.60'"
        raise ClusterUnavailable(msg)
    await _probe(address)
    patience = patience or Patience()
    async with started(address=address, leaving=patience.leave) as link:
        try:
            async with asyncio.timeout(patience.connect):
                await link.call("open", address, _bare(settings), patience)
        except TimeoutError as exc:
            link.kill()
            raise ClusterUnavailable(_silent(address, patience.connect)) from exc
        yield RayCluster(link)


def _bare(settings: Settings) -> Settings:
    """Return what the nodes need: no address of the database, no key of a model's provider."""
    return Settings.model_construct(
        data_dir=settings.data_dir.expanduser().resolve(),
        embedding=settings.embedding,
        ingestion=settings.ingestion,
        log=settings.log,
    )


async def _probe(address: str) -> None:
    """Try whether anybody listens: Ray itself takes minutes to find out that nobody does."""
    if address in {"local", "auto"}:
        return
    parts = _ADDRESS.fullmatch(address)
    if parts is None or not 0 < int(parts["port"]) < 1 << 16:
        msg = f"--ray {address}: must be host:port, ray://host:port, auto, or local"
        raise ClusterUnavailable(msg)
    try:
        async with asyncio.timeout(_PROBING):
            _, writer = await asyncio.open_connection(parts["host"].strip("[]"), int(parts["port"]))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    except OSError as exc:
        msg = f"nothing listens at {address} ({type(exc).__name__}); `ray start --head` prints the address of a cluster"
        raise ClusterUnavailable(msg) from exc


def _silent(address: str, seconds: float) -> str:
    return (
        f"what listens at {address} did not answer as a Ray cluster within {seconds:g} seconds; give the address that "
        "`ray start --head` printed, or ray://host:10001 from a machine that is none of its nodes, and its token in "
        "RAY_AUTH_TOKEN with RAY_AUTH_MODE=token if it has one"
    )
