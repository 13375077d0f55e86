"""Golden files: written by hand and by programs of others."""

from __future__ import annotations

import json

import pytest

from ingestion.runs import gate
from relevance.errors import InvalidGolden
from relevance.golden import GoldenPassage, GoldenQuestion
from relevance.reading import MAX_LINE_BYTES, read_golden

RIGHT = {"question": "q", "documents": ["d"]}
FEEDBACK = {
    "id": "1",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "rating": "up",
    "comment": None,
    "created_at": "2026-11-22T00:00:00+00:00",
    "updated_at": "2026-11-22T00:00:00+00:00",
    "question": "Who built it?",
    "answer": "Milada Novak [1]",
    "document_ids": ["lighthouse"],
    "conversation_id": None,
    "collection": "default",
    "generation": "1",
    "model": "m",
}


def write(path, *lines):
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "golden.jsonl"


def test_every_member_of_a_line_is_read_and_written_alike(path):
    golden = GoldenQuestion(
        "Which port?",
        documents=frozenset(["a.md", "b.md"]),
        passages=(GoldenPassage("a.md", start=0, end=10), GoldenPassage(text="the port is 8000")),
        answers=("8000",),
        id="q1",
        answer="It is 8000.",
        filters={"filters": [{"key": "year", "value": 2026}]},
        grades={"a.md": 3},
        kind="identifier",
    )
    assert read_golden(write(path, golden.json_line())).questions == (golden,)


def test_the_lines_that_the_gate_reads_today_stay_valid(path):
    (golden,) = read_golden(write(path, RIGHT)).questions
    assert golden == GoldenQuestion("q", documents=frozenset(["d"]))


def test_a_question_alone_is_a_golden_question_and_tells_nothing_of_what_is_right(path):
    (golden,) = read_golden(write(path, {"question": "q"})).questions
    assert not golden.named_documents
    assert not golden.unanswerable


def test_a_byte_order_mark_empty_lines_and_windows_line_ends_do_no_harm(path):
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(RIGHT).encode() + b'\r\n\r\n{"question": "r", "documents": ["d"]}')
    assert [golden.question for golden in read_golden(path).questions] == ["q", "r"]


def test_a_line_separator_within_a_text_does_not_end_the_line(path):
    path.write_text('{"question": "one\u2028two", "documents": ["d"]}', encoding="utf-8")
    assert read_golden(path).questions[0].question == "one\u2028two"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("nonsense", "is no JSON object"),
        ("[]", "is no JSON object"),
        ("[" * 100_000, "is no JSON object"),
        ('{"a":' * 100_000, "is no JSON object"),
        ("NaN", "is no JSON object"),
        ("1" * 10_000, "is no JSON object"),
        ('{"question": "a", "question": "b"}', "stands there twice"),
        ({"documents": ["d"]}, '"question" is missing'),
        ({"question": 7}, '"question" must be a text'),
        ({"question": " \n"}, '"question" must be a text'),
        ({"question": "x" * 8001}, "1 to 8000 characters"),
        ({"question": "a\0b"}, "without NUL"),
        ('{"question": "half \\ud800"}', "without NUL characters and halves"),
        ({**RIGHT, "document": "d"}, "there is no member 'document'"),
        ({"question": "q", "documents": []}, '"documents" must be a list'),
        ({"question": "q", "documents": "d"}, '"documents" must be a list'),
        ({"question": "q", "documents": ["d"] * 1001}, '"documents" must be a list'),
        ({"question": "q", "answers": [None]}, '"answers" must be a list'),
        ({"question": "q", "unanswerable": 1}, "must be true or false"),
        ({**RIGHT, "unanswerable": True}, "nothing is right, but"),
        ({"question": "q", "passages": [{"start": 0, "end": 1}]}, 'each of "passages"'),
        ({"question": "q", "passages": [{"document": "d", "start": 5, "end": 5}]}, 'each of "passages"'),
        ({"question": "q", "passages": [{"document": "d", "start": True, "end": 5}]}, 'each of "passages"'),
        ({"question": "q", "passages": [{"document": "d", "start": 0, "end": 10**400}]}, 'each of "passages"'),
        ({"question": "q", "passages": [{"document": "d", "text": "t", "start": 0, "end": 1}]}, 'each of "passages"'),
        ({"question": "q", "passages": {}}, '"passages" must be a list'),
        ({**RIGHT, "grades": {"d": 0}}, '"grades" must be an object'),
        ({**RIGHT, "grades": {"other": 2}}, '"grades" must name'),
        ({**RIGHT, "filters": {"key": "k"}}, '"filters" must be as in the API'),
    ],
)
def test_a_line_that_is_no_golden_question_is_refused_with_its_number_and_what_is_wanted(path, line, wanted):
    with pytest.raises(InvalidGolden, match="line 2: ") as refused:
        read_golden(write(path, {"question": "first"}, line))
    assert wanted in str(refused.value)


def test_a_line_without_end_is_not_read_to_its_end(path):
    path.write_text('{"question": "' + "x" * (MAX_LINE_BYTES + 10))
    with pytest.raises(InvalidGolden, match="line 1: it is too long"):
        read_golden(path)


def test_a_file_that_is_missing_or_a_folder_or_empty_is_refused(tmp_path, path):
    path.write_text("\n\n")
    with pytest.raises(InvalidGolden, match="it holds 0 questions"):
        read_golden(path)
    for name in ("missing", "."):
        with pytest.raises(InvalidGolden, match="cannot be read"):
            read_golden(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_refused(path, encoding):
    path.write_bytes('{"question": "Öl"}'.encode(encoding))
    with pytest.raises(InvalidGolden, match="cannot be read as UTF-8"):
        read_golden(path)


def test_a_question_that_stands_there_twice_is_refused_unless_its_filters_differ(path):
    with pytest.raises(InvalidGolden, match="line 3: the question stands in line 1"):
        read_golden(write(path, RIGHT, {"question": "other"}, {**RIGHT, "question": " q "}))
    filtered = {**RIGHT, "filters": {"filters": [{"key": "year", "value": 2026}]}}
    assert len(read_golden(write(path, RIGHT, filtered)).questions) == 2


def test_two_questions_of_one_id_are_refused(path):
    with pytest.raises(InvalidGolden, match="line 2: the id stands in line 1"):
        read_golden(write(path, {"question": "a", "id": "1"}, {"question": "b", "id": "1"}))


def test_a_good_answer_of_the_feedback_export_makes_its_cited_documents_the_right_ones(path):
    bad, silent = {**FEEDBACK, "rating": "down"}, {**FEEDBACK, "question": None}
    again = {**FEEDBACK, "trace_id": "0" * 32}
    golden = read_golden(write(path, FEEDBACK, bad, silent, {**FEEDBACK, "document_ids": []}, again))
    assert golden.skipped == 4
    (question,) = golden.questions
    assert (question.question, question.documents) == ("Who built it?", {"lighthouse"})
    assert (question.answer, question.kind) == ("Milada Novak [1]", "feedback")


def test_an_export_with_bad_answers_only_says_why_it_holds_no_questions(path):
    with pytest.raises(InvalidGolden, match=r"0 questions \(1 lines of feedback"):
        read_golden(write(path, {**FEEDBACK, "rating": "down"}))


def test_a_question_keeps_its_key_wherever_its_line_stands(path):
    first = read_golden(write(path, RIGHT, {"question": "r"})).questions
    second = read_golden(write(path, {"question": "r"}, RIGHT)).questions
    assert [each.key for each in first] == [each.key for each in reversed(second)]


def test_the_gate_leaves_questions_without_an_answer_out_and_takes_passages_for_documents(path):
    passage = {"question": "p", "passages": [{"document": "d", "start": 0, "end": 9}]}
    golden = gate.read_golden(write(path, RIGHT, passage, {"question": "u", "unanswerable": True}))
    assert [each.named_documents for each in golden] == [{"d"}, {"d"}]


@pytest.mark.parametrize(
    "line",
    [{"question": "r"}, {"question": "r", "answers": ["a"]}, {**RIGHT, "question": "r", "filters": {"filters": 7}}],
)
def test_the_gate_refuses_a_question_that_it_cannot_use_by_its_line(path, line):
    with pytest.raises(gate.InvalidGate, match=r"--gate .*, line 2: "):
        gate.read_golden(write(path, RIGHT, line))


def test_the_gate_refuses_a_file_of_unanswerable_questions(path):
    with pytest.raises(gate.InvalidGate, match="0 questions that have an answer"):
        gate.read_golden(write(path, {"question": "u", "unanswerable": True}))
