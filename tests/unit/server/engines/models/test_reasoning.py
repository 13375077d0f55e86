from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.soak import examples

from server.engines.models import reasoning
from server.engines.models.events import Delta, Reasoning, Retraction
from server.engines.models.reasoning import ReasoningFilter, without_reasoning

PIECES = [
    *" .\n`<>/x[",
    *("<think>", "</think>", "<thinking>", "</thinking>", "[THINK]", "[/THINK]", "◁think▷", "◁/think▷"),
    *("    ", "\r\n", "\t", "\u200b"),
    *("```", "\n```\n", "Rain falls.", " and ", "<seed:think>", "</seed:think>", '<think budget="3">', "<b>", "a < b"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def told(pieces, *, holds_back=False):
    """Return (text, reasoning, whether its reasoning was not opened)."""
    parts = ReasoningFilter(holds_back=holds_back)
    text, thoughts = [], []
    for event in [*(event for piece in pieces for event in parts.feed(piece)), *parts.end()]:
        if isinstance(event, Retraction):
            text.clear()
        elif isinstance(event, Delta):
            text.append(event.text)
        elif isinstance(event, Reasoning):
            thoughts.append(event.text)
    return "".join(text), "".join(thoughts), parts.is_unopened


@given(text=TEXTS, cuts=st.lists(st.integers(0, 200)), holds_back=st.booleans())
@settings(max_examples=examples(200))
def test_however_a_text_is_cut_its_reasoning_is_the_same(text, cuts, holds_back):
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    whole = told([text], holds_back=holds_back)
    assert told([text[a:b] for a, b in pairwise(places)], holds_back=holds_back) == whole
    assert told(text, holds_back=holds_back) == whole


@given(text=TEXTS)
@settings(max_examples=examples(200))
def test_a_text_that_is_held_back_is_the_same_text(text):
    live, held = told([text]), told(text, holds_back=True)
    blank = " \t\r\n\u200b"  # before a block, it has been given before the block is seen
    assert (held[0].lstrip(blank), held[2]) == (live[0].lstrip(blank), live[2])


@pytest.mark.parametrize(
    "written",
    [
        "<think>Hm [2].</think>Rain falls [1].",
        "\n<think>\nHm.\n\n</think>\n\nRain falls [1].",
        "<THINKING>Hm.</Thinking> Rain falls [1].",
        "<thought>Hm.</thought>\nRain falls [1].",
        "<reasoning>Hm.</reasoning>Rain falls [1].",
        "<seed:think>Hm.</seed:think>Rain falls [1].",
        '<think budget="3">Hm.</think>Rain falls [1].',
        "[THINK]Hm.[/THINK]Rain falls [1].",
        "◁think▷Hm.◁/think▷Rain falls [1].",
        "<|begin_of_thought|>Hm.<|end_of_thought|>Rain falls [1].",
        "<think></think>\n\nRain falls [1].",
        "<think>Hm.</think><think>Hm!</think>Rain falls [1].",
        "Let me see [2].\n</think>\n\nRain falls [1].",
        "</think>\n\nRain falls [1].",
        "Rain falls [1].\n<think>Was that all?</think>",
        "Rain falls [1].\n<think>never closed",
        "Let me see [2].</think>\n\nRain falls [1].",
        "Let me see [2].</think>  \r\nRain falls [1].",
        "Let me see [2].\n</think>Rain falls [1].",
        "Rain falls [1].\n\n<think>\nnever closed",
    ],
)
def test_reasoning_is_no_part_of_the_text(written):
    assert without_reasoning(written).strip() == "Rain falls [1]."
    assert told(written)[0].strip() == "Rain falls [1]."


@pytest.mark.parametrize(
    "written",
    [
        "Write `<think>` and `</think>` around it.",
        "```xml\n<think>\nHm.\n</think>\n```\nSo.",
        "The <think> tag opens it.",
        "To end reasoning the model emits </think> and then the answer.",
        "The XML has <reasoning>why</reasoning> tags",
        "Set this: <think>budget</think> in the config [1].",
        "Set this. <think>budget</think>\nin the config [1].",
        "Use:\n\n    <think>\n    plan\n    </think>\n\nas the template [1].",
        "Use:\n\n\t<think>\n\tplan\n\t</think>\n\nas the template [1].",
        "It emits </think>" + " " * 20 + "\nhere.",
        "a < b and b > c, <b>bold</b>, [THIN], <thin",
        "List[THIN",
    ],
)
def test_tags_that_are_spoken_of_are_text(written):
    for holds_back in (False, True):
        assert told([written], holds_back=holds_back) == (written, "", False)
        assert told(written, holds_back=holds_back) == (written, "", False)


def test_what_is_never_closed_is_reasoning_to_the_end():
    assert told(["<think>Hm", ", so"]) == ("", "Hm, so", False)


def test_a_model_that_does_not_open_its_reasoning_is_known_by_the_closing_tag():
    assert told(["Hm. ", "So. </think>", "\nRain."]) == ("Rain.", "", True)
    assert told(["</think>\n\nRain."]) == ("Rain.", "", True)


def test_text_that_is_held_back_is_reasoning_once_it_is_closed_and_text_otherwise():
    assert told(["Hm. ", "So. </think>", "\nRain."], holds_back=True) == ("Rain.", "Hm. So. ", True)
    assert told(["Rain", "."], holds_back=True) == ("Rain.", "", False)
    for pieces in (["<think>Hm.</think>Rain."], "<think>Hm.</think>Rain."):
        assert told(pieces, holds_back=True) == ("Rain.", "Hm.", False)
    parts = ReasoningFilter(holds_back=True)
    assert parts.feed("Hm.") == []
    assert parts.feed("\n</think>\n") == [Reasoning("Hm.\n")]
    assert parts.feed("Rain.") == [Delta("Rain.")]


def test_text_is_not_held_back_for_longer_than_a_tag():
    parts = ReasoningFilter()
    for piece in ("<", "[", "</", "<|", "◁", "<b "):
        given_text = "".join(event.text for event in [*parts.feed(piece), *parts.feed("y " * 60 + "\n")])
        assert piece.strip() in given_text


@pytest.fixture
def searched(monkeypatch):
    """Return the lengths of what is searched for tags."""
    lengths = []

    class Counting:
        def search(self, text):
            lengths.append(len(text))
            return tag.search(text)

    tag = reasoning._TAG
    monkeypatch.setattr(reasoning, "_TAG", Counting())
    return lengths


def test_a_long_text_of_many_tags_is_not_searched_to_its_end_for_each(searched):
    text = "x <think> " * 5000
    assert without_reasoning(text) == text
    assert sum(searched) < len(text) * reasoning.LONGEST_PIECE


def test_a_long_answer_that_is_held_back_is_not_searched_again_with_each_token(searched):
    tokens = ["word "] * 5000
    assert told([*tokens, "\n</think>Rain."], holds_back=True)[0] == "Rain."
    assert sum(searched) < 200 * len(tokens)
