"""Answers in the constrained form, decoded in whatever pieces they come."""

import json

import pytest
from support.written import written

from server.answers import Reasoning
from server.engines.record import Record
from server.engines.writing.constrained import answer_schema, decoded, written_as_json
from server.engines.writing.refusing import NO_ANSWER

TWO = {
    "answered": True,
    "sentences": [
        {"passages": [2], "text": 'Fuel is stored in block "C".'},
        {"passages": [1, 3], "text": "Ünly there."},
    ],
}
READ = 'Fuel is stored in block "C". [2] Ünly there. [1][3]'


async def read(*pieces):
    """Return the pieces of text that come of pieces of JSON."""
    record = Record()

    shown = []
    async for piece in decoded(
        written(*pieces, record=record), record=record, no_answer=NO_ANSWER, checked=lambda _, numbers: numbers
    ):
        record.thoughts.clear()
        shown.append(piece)
    return shown


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
async def test_sentences_come_with_their_markers_in_whatever_pieces(indent, ascii_only):
    raw = json.dumps(TWO, indent=indent, ensure_ascii=ascii_only)
    for size in (1, 2, 7, len(raw)):
        shown = await read(*(raw[start : start + size] for start in range(0, len(raw), size)))
        assert "".join(shown) == READ


async def test_text_is_shown_as_it_is_written():
    shown = await read('{"answered": true, "sentences": [{"passages": [1], "text": "Fuel is', " stored", '."}]}')
    assert shown == ["Fuel is", " stored", ". [1]"]


async def test_a_refusal_is_the_sentence_that_the_prompt_names():
    assert "".join(await read('{"answered": fal', 'se, "sentences": []}')) == NO_ANSWER


@pytest.mark.parametrize(
    "said",
    [
        "Fuel is in block C [2].",
        "{curly} is what the passages say.",
        "[1] says so.",
        "```sh\nls\n```",
    ],
)
async def test_what_a_server_writes_that_constrains_nothing_comes_through(said):
    assert "".join(await read(*said)) == said


async def test_an_answer_that_is_cut_keeps_what_was_said():
    raw = json.dumps(TWO)
    assert "".join(await read(raw[: raw.index("there")])) == 'Fuel is stored in block "C". [2] \u00dcnly '


@pytest.mark.parametrize(
    "raw", ['{"answered": true, "sentences": [1, {"text": null}, "x"]}', '{"answered": true}', "{}"]
)
async def test_json_of_another_form_says_nothing(raw):
    assert not "".join(await read(*raw)).strip()


async def test_what_turns_out_to_be_reasoning_is_forgotten():
    raw = json.dumps(TWO)
    shown = await read("I think ", Reasoning("", retracts=True), raw)
    assert "".join(shown[2:]) == READ


def test_the_schema_names_the_passages_and_examples_keep_it():
    sentence = answer_schema(3)["properties"]["sentences"]["items"]
    assert sentence["properties"]["passages"]["items"]["enum"] == [1, 2, 3]
    assert json.loads(written_as_json("Kept for 14 days [1]. Then dropped [2][3].", refuses=False)) == {
        "answered": True,
        "sentences": [
            {"passages": [1], "text": "Kept for 14 days."},
            {"passages": [2, 3], "text": "Then dropped."},
        ],
    }
    assert json.loads(written_as_json(NO_ANSWER, refuses=True)) == {"answered": False, "sentences": []}


@pytest.mark.parametrize(
    "around", ["\ufeff{}", "```json\n{}\n```", "\n{}", "{} That is all.", '{} {{"answered": false}}']
)
async def test_what_stands_around_the_json_is_left_out(around):
    raw = around.format(json.dumps(TWO)) if "{{" not in around else json.dumps(TWO) + ' {"answered": false}'
    for size in (1, 3, len(raw)):
        assert "".join(await read(*(raw[start : start + size] for start in range(0, len(raw), size)))) == READ


@pytest.mark.parametrize("sentences", [5, True, {"a": 1}, [[1]], [{"passages": [1], "text": ["X"]}], None])
async def test_sentences_of_other_types_say_nothing(sentences):
    raw = json.dumps({"answered": True, "sentences": sentences})
    assert not "".join(await read(*raw)).strip()


@pytest.mark.parametrize(
    ("passages", "shown"), [(1, " [1]"), (True, ""), ([True, 0, -1, 10**30, 2.0], ""), ("1", ""), ([3, 3], " [3]")]
)
async def test_numbers_are_numbers_of_passages(passages, shown):
    raw = json.dumps({"answered": True, "sentences": [{"passages": passages, "text": "So it is."}]})
    assert "".join(await read(raw)) == f"So it is.{shown}"


async def test_half_a_surrogate_pair_is_no_fault():
    assert "".join(await read('{"answered": true, "sentences": [{"passages": [1], "text": "So \ud83d')) is not None


@pytest.mark.parametrize(
    ("escaped", "shown"),
    [
        ("\\ud83d\\ude00", "\U0001f600"),
        ("\\ud83d", "\ufffd"),
        ("\\ude00", "\ufffd"),
        ("\\ud83d\\ud83d\\ude00", "\ufffd\U0001f600"),
        ("\\\\ud83d", "\\ud83d"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 200])
async def test_half_of_a_character_is_shown_as_such(escaped, shown, size):
    raw = f'{{"answered": true, "sentences": [{{"passages": [1], "text": "{escaped} rain"}}]}}'
    pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
    assert "".join(await read(*pieces)) == f"{shown} rain [1]"
