"""``/query/stream`` up to the first token, beside asking the same model server directly with OpenAI's client."""

from __future__ import annotations

import argparse
import asyncio
import time

import httpx
from openai import AsyncOpenAI

from benchmarks.corpus import manual_pages, questions, short_documents
from benchmarks.figures import percentile, table
from benchmarks.laboratory import open_laboratory
from benchmarks.query import DOCUMENTS, ingest
from tests.support.model_server import start_model_server

STREAMS = (1, 50)
TURNS = 8


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures."""
    documents = short_documents(manual_pages(options.manual), count=DOCUMENTS)
    with open_laboratory(options.folder) as laboratory, start_model_server() as model:
        ingest(laboratory, documents)
        llm = {"LLM__PROVIDER": "openai_like", "LLM__MODEL": "scripted", "LLM__BASE_URL": model.openai_url}
        with laboratory.serving("server", LLM__API_KEY="none", **llm) as url:
            return asyncio.run(_measure(url, model.openai_url, questions(documents, count=2000), options.rounds))


async def _measure(url: str, model_url: str, asked: list[str], rounds: int) -> str:
    limits = httpx.Limits(max_connections=None)
    rows: list[list[object]] = []
    async with (
        httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http,
        AsyncOpenAI(base_url=model_url, api_key="none", max_retries=0) as openai,
    ):
        for streams in STREAMS:
            through, direct = [], []
            turns = rounds * TURNS * (10 if streams == 1 else 1)
            for turn in range(turns + 1):
                batch = [asked[(turn * streams + n) % len(asked)] for n in range(streams)]
                ours = await asyncio.gather(*[_through(http, question) for question in batch])
                bare = await asyncio.gather(*[_direct(openai, question) for question in batch])
                if turn:  # the first one opens connections
                    through += ours
                    direct += bare
            rows += [
                [streams, name, percentile(times, 0.5), percentile(times, 0.95)]
                for name, times in (("directly", direct), ("through Footnote", through))
            ]
            added = [percentile(through, share) - percentile(direct, share) for share in (0.5, 0.95)]
            rows.append([streams, "added", *added])
    return table(["streams at once", "", "p50 ms", "p95 ms"], rows)


async def _through(http: httpx.AsyncClient, question: str) -> float:
    """Return the milliseconds to the first token; read the stream to its end."""
    started, first = time.perf_counter(), 0.0
    async with http.stream("POST", "/query/stream", json={"question": question}) as response:
        async for line in response.aiter_lines():
            if line == "event: token" and not first:
                first = time.perf_counter()
            if line == "event: error" or response.status_code != httpx.codes.OK:
                msg = f"a stream failed: {response.status_code} {line}"
                raise RuntimeError(msg)
    return (first - started) * 1000


async def _direct(openai: AsyncOpenAI, question: str) -> float:
    started, first = time.perf_counter(), 0.0
    stream = await openai.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": question}], stream=True
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content and not first:
            first = time.perf_counter()
    return (first - started) * 1000
