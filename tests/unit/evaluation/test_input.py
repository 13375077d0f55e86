"""What comes in: arguments, settings, public data sets."""

from __future__ import annotations

import json

import pytest

from evaluation.__main__ import main
from evaluation.arguments import parse_arguments
from evaluation.asking import Variant, request_body
from evaluation.converting import convert_beir, convert_squad, file_name
from evaluation.errors import EvaluationRefused
from evaluation.opening import chosen_settings
from relevance.golden import GoldenQuestion
from relevance.reading import read_golden

SQUAD = {
    "data": [
        {
            "title": "../Ostrava Bay",
            "paragraphs": [
                {
                    "context": "The lighthouse was built in 1871.",
                    "qas": [
                        {"id": "1", "question": "When?", "answers": [{"text": "1871", "answer_start": 28}] * 2},
                        {"id": "2", "question": "By whom?", "answers": [], "is_impossible": True},
                    ],
                },
                {
                    "context": "Rebuilt in 1902.",
                    "qas": [{"id": "3", "question": "When?", "answers": [{"text": "1902"}]}],
                },
            ],
        }
    ]
}


def parsed(*arguments):
    return parse_arguments(["run", "golden.jsonl", *arguments], description="d")


def test_engines_are_named_with_options_of_a_request():
    engines = parsed("--engine", "hybrid, vector+rerank,hybrid+max_per_document=2").engine
    assert engines == (
        Variant("hybrid", "hybrid"),
        Variant("vector+rerank", "vector", {"rerank": True}),
        Variant("hybrid+max_per_document=2", "hybrid", {"max_per_document": 2}),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--engine", ","),
        ("--engine", "hybrid,hybrid"),
        ("--engine", "hybrid+k=3"),
        ("--k", "0"),
        ("--k", "101"),
        ("--k", "\u0661"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        parsed(*arguments)
    assert "error: argument" in capsys.readouterr().err


def test_settings_are_set_by_their_path_and_typed():
    settings = chosen_settings(["retrieval.rrf_k=20", "rerank.provider=llm", "retrieval.dense_weight=0.5"])
    assert (settings.retrieval.rrf_k, settings.retrieval.dense_weight, settings.rerank.provider) == (20, 0.5, "llm")


def test_measuring_uses_no_cache_and_starts_no_worker():
    settings = chosen_settings([])
    assert (settings.cache.embedding_bytes, settings.cache.answers, settings.jobs.worker) == (0, False, "never")


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("retrieval.rrfk=20", "did you mean retrieval.rrf_k"),
        ("retrieval.rrf_k", "KEY=VALUE"),
        ("retrieval=1", "KEY=VALUE"),
        ("nonsense=1", "KEY=VALUE"),
        ("retrieval.rrf_k=many", "FOOTNOTE_RETRIEVAL__RRF_K"),
        ("retrieval.rrf_k=-1", "FOOTNOTE_RETRIEVAL__RRF_K"),
    ],
)
def test_a_setting_that_there_is_not_or_a_wrong_value_ends_the_command_with_2(tmp_path, assignment, reason, capsys):
    assert main(["run", str(tmp_path / "golden.jsonl"), "--set", assignment]) == 2
    assert reason in capsys.readouterr().err


def test_an_option_that_the_api_does_not_know_is_refused():
    with pytest.raises(EvaluationRefused, match="colour"):
        request_body(GoldenQuestion("q"), collection="docs", k=3, variant=Variant("v", "vector", {"colour": "red"}))


def test_filters_that_the_api_does_not_take_are_refused_by_their_line():
    golden = GoldenQuestion("q", filters={"filters": [{"key": "k", "operator": "~"}]}, line=7)
    with pytest.raises(EvaluationRefused, match="line 7, filters"):
        request_body(golden, collection="docs", k=3, variant=Variant("v", "vector"))


def test_squad_becomes_golden_questions_and_text_files(tmp_path):
    (tmp_path / "squad.json").write_text(json.dumps(SQUAD))
    golden = convert_squad(tmp_path / "squad.json", documents=tmp_path / "texts")
    files = {file.name: file.read_text() for file in (tmp_path / "texts").iterdir()}
    assert set(files.values()) == {"The lighthouse was built in 1871.", "Rebuilt in 1902."}
    when, by_whom = golden
    assert (when.answers, when.documents) == (("1871", "1902"), frozenset(files))  # asked of two paragraphs
    assert (by_whom.unanswerable, by_whom.documents) == (True, frozenset())
    assert not convert_squad(tmp_path / "squad.json", documents=None)[0].documents


def test_beir_becomes_golden_questions_with_grades_and_text_files(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "d/1", "title": "Bay", "text": "lit at dusk"}\n{"_id": "..", "text": "other"}\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "when lit"}\n{"_id": "q2", "text": "unjudged"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td/1\t2\nq1\t..\t1\nq1\tz\t0\n")
    (golden,) = convert_beir(tmp_path, documents=tmp_path / "texts")
    assert (golden.id, golden.documents, golden.grades) == ("q1", {"d%2F1.txt", "document.txt"}, {"d%2F1.txt": 2})
    assert (tmp_path / "texts" / "d%2F1.txt").read_text() == "Bay\n\nlit at dusk"
    assert convert_beir(tmp_path, documents=None)[0].documents == {"d/1", ".."}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", ".hidden", "a\\b", "x" * 5000, "ü\0", ""])
def test_no_name_of_a_data_set_leads_out_of_the_folder(name, tmp_path):
    made = (tmp_path / file_name(name)).resolve()
    assert made.parent == tmp_path
    made.write_text("")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"data": 7}', '{"data": [{}]}', '{"data": [{"paragraphs": [{"qas": [7]}]}]}']
)
def test_a_file_that_has_not_squads_layout_is_refused(tmp_path, text):
    (tmp_path / "squad.json").write_text(text)
    with pytest.raises(EvaluationRefused, match="SQuAD's layout"):
        convert_squad(tmp_path / "squad.json", documents=None)


@pytest.mark.parametrize(
    ("queries", "qrels", "reason"),
    [
        ("nonsense", "query-id\tcorpus-id\tscore\n", "line 1: an object with _id, text"),
        ('{"_id": "q"}', "query-id\tcorpus-id\tscore\n", "an object with _id, text"),
        ('{"_id": "q", "text": "t"}', "q 0 d 1\nq 0 e 1\n", "BEIR's layout"),
        ('{"_id": "q", "text": "t"}', "query-id\tcorpus-id\tscore\nq\td\tmany\n", "BEIR's layout"),
        ('{"_id": "q", "text": "t"}', "query-id\tcorpus-id\tscore\n", "no questions"),
        ('{"_id": "q", "text": "t"}', None, "cannot be read"),
    ],
)
def test_a_folder_that_has_not_beirs_layout_is_refused(tmp_path, queries, qrels, reason):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text(queries)
    if qrels is not None:
        (tmp_path / "qrels" / "test.tsv").write_text(qrels)
    with pytest.raises(EvaluationRefused, match=reason):
        convert_beir(tmp_path, documents=None)


def test_the_command_converts_into_a_file_that_can_be_read_again(tmp_path, capsys):
    (tmp_path / "squad.json").write_text(json.dumps(SQUAD))
    output = tmp_path / "golden.jsonl"
    texts = tmp_path / "texts"
    assert main(["convert", "squad", str(tmp_path / "squad.json"), "-o", str(output), "--documents", str(texts)]) == 0
    assert len(read_golden(output).questions) == 2
    assert "python -m ingestion" in capsys.readouterr().err
    assert main(["convert", "squad", str(tmp_path / "squad.json"), "-o", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err
