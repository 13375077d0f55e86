"""Filters, fusion and bounds of the search, against a plain-Python account of what they mean."""

import math

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from support.corpus import fill, make_collection, vector

from config.settings import RetrievalSettings
from storage.chunks import filter_group
from storage.database import Database
from storage.errors import UnsupportedFilter
from storage.filters import Filter, FilterGroup
from storage.search import ChunkSearch, SearchRequest

ROWS = {
    "ten-string": {"ref": "10", "tags": ["a", "b"]},
    "ten": {"ref": 10, "tags": []},
    "exponent": {"ref": "1e1"},
    "padded": {"ref": "010", "tags": "a"},
    "big": {"ref": 2**53 + 1},
    "near-big": {"ref": 2**53},
    "float": {"ref": 10.5, "tags": [1, 2]},
    "bool": {"ref": True, "tags": [True]},
    "none": {"ref": None},
    "quote": {"ref": "O'Brien", "tags": ["O'Brien"]},
    "colon": {"ref": "a :b", "tags": ["%", "_"]},
    "date": {"ref": "2024-05-01"},
    "empty": {"ref": ""},
    "missing": {},
}


@pytest.fixture
async def search(database):
    generation = await make_collection(database)
    await fill(database, generation, {name: (f"text of {name}", metadata) for name, metadata in ROWS.items()})
    return ChunkSearch(database, generation=generation, settings=RetrievalSettings())


async def found(search, *filters, condition="and"):
    group = FilterGroup(filters=list(filters), condition=condition)
    hits = await search.search(SearchRequest("vector", limit=100, embedding=vector("q"), filters=group))
    return {hit.metadata["source"] for hit in hits}


def one(operator, value, key="ref"):
    return Filter(key=key, operator=operator, value=value)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (one("==", "10"), {"ten-string"}),
        (one("==", 10), {"ten"}),
        (one("==", 10.0), {"ten"}),  # JSON has one kind of number
        (one("==", 2**53 + 1), {"big"}),
        (one("==", True), {"bool"}),
        (one("==", "O'Brien"), {"quote"}),
        (one("==", "a :b"), {"colon"}),
        (one("==", "a", key="tags"), {"padded"}),
        (one("!=", "10"), set(ROWS) - {"ten-string"}),
        (one(">", 10), {"float", "big", "near-big"}),
        (one(">=", 2**53 + 1), {"big"}),
        (one("<", 11), {"ten", "float"}),
        (one(">", "2024-04-30"), {"date", "quote", "colon"}),
        (one("in", ["10", 10, "nothing"]), {"ten-string", "ten"}),
        (one("in", []), set()),
        (one("nin", ["10", 10]), set(ROWS) - {"ten-string", "ten"}),
        (one("nin", []), set(ROWS)),
        (one("contains", "a", key="tags"), {"ten-string"}),
        (one("contains", 1, key="tags"), {"float"}),
        (one("any", ["b", "%"], key="tags"), {"ten-string", "colon"}),
        (one("all", ["a", "b"], key="tags"), {"ten-string"}),
        (one("all", ["a", "z"], key="tags"), set()),
        (one("text_match", "Bri"), {"quote"}),
        (one("text_match", "bri"), set()),
        (one("text_match_insensitive", "bri"), {"quote"}),
        (one("text_match", "%"), set()),
        (one("is_empty", None), {"none", "empty", "missing"}),
        (one("is_empty", None, key="tags"), {n for n, m in ROWS.items() if not m.get("tags")}),
    ],
)  # fmt: skip
async def test_each_operator_compares_exactly(search, condition, expected):
    assert await found(search, condition) == expected


async def test_conditions_nest(search):
    tagged = FilterGroup(filters=[one("contains", "a", key="tags"), one("contains", 1, key="tags")], condition="or")
    assert await found(search, tagged, one("!=", "10")) == {"float"}
    assert await found(search, tagged, one("==", "10"), condition="not") == set(ROWS) - {"float", "ten-string"}
    assert await found(search, condition="or") == set(ROWS)


@pytest.mark.parametrize(
    "text",
    [
        "x' OR '1'='1",
        "'; DROP TABLE footnote.documents; --",
        "\\'; SELECT 1; --",
        "\"}' OR true --",
        "$1",
        "{context_str}",
        "%s%s",
        "🦄' --",
    ],
)
@pytest.mark.parametrize("operator", ["==", ">", "text_match", "in", "any"])
async def test_sql_in_keys_and_values_is_data(search, text, operator):
    value = [text] if operator in {"in", "any"} else text
    assert not await found(search, Filter(key=text, operator=operator, value=value))
    texts = {name: row["ref"] for name, row in ROWS.items() if isinstance(row.get("ref"), str)}
    after = {name for name, ref in texts.items() if ref > text} if operator == ">" else set()
    assert await found(search, Filter(key="ref", operator=operator, value=value)) == after
    assert await found(search, one("==", "10")) == {"ten-string"}  # the table is still there


@pytest.mark.parametrize(
    "condition",
    [
        one("in", "10"),
        one("==", ["10"]),
        one("==", None),
        one(">", True),
        one(">", None),
        one("text_match", 5),
        one("is_empty", 1),
        one("==", math.inf),
        one("==", math.nan),
        one("==", "a\0b"),
        one("==", "\ud800"),
        Filter(key="\0", value=1),
        one("in", ["\ud800"]),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused_by_name(search, condition):
    with pytest.raises(UnsupportedFilter, match="operator"):
        await found(search, condition)


async def test_filters_nested_too_deep_are_refused(search):
    group = one("==", 1)
    for _ in range(40):
        group = FilterGroup(filters=[group])
    with pytest.raises(UnsupportedFilter, match="deeper"):
        await found(search, group)


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
)


@given(value=VALUES)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_equality_finds_what_python_calls_equal_of_one_json_type(search, value):
    def same(stored):
        kinds = (bool, str, (int, float))
        kind = next(kind for kind in kinds if isinstance(value, kind))
        return isinstance(stored, kind) and isinstance(stored, bool) == isinstance(value, bool) and stored == value

    expected = {name for name, metadata in ROWS.items() if "ref" in metadata and same(metadata["ref"])}
    assert await found(search, one("==", value)) == expected


async def test_llamaindex_filters_are_read_as_ours(search):
    filters = MetadataFilters(
        filters=[
            MetadataFilter(key="ref", value="10"),
            MetadataFilters(filters=[MetadataFilter(key="tags", operator="contains", value="a")]),
        ]
    )
    hits = await search.search(SearchRequest("vector", limit=10, embedding=vector("q"), filters=filter_group(filters)))
    assert [hit.metadata["source"] for hit in hits] == ["ten-string"]


async def test_document_and_node_ids_are_compared_as_text(search):
    everything = await search.search(SearchRequest("vector", limit=100, embedding=vector("q")))
    target = everything[3]
    by_document = await search.search(
        SearchRequest("vector", limit=100, embedding=vector("q"), document_ids=[target.document_id, "1 OR 1=1"])
    )
    by_node = await search.search(SearchRequest("vector", limit=100, embedding=vector("q"), node_ids=[target.node_id]))
    assert [hit.node_id for hit in by_document] == [hit.node_id for hit in by_node] == [target.node_id]
    assert not await search.search(SearchRequest("vector", limit=9, embedding=vector("q"), document_ids=[]))


async def test_hybrid_scores_are_reciprocal_ranks_of_both_legs(database):
    generation = await make_collection(database)
    texts = {f"d{number}": (f"common words number{number}", {}) for number in range(30)}
    texts["needle"] = ("random_page_cost is a planner constant", {})
    await fill(database, generation, texts)
    settings = RetrievalSettings(rrf_k=60, dense_weight=1, lexical_weight=1)
    search = ChunkSearch(database, generation=generation, settings=settings)
    query = {"embedding": vector("common words number7"), "text": "planner constant number7"}
    dense = await search.search(SearchRequest("vector", limit=31, **query))
    lexical = await search.search(SearchRequest("keyword", limit=31, **query))
    fused = await search.search(SearchRequest("hybrid", limit=31, **query))
    expected = {}
    for leg in (dense, lexical):
        for rank, hit in enumerate(leg, start=1):
            expected[hit.node_id] = expected.get(hit.node_id, 0) + 1 / (60 + rank)
    assert {hit.node_id: pytest.approx(hit.score) for hit in fused} == expected
    assert [hit.score for hit in fused] == sorted((hit.score for hit in fused), reverse=True)
    assert fused[0].metadata["source"] == "d7"
    assert {hit.metadata["source"] for hit in lexical} == {"needle", "d7"}


async def test_min_score_is_a_bar_on_the_cosine_in_both_modes(search):
    query = {"embedding": vector("text of ten"), "text": "text"}
    for mode in ("vector", "hybrid"):
        hits = await search.search(SearchRequest(mode, limit=50, min_score=0.9, **query))
        assert [hit.metadata["source"] for hit in hits] == ["ten"]
        assert hits[0].scores["dense"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", ["", "the of and", "'", "\\", "a & b | !c <-> :*", "🦄", "(", "it's 'quoted' \\ text"])
async def test_any_question_can_be_searched_for_by_keyword(search, text):
    for mode in ("keyword", "hybrid"):
        await search.search(SearchRequest(mode, limit=5, embedding=vector("q"), text=text))


@pytest.fixture
async def through_the_index(database):
    """Open the database anew, with plans that read the HNSW index in order, as for a big table."""
    async with database.connection() as connection:
        name = await connection.fetchval("SELECT current_database()")
        for plan in ("seqscan", "bitmapscan", "sort"):
            await connection.execute(f"ALTER DATABASE {name} SET enable_{plan} = off")
    settings = database._settings
    opened = await Database.open(settings.url.get_secret_value(), settings=settings)
    yield opened
    await opened.close()


async def test_more_results_than_ef_search_are_given(database, through_the_index):
    generation = await make_collection(database)
    await fill(database, generation, {f"d{number}": (f"text {number}", {}) for number in range(300)})
    settings = RetrievalSettings(ef_search=10, candidates=10)
    search = ChunkSearch(through_the_index, generation=generation, settings=settings)
    assert len(await search.search(SearchRequest("vector", limit=100, embedding=vector("q")))) == 100


async def test_a_filtered_search_through_the_index_fills_the_page(database, through_the_index):
    """The stock store gave 0.8 of 10 rows here: HNSW filters what it found, and stops."""
    generation = await make_collection(database)
    texts = {f"d{number}": (f"text {number}", {"rare": number % 50 == 0}) for number in range(1000)}
    await fill(database, generation, texts)
    settings = RetrievalSettings(ef_search=10, candidates=10)
    search = ChunkSearch(through_the_index, generation=generation, settings=settings)
    rare = FilterGroup(filters=[one("==", value=True, key="rare")])
    hits = await search.search(SearchRequest("vector", limit=10, embedding=vector("q"), filters=rare))
    assert len(hits) == 10
    assert all(hit.metadata["rare"] for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
