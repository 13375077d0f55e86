"""Vectors of more dimensions than an index of the type `vector` takes: found by halves, ordered by the whole."""

import numpy as np
import pytest

from config.settings import RetrievalSettings
from storage import chunk_tables
from storage.collections.collections import Collections
from storage.generation import Chunking, EmbeddingIdentity
from storage.search.search import SearchRequest, default_scan
from storage.search.statement import SearchStatement

CHUNKS, CLUSTERS, K = 600, 30, 10


async def filled(database, dimension):
    embedding = EmbeddingIdentity("made-up", "1", "fingerprint", dimension, normalized=True)
    chunking = Chunking(tokens=256, overlap=0, language="english")
    generation = await Collections(database).ensure("wide", embedding=embedding, chunking=chunking)
    random = np.random.default_rng(7)
    centers = random.normal(size=(CLUSTERS, dimension))
    vectors = centers[np.arange(CHUNKS) % CLUSTERS] + 0.8 * random.normal(size=(CHUNKS, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        (generation.tenant_id, generation.id, f"n{place}", place, vector.tolist())
        for place, vector in enumerate(vectors)
    ]
    async with database.dedicated(as_owner=True) as connection:
        await connection.executemany(
            f"""INSERT INTO {chunk_tables.qualified(generation.id)} (tenant_id, generation_id, document_id, node_id,
                chunk_index, start_char, end_char, text, metadata_, embedding)
                VALUES ($1, $2, 'd', $3, $4, 0, 4, 'text', '{{}}', $5::real[]::vector)""",
            rows,
        )
    return generation, vectors


@pytest.mark.parametrize("dimension", [2001, 3072])
async def test_more_than_2000_dimensions_are_found_through_an_index_as_well_as_without(database, dimension):
    generation, vectors = await filled(database, dimension)
    async with database.dedicated(as_owner=True) as connection:
        await chunk_tables.build_index(
            connection, generation.id, dimension=dimension, options=chunk_tables.IndexOptions(ef_construction=64)
        )
        assert await chunk_tables.has_index(connection, generation.id)
        await chunk_tables.analyze(connection, generation.id)
    random, found, exact = np.random.default_rng(8), 0, 0
    async with database.tuned(default_scan(RetrievalSettings())) as connection:
        await connection.execute("SET enable_seqscan = off")
        for _ in range(20):
            question = vectors[random.integers(CHUNKS)] + 0.3 * random.normal(size=dimension) / dimension**0.5
            question = (question / np.linalg.norm(question)).astype("float32")
            asked = SearchRequest("vector", limit=K, embedding=question)
            made = SearchStatement(asked, generation=generation, settings=RetrievalSettings())
            plan = await connection.fetch(f"EXPLAIN {made.sql}", *made.parameters)
            assert any(chunk_tables.index_name(generation.id) in row[0] for row in plan)
            scanned = made.sql.partition("SELECT c.node_id")[0] + " SELECT id, distance FROM best"
            rows = await connection.fetch(scanned, *made.parameters)
            cosines = vectors @ question
            best = np.argsort(-cosines)[:K] + 1
            found += len(set(best.tolist()) & {row["id"] for row in rows})
            exact += len(best)
            # distances are those of the whole vectors, in their order
            np.testing.assert_allclose(
                [1 - row["distance"] for row in rows], [cosines[row["id"] - 1] for row in rows], atol=1e-5
            )
            assert [row["distance"] for row in rows] == sorted(row["distance"] for row in rows)
    assert found / exact >= 0.95


async def test_more_than_4000_dimensions_are_searched_without_an_index(database):
    generation, _ = await filled(database, 4001)
    async with database.dedicated(as_owner=True) as connection:
        await chunk_tables.build_index(
            connection, generation.id, dimension=4001, options=chunk_tables.IndexOptions(ef_construction=64)
        )
        assert not await chunk_tables.has_index(connection, generation.id)
    asked = SearchRequest("vector", limit=3, embedding=[1.0] * 4001)
    made = SearchStatement(asked, generation=generation, settings=RetrievalSettings())
    assert "halfvec" not in made.sql
