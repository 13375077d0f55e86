"""Which hits become passages: near-duplicates, caps, neighbours joined."""

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from llama_index.core.schema import NodeWithScore
from support.soak import examples

from server.engines.passages.near_duplicates import Wording
from server.engines.passages.selection import Selection, SelectPassages
from server.engines.record import Record
from storage.documents.text import _blanks
from storage.vector_store import make_node

GERMAN = (
    "Der Leuchtturm von Ostrau wurde im Jahr 1871 von der Ingenieurin Milada Novak gebaut und steht seither auf dem "
    "Felsen vor der Küste, wo er den Schiffen den Weg in den kleinen Hafen weist."
)
ENGLISH = (
    "Autovacuum removes dead rows from the table, and keeps the statistics of the planner fresh. It starts by itself "
    "once more than a share of the rows have changed, so that most people need not think of it at all; those who "
    "write a lot may want it to run more often, and to let it take more of the disk while it is at work."
)
CHINESE = (
    "自动清理会删除表中的死行,并保持规划器的统计信息最新。"
    "当超过一定比例的行发生变化时,它会自行启动,因此大多数人根本不必考虑它。"
)
TABLE = (
    "| setting | default | unit |\n| work_mem | 4 | MB |\n| maintenance_work_mem | 64 | MB |\n| temp_buffers | 8 | MB |"
)
CODE = (
    "def area(width, height):\n    if width < 0 or height < 0:\n        raise ValueError\n    return width * height\n"
)


def hit(text, *, document="d", index=0, start=0, score=1.0):
    node = make_node(
        f"{document}-{index}",
        document_id=document,
        text=text,
        metadata={"chunk_index": index, "title": document},
        start=start,
        end=start + len(text),
    )
    return NodeWithScore(node=node, score=score)


def selected(hits, *, record=None, **selection):
    chosen = SelectPassages(Selection(**{"k": 10} | selection), record=record or Record())
    return chosen.postprocess_nodes(list(hits))


def ids(nodes):
    return [found.node.node_id for found in nodes]


def repeats(first, second, share=0.9):
    return Wording(second).is_repeated_by(Wording(first), share=share)


@pytest.mark.parametrize("text", [GERMAN, ENGLISH, CHINESE, TABLE, CODE, "Yes.", "是"])
def test_the_same_text_is_a_near_duplicate_of_itself(text):
    assert repeats(text, text)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ENGLISH, ENGLISH.replace("  ", " ").replace(", ", ",\n").upper()),
        (ENGLISH, ENGLISH.replace("at all; those", "at all. Those")),
        (ENGLISH, ENGLISH.replace("a lot", "much")),
        (ENGLISH, ENGLISH.partition(". ")[2]),  # all of it is in the first
        (GERMAN, GERMAN.replace("seither", "seitdem")),
        (CHINESE, CHINESE.replace("根本", "")),
        (CODE, CODE.replace("    ", "\t")),
    ],
)
def test_a_text_that_says_nearly_the_same_is_one(first, second):
    assert repeats(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ENGLISH.partition(". ")[2], ENGLISH),  # the second one says more
        (GERMAN, GERMAN.replace("1871", "1872")),
        (GERMAN, GERMAN.replace("Milada", "Jana")),
        (GERMAN, GERMAN.replace("wurde im", "wurde nicht im")),
        (ENGLISH, ENGLISH.replace("need not", "need")),
        (ENGLISH, ENGLISH.replace("may want it", "may not want it")),
        (CHINESE, CHINESE.replace("大多数", "少数")),
        (CHINESE + "共有三项。", CHINESE + "共有四项。"),
        (TABLE, TABLE.replace("| 4 |", "| 8 |")),
        (TABLE, TABLE.replace("| 64 |", "| -64 |")),
        (TABLE, TABLE.replace("temp_buffers", "wal_buffers")),
        (CODE, CODE.replace("<", ">")),
        (f"{ENGLISH} It costs 5 € and then 9 €.", f"{ENGLISH} It costs 9 € and then 5 €."),
        (f"{ENGLISH} Use 5 %.", f"{ENGLISH} Use 5 €."),
        (ENGLISH, GERMAN),
        ("", ""),
        ("...", "..."),
    ],
)
def test_a_text_that_differs_in_what_counts_is_none(first, second):
    assert not repeats(first, second)


def test_of_near_duplicates_the_better_ranked_stays():
    hits = [hit(ENGLISH, document="b"), hit(GERMAN, document="c"), hit(ENGLISH, document="a")]
    assert ids(selected(hits, near_duplicate=0.9)) == ["b-0", "c-0"]
    assert ids(selected(hits)) == ["b-0", "c-0", "a-0"]


def test_what_chunks_of_a_document_have_in_common_by_their_overlap_makes_no_duplicates():
    first, second = hit(ENGLISH, index=0), hit(ENGLISH[5:] + " And on.", index=1, start=5)
    assert ids(selected([first, second], near_duplicate=0.9)) == ["d-0", "d-1"]


def test_a_document_has_no_more_passages_than_its_cap():
    hits = [hit(f"text {n}", document="ab"[n % 3 == 2], index=n, start=100 * n) for n in range(6)]
    assert ids(selected(hits, max_per_document=1)) == ["a-0", "b-2"]
    assert ids(selected(hits, max_per_document=2)) == ["a-0", "a-1", "b-2", "b-5"]


def test_neighbours_become_one_passage_where_the_best_of_them_was():
    text = "One two three. Four five six. Seven eight nine. Ten."
    spans = [(0, 29), (15, 47), (48, 52)]
    first, second, third = (hit(text[a:b], index=n, start=a, score=1 - n) for n, (a, b) in enumerate(spans))
    other, record = hit("Something else.", document="e"), Record()
    (joined, rest) = selected([second, other, third, first], record=record, longest=1000)
    assert joined.node.text == text[:47] + "\n" + text[48:]
    assert (joined.node.start_char_idx, joined.node.end_char_idx) == (0, 52)
    assert (joined.node.node_id, joined.score, rest.node.node_id) == ("d-1", 0, "e-0")
    assert record.chunks["d-1"] == (0, 1, 2)
    assert record.chunks["e-0"] == (0,)


def test_a_hit_between_two_passages_makes_them_one_and_gives_a_place_to_the_next():
    hits = [hit(f"chunk {n} ", index=n, start=8 * n) for n in (0, 2, 1)] + [hit("next", document="e")]
    assert ids(selected(hits, k=2, longest=100)) == ["d-0", "d-2"]  # those ranked below the last one do not count
    assert ids(selected(hits, k=3, longest=100)) == ["d-0", "e-0"]


def test_no_joined_passage_is_longer_than_is_allowed():
    hits = [hit("x" * 100, index=n, start=100 * n) for n in range(10)]
    lengths = [len(found.node.text) for found in selected(hits, longest=250)]
    assert max(lengths) == 200
    assert sum(lengths) == 1000


def test_nodes_without_a_place_are_not_joined():
    first, second = hit("What others", index=0), hit("have written", index=1)  # both begin at 0, as LlamaIndex's may
    assert len(selected([first, second], longest=1000)) == 2


def test_chunks_far_apart_are_not_joined_though_they_follow_each_other():
    first, second = hit("one", index=0), hit("two", index=1, start=5000)
    assert len(selected([first, second], longest=100_000)) == 2


WORDS = st.lists(st.integers(0, 10_000).map(lambda n: f"w{n}"), min_size=30, max_size=120, unique=True)


@st.composite
def rankings(draw):
    """Draw documents, cut them into overlapping chunks as ours are, and rank some of those."""
    hits, texts = [], {}
    for document in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)):
        text = " ".join(f"{document}{word}" for word in draw(WORDS))
        text = re.sub(r" (?=\w+5)", "\n\n", text)
        begins = [match.start() for match in re.finditer(r"\S+", text)]
        size, overlap = draw(st.integers(5, 12)), draw(st.integers(0, 4))
        for index, first in enumerate(range(0, len(begins), size)):
            start = begins[max(0, first - overlap)]
            end = begins[first + size] if first + size < len(begins) else len(text)
            hits.append(hit(text[start:end].rstrip(), document=document, index=index, start=start))
        texts[document] = text
    ranked = draw(st.permutations(hits))[: draw(st.integers(1, len(hits)))]
    return texts, [NodeWithScore(node=one.node, score=-float(rank)) for rank, one in enumerate(ranked)]


@given(
    drawn=rankings(),
    k=st.integers(1, 12),
    cap=st.none() | st.integers(1, 3),
    longest=st.none() | st.integers(100, 2000),
    duplicates=st.sampled_from([None, 0.9]),
)
@hypothesis_settings(deadline=None, max_examples=examples(100))
def test_whatever_is_ranked_passages_are_few_in_order_and_the_documents_own_text(drawn, k, cap, longest, duplicates):
    texts, ranked = drawn
    options = {"k": k, "max_per_document": cap, "longest": longest, "near_duplicate": duplicates}
    record = Record()
    chosen = selected(ranked, record=record, **options)
    assert 1 <= len(chosen) <= k
    scores = [found.score for found in chosen]
    assert scores == sorted(scores, reverse=True)
    assert chosen[0].score == 0
    for found in chosen:
        node = found.node
        own = texts[node.ref_doc_id][node.start_char_idx : node.end_char_idx]
        assert _unblanked(node.text) == _unblanked(own)
        assert len(node.text) == len(own)
        assert node.metadata["chunk_index"] in record.chunks[node.node_id]
        assert not longest or len(own) <= max(longest, len(node.text) if len(record.chunks[node.node_id]) == 1 else 0)
    covered = [(found.node.ref_doc_id, index) for found in chosen for index in record.chunks[found.node.node_id]]
    assert len(covered) == len(set(covered))
    by_document = [found.node.ref_doc_id for found in chosen]
    assert not cap or all(by_document.count(document) <= cap for document in texts)
    if not (cap or longest or duplicates):
        assert chosen == ranked[:k]
    assert selected(chosen, record=record, **options) == chosen


def _unblanked(text):
    return re.sub(r"\s", " ", text)


@pytest.mark.parametrize("gap", [1, 2, 3, 50])
def test_between_joined_chunks_are_the_blanks_that_a_documents_text_has_there(gap):
    joined = selected([hit("one", index=0), hit("two", index=1, start=3 + gap)], longest=100)
    assert joined[0].node.text == f"one{_blanks(gap)}two"


def test_it_can_be_awaited():
    chosen = SelectPassages(Selection(k=1), record=Record())
    assert ids(asyncio.run(chosen.apostprocess_nodes([hit("a"), hit("b", index=1)]))) == ["d-0"]
