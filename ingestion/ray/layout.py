"""The distribution of actors over a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion.errors import ClusterUnavailable

if TYPE_CHECKING:
    from config.settings import EmbeddingSettings

THREADS = 4  # of one embedding actor: more scale badly, fewer load the model more often
EMBEDDING_SHARE = 0.7
PARSING_SHARE = 0.2
LATER_SHARE = 0.01  # of actors of a second model or chunking, which run beside the first
BUNDLE = 1000  # Ray counts CPUs in thousandths


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster."""

    id: str
    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The actors, each given by the id of its preferred node.

    Attributes:
        threads: of one embedding actor; a reading and an embedding actor together use as many CPUs.
        gpus: of one embedding actor.

    """

    parsers: tuple[str, ...]
    embedders: tuple[str, ...]
    threads: int
    gpus: int = 0

    def cpus(self, share: float) -> float:
        """Return the CPUs that an actor requests from Ray."""
        return int(self.threads * share * BUNDLE) / BUNDLE


def lay_out(nodes: Sequence[Node], *, settings: EmbeddingSettings) -> Layout:
    """Return a layout that fills the cluster: a reading and an embedding actor for every four CPUs, or every GPU.

    Raises:
        ClusterUnavailable: it has no CPU, or no GPU although the settings require one.

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
