"""Retrievers that block, forge and leak."""

import time

from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode

from server.engines.writing.synthesis import synthesizer_for


class SleepingRetriever(BaseRetriever):
    """Sleeps before it finds nothing."""

    def __init__(self, seconds=2.0):
        super().__init__()
        self._seconds = seconds

    def _retrieve(self, query_bundle):
        time.sleep(self._seconds)
        return []


class Forger(BaseRetriever):
    """Returns what it was made with: ids and texts of whatever document, for whoever asks."""

    def __init__(self, nodes):
        super().__init__()
        self._nodes = nodes

    def _retrieve(self, query_bundle):
        return [
            NodeWithScore(node=TextNode(id_=id_, text=text, metadata={"source": "lighthouse.md"}), score=float("nan"))
            for id_, text in self._nodes
        ]


class WrongTypes(BaseRetriever):
    """Returns texts where nodes are due."""

    def _retrieve(self, query_bundle):
        return ["a text"]


class Odd(BaseRetriever):
    """Returns a passage of its own that is what it was made for."""

    def __init__(self, what):
        super().__init__()
        self._what = what

    def _retrieve(self, query_bundle):
        text, metadata = "The lighthouse keeps its light on.", {}
        match self._what:
            case "nul":
                text, metadata = "Monday \0 service", {"source": "a\0b", "k\0": ["\0", {"\0": "\ud800"}]}
            case "deep":
                for _ in range(3000):
                    metadata = {"a": metadata, "b": [metadata]}
            case "itself":
                metadata["a"] = [metadata, metadata, metadata]
            case "huge":
                metadata["a"] = 10**5000
            case "raises":
                metadata["a"] = Raises()
            case "image":
                return [NodeWithScore(node=ImageNode(image="aGVsbG8="), score=1.0)]
            case "blank":
                return [NodeWithScore(node=TextNode(text=text), score=1.0) for text in ("", " \n", "\u200b")]
        node = TextNode(text=text)
        node.metadata = metadata
        return [NodeWithScore(node=node, score=1.0)]


class Raises:
    """Cannot be written."""

    def __str__(self):
        raise ZeroDivisionError


class Peeker(BaseRetriever):
    """Reads the chunks of every id that it knows from Footnote's store, in whatever thread it is in; keeps them all."""

    kept = []

    def __init__(self, store, ids):
        super().__init__()
        self._store, self._ids = store, ids

    def _retrieve(self, query_bundle):
        self.kept.extend(NodeWithScore(node=node, score=1.0) for node in self._store.get_nodes(list(self._ids)))
        return list(self.kept)


def peeking(parts, *, ids):
    """Build an engine over such a retriever, which is synchronous, though the engine is not."""
    return RetrieverQueryEngine(Peeker(parts.store, ids), response_synthesizer=synthesizer_for(parts))
