"""From the results of questions to figures, floors, comparisons and pages."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from evaluation import tables
from evaluation.comparing import Side, between, compare, only, within
from evaluation.errors import EvaluationRefused
from evaluation.floors import held, read_floors
from evaluation.judges import parse_score
from evaluation.report import comparison_page, run_page
from evaluation.results import AnswerResult, GoldenFile, PassageResult, QuestionResult, RunResult, read_result
from evaluation.summing import summed

HOSTILE = "<script>alert(1)</script>[red]{{ 7*7 }}$x^2$\x1b[31m</details>"


def question(number, ndcg, *, found=1, **more):
    passages = [PassageResult(document_id="d", source="a.md", start=0, end=9, score=1.0, right=True, text="t")] * found
    values = {
        "id": f"q{number}",
        "question": f"question {number}",
        "kind": "",
        "unanswerable": False,
        "expected": ["a.md"],
        "metrics": {} if ndcg is None else {"documents": {"ndcg@10": ndcg, "recall@10": float(ndcg > 0)}},
        "latency_ms": 10.0 * (number + 1),
        "timings_ms": {"retrieve": 5.0, "total": 9.0},
        "found": passages,
    }
    return QuestionResult(**{**values, **more})


def engine(name, *ndcg, **more):
    return summed([question(number, value, **more) for number, value in enumerate(ndcg)], engine=name, generation="1")


def run(*engines):
    golden = GoldenFile(name="golden.jsonl", sha256="0" * 64, questions=3, skipped=0)
    return RunResult(
        footnote="0",
        created_at="now",
        golden=golden,
        collection="docs",
        k=10,
        asked="here",
        settings=[],
        engines=engines,
    )


def printed(renderable):
    target = StringIO()
    Console(file=target, width=110, highlight=False).print(renderable)
    return target.getvalue()


def test_a_question_that_failed_counts_in_no_figure():
    made = summed([question(0, 1.0), question(1, None, error="503")], engine="hybrid", generation="1")
    assert made.failed == 1
    assert made.metrics["documents"]["ndcg@10"].questions == 1
    assert made.latency_ms.p95 == 10


def test_questions_without_an_answer_are_counted_apart():
    questions = [
        question(0, None, unanswerable=True, found=0),
        question(1, None, unanswerable=True),
        question(2, 0.0, found=0),
    ]
    made = summed(questions, engine="hybrid", generation="1")
    assert made.no_answer
    assert (made.no_answer.rate, made.no_answer.precision) == (0.5, 0.5)
    assert made.metrics["documents"]["ndcg@10"].questions == 1
    assert engine("hybrid", 1.0).no_answer is None


def test_kinds_have_figures_of_their_own():
    made = summed([question(0, 1.0, kind="typo"), question(1, 0.0)], engine="hybrid", generation="1")
    assert {kind: levels["documents"]["ndcg@10"].mean for kind, levels in made.kinds.items()} == {"typo": 1.0}


@pytest.mark.parametrize(
    ("floor", "is_held"),
    [("ndcg@10=0.5", True), ("documents.ndcg@10=0.51", False), ("passages.ndcg@10=0", False), ("mrr@10=0", False)],
)
def test_a_floor_is_held_by_a_figure_that_reaches_it_and_by_none_that_is_missing(floor, is_held):
    (found,) = held(read_floors([floor], k=10), [engine("hybrid", 0.0, 1.0)])
    assert found.held is is_held


def test_every_engine_is_held_to_every_floor():
    found = held(read_floors(["ndcg@10=0.5", "recall@10=1"], k=10), [engine("a", 1.0), engine("b", 0.0)])
    assert [(each.engine, each.held) for each in found] == [("a", True), ("b", False), ("a", True), ("b", False)]


@pytest.mark.parametrize(
    "text", ["ndcg@5=0.5", "ndcg@10", "ndcg@10=", "ndcg@10=1.2.3", "chunks.ndcg@10=1", "=", "x=nan"]
)
def test_a_floor_of_no_figure_is_refused_with_the_names_that_there_are(text):
    with pytest.raises(EvaluationRefused, match=r"ndcg@10=0\.8; names are .*faithfulness"):
        read_floors([text], k=10)


def test_a_comparison_goes_question_by_question_and_names_those_that_changed_most():
    found = compare(Side("a", engine("a", 1.0, 0.5, 0.2, 0.3)), Side("b", engine("b", 1.0, 1.0, 0.1)))
    assert (found.questions, found.left_out, found.main) == (3, 1, ("documents", "ndcg@10"))
    difference = found.differences["documents"]["ndcg@10"]
    assert (difference.wins, difference.losses, difference.ties) == (1, 1, 1)
    assert [each.question for each in found.changes] == ["question 1", "question 2"]


def test_questions_that_failed_for_one_of_the_two_are_left_out():
    first = summed([question(0, 1.0), question(1, None, error="503")], engine="a", generation="1")
    assert compare(Side("a", first), Side("b", engine("b", 0.0, 0.0))).questions == 1


def test_judged_answers_are_compared_too():
    answers = [AnswerResult(text="t", scores={"correctness": score}) for score in (2.0, 5.0)]
    sides = [Side(str(place), engine("a", 1.0, answer=answer)) for place, answer in enumerate(answers)]
    assert compare(*sides).differences["judged"]["correctness"].interval.mean == 3


def test_two_runs_are_compared_engine_by_engine_and_single_engines_whatever_they_are_called():
    both = run(engine("hybrid", 1.0), engine("vector", 0.0))
    assert [each.second.name for each in between(both, both, names=("a", "b"))] == ["b: hybrid", "b: vector"]
    assert between(only(both, "hybrid"), only(both, "vector"), names=("a", "b"))[0].second.name == "b: vector"
    assert [each.second.name for each in within(both)] == ["vector"]


def test_runs_without_anything_in_common_are_not_compared():
    two, others = run(engine("a", 1.0), engine("b", 1.0)), run(engine("c", 1.0), engine("d", 1.0))
    with pytest.raises(EvaluationRefused, match="no engine in common"):
        between(two, others, names=("x", "y"))
    with pytest.raises(EvaluationRefused, match="no question in common"):
        compare(Side("a", engine("a")), Side("b", engine("b", 1.0)))
    with pytest.raises(EvaluationRefused, match="there are a, b"):
        only(two, "c")


def test_a_run_is_read_as_it_was_written(tmp_path):
    made = run(engine("hybrid", 1.0, 0.0))
    (tmp_path / "run.json").write_text(made.model_dump_json())
    assert read_result(tmp_path / "run.json") == made


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"schema_version": 2}', "[" * 100_000])
def test_a_file_that_is_no_run_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(EvaluationRefused, match="no result of `python -m evaluation run --json`, version 1"):
        read_result(tmp_path / "run.json")
    with pytest.raises(EvaluationRefused, match="cannot be read"):
        read_result(Path(tmp_path))


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("4.5\nVery good.", 4.5),
        ("3", 3),
        ("Score: 5\nfine", 5),
        ("**2**\nno", 2),
        ("", None),
        ("good", None),
        ("10", None),
        ("7.5", None),
    ],
)
def test_a_score_is_read_from_replies_of_any_shape(reply, score):
    assert parse_score(reply)[0] == score


def hostile_run():
    passage = PassageResult(document_id=HOSTILE, source=HOSTILE, start=0, end=9, score=1.0, right=False, text=HOSTILE)
    answer = AnswerResult(text=HOSTILE, scores={"faithfulness": 1.0}, failures={"relevancy": HOSTILE})
    more = {"question": HOSTILE, "kind": HOSTILE, "expected": [HOSTILE], "found": 0, "answer": answer}
    first, second = (engine(name, 0.0, 0.5, **more) for name in ("hybrid", "vector+x=$1$"))
    worse = [each.model_copy(update={"found": [passage], "error": None}) for each in second.questions]
    worse[0] = worse[0].model_copy(update={"metrics": {"documents": {"ndcg@10": 1.0, "recall@10": 1.0}}})
    made = run(first, second.model_copy(update={"questions": worse}))
    return made.model_copy(update={"collection": HOSTILE, "judge": HOSTILE, "asked": HOSTILE, "settings": [HOSTILE]})


def test_the_page_of_a_run_escapes_what_others_wrote_and_loads_nothing():
    made = hostile_run()
    comparisons = within(made)
    assert comparisons[0].changes
    for page in (run_page(made, comparisons), comparison_page(comparisons)):
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "{{ 7*7 }}" in page
        assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)|url\((?!#)|@import|<link|<iframe|<img""", page)
        assert "default-src 'none'" in page
        assert page.count("<svg") == page.count("</svg>") >= 1


def test_ids_within_the_plots_of_a_page_are_their_own():
    made = run(engine("hybrid", 1.0, 0.2), engine("vector", 0.1, 0.9))
    page = run_page(made, within(made))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 10
    assert {name for name in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page) for name in name if name} <= set(ids)


def test_tables_show_what_others_wrote_as_it_is_and_obey_none_of_it():
    made = hostile_run()
    text = printed(tables.run_tables(made)) + "".join(printed(tables.comparison_table(each)) for each in within(made))
    assert "\x1b" not in text
    assert "[red]" in text


def test_a_page_of_a_run_in_which_nothing_is_known_of_what_is_right_is_made():
    made = run(engine("hybrid", None, None))
    page = run_page(made, within(made))
    assert "What is right is not known" in page or "question 0" in page
    assert "documents" not in printed(tables.run_tables(made))
    assert json.loads(made.model_dump_json())["engines"][0]["metrics"] == {}
