"""How the machines of a cluster are shared between reading and embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion.errors import ClusterUnavailable

if TYPE_CHECKING:
    from config.settings import EmbeddingSettings

THREADS = 4  # of one embedding actor: more share a core's caches badly, fewer load the model more often
EMBEDDING_SHARE = 0.7
PARSING_SHARE = 0.2
LATER_SHARE = 0.01  # of the actors of a second model or another chunking: they find room beside the first
BUNDLE = 1000  # Ray counts in thousandths


@dataclass(frozen=True, slots=True)
class Node:
    """What Ray says of one machine."""

    id: str
    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Which actors there are, each by the id of the node that it runs on while that lives.

    Attributes:
        threads: of one embedding actor; an actor of each kind together take no more than so many CPUs.
        gpus: of one embedding actor.

    """

    parsers: tuple[str, ...]
    embedders: tuple[str, ...]
    threads: int
    gpus: int = 0

    def cpus(self, share: float) -> float:
        """Return the CPUs that an actor asks Ray for."""
        return int(self.threads * share * BUNDLE) / BUNDLE


def lay_out(nodes: Sequence[Node], *, settings: EmbeddingSettings) -> Layout:
    """Fill the cluster as it stands: a parsing and an embedding actor for every four CPUs, or every GPU.

    Raises:
        ClusterUnavailable: it has no CPU, or no GPU where the settings ask for one.

    """
    usable = [node for node in nodes if node.cpus >= 1]
    if not usable:
        msg = "no node of the Ray cluster has a CPU to work with: add one (`ray start --address=… --num-cpus=…`)"
        raise ClusterUnavailable(msg)
    threads = int(min(settings.threads or THREADS, *(node.cpus for node in usable)))
    units = tuple(node.id for node in usable for _ in range(int(node.cpus // threads)))
    if not (settings.backend == "torch" and settings.device.startswith("cuda")):
        return Layout(parsers=units, embedders=units, threads=threads)
    gpus = tuple(node.id for node in usable for _ in range(int(node.gpus)))
    if not gpus:
        msg = f"FOOTNOTE_EMBEDDING__DEVICE is {settings.device}, and no node of the Ray cluster has a GPU"
        raise ClusterUnavailable(msg)
    return Layout(parsers=units, embedders=gpus, threads=threads, gpus=1)
