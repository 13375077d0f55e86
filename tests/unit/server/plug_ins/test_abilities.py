# ruff: noqa: ARG002 (LlamaIndex's signatures)
"""What classes really do asynchronously, LlamaIndex's own among them."""

import asyncio
import functools

import pytest
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.postprocessor import LongContextReorder
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import CustomQueryEngine, RetrieverQueryEngine, SubQuestionQueryEngine
from llama_index.core.retrievers import AutoMergingRetriever, QueryFusionRetriever, VectorIndexRetriever

from server.plug_ins.abilities import has_own, way_of, way_of_function
from server.plug_ins.query_engines import way_to_query


class Sync(BaseRetriever):
    def _retrieve(self, query_bundle):
        return []


class Async(Sync):
    async def _aretrieve(self, query_bundle):
        await asyncio.sleep(0)
        return []


class Pretends(Sync):
    async def _aretrieve(self, query_bundle):
        return self._retrieve(query_bundle)


class Inherits(Async):
    def _retrieve(self, query_bundle):
        return [1]


class Mixed(Async, Sync):
    pass


def wrapped(method):
    @functools.wraps(method)
    async def wrapper(*arguments):
        return await method(*arguments)

    return wrapper


class Wrapped(Sync):
    @wrapped
    async def _aretrieve(self, query_bundle):
        return []


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (Sync, "sync"),
        (Async, "async"),
        (Pretends, "driven"),
        (Inherits, "async"),
        (Mixed, "async"),
        (Wrapped, "driven"),  # the decorator awaits, what it decorates does not
        (VectorIndexRetriever, "async"),
        (QueryFusionRetriever, "async"),
        (AutoMergingRetriever, "sync"),
    ],
)
def test_a_retriever_is_called_as_its_class_can(kind, way):
    assert way_of(kind, "_aretrieve", base=BaseRetriever) == way


class Custom(CustomQueryEngine):
    def custom_query(self, query_str):
        return ""


class AsyncCustom(Custom):
    async def acustom_query(self, query_str):
        async with asyncio.Lock():
            return ""


class PretendingCustom(Custom):
    async def acustom_query(self, query_str):
        return self.custom_query(query_str)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (Custom, "sync"),
        (AsyncCustom, "async"),
        (PretendingCustom, "driven"),
        (RetrieverQueryEngine, "async"),
        (SubQuestionQueryEngine, "async"),
    ],
)
def test_a_query_engine_is_called_as_its_class_can(kind, way):
    assert way_to_query(kind) == way


def test_what_a_class_lacks_is_known():
    assert not has_own(Custom, "retrieve", base=BaseQueryEngine)
    assert has_own(RetrieverQueryEngine, "retrieve", base=BaseQueryEngine)
    assert way_of(LongContextReorder, "_apostprocess_nodes", base=BaseNodePostprocessor) == "sync"


@pytest.mark.parametrize("function", [print, len, Sync, lambda: None, functools.partial(print)])
def test_what_is_no_async_function_is_synchronous(function):
    assert way_of_function(function) == "sync"
