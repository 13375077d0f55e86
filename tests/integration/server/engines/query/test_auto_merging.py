"""`auto_merging`: sections and documents in place of their passages, worked out from the chunk table."""

import pytest
from support.chaptered import index_chaptered
from support.engines import BREAD, HARBOUR, service

from server.answers import Question
from server.engines.passages.hierarchy import MergingRule, Range, common_path, merge
from storage.search.neighbours import StoredChunk

RULE = MergingRule(ratio=0.5, longest=10_000, group=4)


def chunks(*headings, pages=None, length=100):
    """Return consecutive chunks under these headings."""
    return [
        StoredChunk(
            node_id=str(index),
            document_id="d",
            index=index,
            page=pages[index] if pages else None,
            start=index * length,
            end=(index + 1) * length,
            text="x" * length,
            metadata={"heading": heading} if heading else {},
        )
        for index, heading in enumerate(headings)
    ]


def test_a_section_is_given_where_more_than_the_ratio_of_its_chunks_is_there():
    run = chunks("A > a", "A > a", "A > a", "B", "B", "B", "B", "B")
    assert merge(run, {0, 2}, of=8, rule=RULE) == [Range(0, 2)]
    assert merge(run, {0}, of=8, rule=RULE) == [Range(0, 0)]
    assert merge(run, {3, 4}, of=8, rule=RULE) == [Range(3, 3), Range(4, 4)]


def test_half_is_not_more_than_half():
    run = chunks("A", "A", "B", "B", "B", "B")
    assert merge(run, {0, 2, 3}, of=6, rule=RULE) == [Range(0, 0), Range(2, 2), Range(3, 3)]


def test_sections_that_were_merged_merge_into_the_one_above_and_at_last_into_the_document():
    run = chunks("A > a", "A > a", "A > b", "A > b", "B", "B")
    assert merge(run, {0, 1, 2, 3}, of=6, rule=RULE) == [Range(0, 3)]
    assert merge(run, {0, 1, 2, 3, 4, 5}, of=6, rule=RULE) == [Range(0, 5)]


def test_a_parent_that_is_too_long_is_not_given_and_its_children_are():
    run = chunks("A > a", "A > a", "A > b", "A > b", "B", "B")
    short = MergingRule(ratio=0.5, longest=250, group=4)
    assert merge(run, {0, 1, 2, 3, 4, 5}, of=6, rule=short) == [Range(0, 1), Range(2, 3), Range(4, 5)]


def test_a_parent_that_reaches_beyond_what_was_read_is_not_whole():
    run = chunks("A", "A", "B")
    assert merge(run, {0, 1}, of=9, rule=RULE) == [Range(0, 1)]
    beyond = [chunk for chunk in chunks("A", "A", "A", "B") if chunk.index]
    assert merge(beyond, {0, 1}, of=4, rule=RULE) == [Range(0, 0), Range(1, 1)]


def test_pages_and_groups_stand_in_for_headings():
    pages = chunks(None, None, None, None, None, pages=[1, 1, 1, 2, 2])
    assert merge(pages, {0, 1}, of=50, rule=RULE) == [Range(0, 2)]
    plain = chunks(*[None] * 9)
    assert merge(plain, {4, 5, 6}, of=50, rule=RULE) == [Range(4, 7)]


def test_the_heading_of_a_merged_part_is_what_all_of_it_stands_under():
    assert common_path(chunks("A > a", "A > b")) == "A"
    assert common_path(chunks("A", "A > b")) == "A"
    assert common_path(chunks("A", "B")) is None
    assert common_path(chunks(None, "B")) is None


@pytest.fixture
async def opened(database, embedder, settings):
    """Return a function that opens the service, without a model, over two documents in small chunks."""
    await index_chaptered(database, embedder, {"harbour.md": HARBOUR, "bread.md": BREAD}, tokens=40, overlap=12)

    def make(**groups):
        return service(settings, database=database, embedder=embedder, model_server=None, **groups)

    return make


async def test_a_section_of_which_enough_is_found_is_given_as_a_whole(opened):
    question = "What fees do fishing boats, guests and longer boats pay?"
    async with opened() as made:
        hits = (await made.retrieve(Question(question, k=3))).results
        (merged, *_) = (await made.retrieve(Question(question, k=3, mode="auto_merging"))).results
    assert "Fees" in (hits[0].heading or "")
    assert merged.node_id == hits[0].node_id
    assert len(merged.chunks) > 1
    assert merged.heading == "Harbour handbook > Fees"
    assert "Boats below ten metres" in merged.text
    assert "Fishing boats of the bay pay nothing." in merged.text
    assert len(merged.text) == merged.end - merged.start
    assert " ".join(merged.text.split()) == " ".join(HARBOUR[merged.start : merged.end].split())


async def test_all_hits_of_a_small_document_become_the_document(opened):
    async with opened() as made:
        found = await made.retrieve(
            Question("sourdough bread, its starter, rolls", k=12, mode="auto_merging", min_score=0)
        )
        bread = [result for result in found.results if result.source == "bread.md"]
    assert len(bread) == 1
    assert " ".join(bread[0].text.split()) == " ".join(BREAD.split())


async def test_nothing_merges_at_the_highest_ratio_or_beyond_the_longest_part(opened):
    question = Question("What fees do fishing boats, guests and longer boats pay?", k=3, mode="auto_merging")
    async with opened(engines={"merging_characters": 100}) as made:
        short = (await made.retrieve(question)).results
    async with opened(engines={"merging_ratio": 0.99}) as made:
        strict = (await made.retrieve(Question("Neap tides", k=1, mode="auto_merging"))).results
    assert all(len(result.chunks) == 1 for result in short)
    assert all(len(result.chunks) == 1 for result in strict)
