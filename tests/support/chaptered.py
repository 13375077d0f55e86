"""Documents of several chunks, read and split as ingestion does, in a real database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from support.corpus import document

from embedding.embedder import Embedder
from embedding.tokenizer import load_tokenizer
from ingestion.chunking.splitter import embed_text, split
from ingestion.identity import embedded_hash, node_id
from ingestion.readers import read
from storage.collections.collections import Collections
from storage.database import Database
from storage.documents.writes import Documents, NewChunk
from storage.generation import Chunking, Generation
from storage.vector_store import make_node, node_json


async def index_chaptered(
    database: Database,
    embedder: Embedder,
    texts: Mapping[str, str],
    name: str = "default",
    *,
    tokens: int = 48,
    overlap: int = 0,
    metadata: Mapping[str, dict[str, object]] | None = None,
) -> Generation:
    """Write documents (source to Markdown or plain text) in chunks of so many tokens; `metadata` is by source."""
    generation = await Collections(database).ensure(
        name, embedding=embedder.identity, chunking=Chunking(tokens=tokens, overlap=overlap, language="english")
    )
    documents = Documents(database, generation=generation)
    tokenizer = load_tokenizer(str(embedder.files.tokenizer_file))
    for source, text in texts.items():
        extracted = read(PurePath(source), data=text.encode())
        chunks = split(extracted, tokenizer=tokenizer, max_tokens=tokens, overlap=overlap)
        vectors = await embedder.texts([embed_text(extracted.title, chunk) for chunk in chunks])
        made = document(source, content=text, metadata=(metadata or {}).get(source))
        rows = []
        for chunk, vector in zip(chunks, vectors, strict=True):
            place = {"heading": chunk.heading, "page": chunk.page, "chunk_index": chunk.index}
            node = make_node(
                node_id(made.id, index=chunk.index, text=chunk.text),
                document_id=made.id,
                text=chunk.text,
                metadata={
                    **made.metadata,
                    "source": source,
                    "title": made.title,
                    **{key: value for key, value in place.items() if value is not None},
                },
                start=chunk.start,
                end=chunk.end,
            )
            row = NewChunk(
                node_id=node.node_id,
                index=chunk.index,
                page=chunk.page,
                start=chunk.start,
                end=chunk.end,
                text=chunk.text,
                metadata_json=node_json(node),
                embedding=vector,
                embedded_hash=embedded_hash(chunk.text),
            )
            rows.append(row)
        await documents.write(made, rows, replaces=None)
    return generation
