"""``--ray``: reading, splitting and embedding on a Ray cluster. Ray itself is imported in a separate process."""

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
    """Like `Parser`, on other machines.

    Attributes:
        width: number of files read at once.

    """

    def __init__(self, link: Link, *, number: int, width: int) -> None:
        self._link = link
        self._number = number
        self.width = width

    async def parse(self, path: Path, /) -> Parsed | Skipped:
        """Read and split a file of this machine; return `Skipped` if it cannot be read, whatever the reason.

        Raises:
            ClusterUnavailable: the cluster is lost.

        """
        result: Parsed | Skipped = await self._link.call("parse", self._number, path)
        return result


class RayEmbedder:
    """Like `Embedder.texts`, on other machines, with the same model.

    Attributes:
        width: number of concurrent calls; each is spread over the cluster.

    """

    def __init__(self, link: Link, *, number: int, width: int, identity: EmbeddingIdentity) -> None:
        self.identity = identity
        self.width = width
        self._link = link
        self._number = number

    async def texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Embed passages; shape (len(texts), dimension), float32.

        Raises:
            EmbeddingFailed: the model failed, or several workers in a row were lost with these texts.
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
    """Opens readers and embedders, which live until the connection is closed."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def parser(
        self, *, tokenizer_file: Path, max_tokens: int, overlap: int, language: str = "simple"
    ) -> RayParser:
        """Return a reader for a tokenizer and sizes in tokens; its actors start in the background."""
        arguments = {
            "tokenizer_file": tokenizer_file,
            "max_tokens": max_tokens,
            "overlap": overlap,
            "language": language,
        }
        number, width = await self._link.call("parser", arguments)
        return RayParser(self._link, number=number, width=width)

    async def embedder(self, settings: EmbeddingSettings, *, files: ModelFiles, opener: str = OPENER) -> RayEmbedder:
        """Return an embedder for this model; its actors load it in the background."""
        identity = files.identity(settings)
        arguments = {"settings": settings, "fingerprint": identity.fingerprint, "opener": opener}
        number, width = await self._link.call("embedder", arguments)
        return RayEmbedder(self._link, number=number, width=width, identity=identity)


@asynccontextmanager
async def open_ray(address: str, *, settings: Settings, patience: Patience | None = None) -> AsyncIterator[RayCluster]:
    """Connect to a cluster: ``host:port``, ``ray://host:port``, ``auto`` for the one on this machine, or ``local``.

    ``local`` starts one on this machine, and stops it at the end of the block.

    Raises:
        ClusterUnavailable: Ray is not installed, nothing responds, or the versions differ; the message says what to do.

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
    """Return the settings that the nodes need, without the database's address and providers' keys."""
    return Settings.model_construct(
        data_dir=settings.data_dir.expanduser().resolve(),
        embedding=settings.embedding,
        ingestion=settings.ingestion,
        log=settings.log,
    )


async def _probe(address: str) -> None:
    """Check that the address accepts connections: Ray itself takes minutes to notice that it does not."""
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
