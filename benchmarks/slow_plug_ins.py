"""Retrievers for `benchmarks.plug_ins`: one that sleeps, one that computes, one that pretends to be async."""

from __future__ import annotations

import time

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle


class Sleeping(BaseRetriever):
    """Sleeps, as a client without async methods does while it waits for its server."""

    def __init__(self, seconds: float = 2.0) -> None:
        super().__init__()
        self._seconds = seconds

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:  # noqa: ARG002 (LlamaIndex's)
        time.sleep(self._seconds)
        return []


class Pretending(Sleeping):
    """Is async by its name alone."""

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._retrieve(query_bundle)


class Computing(BaseRetriever):
    """Computes in Python, which has one interpreter lock."""

    def __init__(self, seconds: float = 2.0) -> None:
        super().__init__()
        self._seconds = seconds

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        end, number = time.perf_counter() + self._seconds, len(query_bundle.query_str)
        while time.perf_counter() < end:
            number = sum(range(1000)) + number % 7
        return []
