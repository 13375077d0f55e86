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
    *("```", "\n```\n", "Rain falls.", " and ", "<seed:think>", "</seed:think>", '<think budget="3">', "<b>", "a < b"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def told(pieces, *, is_unopened=False, is_cut=False):
    """Return (text, reasoning, whether its reasoning was not opened)."""
    parts = ReasoningFilter(is_unopened=is_unopened)
    text, thoughts = [], []
    for event in [*(event for piece in pieces for event in parts.feed(piece)), *parts.end(is_cut=is_cut)]:
        if isinstance(event, Retraction):
            text.clear()
        elif isinstance(event, Delta):
            text.append(event.text)
        elif isinstance(event, Reasoning):
            thoughts.append(event.text)
    return "".join(text), "".join(thoughts), parts.is_unopened


@given(text=TEXTS, cuts=st.lists(st.integers(0, 200)), is_unopened=st.booleans(), is_cut=st.booleans())
@settings(max_examples=examples(200))
def test_however_a_text_is_cut_its_reasoning_is_the_same(text, cuts, is_unopened, is_cut):
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    whole = told([text], is_unopened=is_unopened, is_cut=is_cut)
    assert told([text[a:b] for a, b in pairwise(places)], is_unopened=is_unopened, is_cut=is_cut) == whole
    assert told(text, is_unopened=is_unopened, is_cut=is_cut) == whole


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
        "Rain <think>hm</think>falls [1].",
        "Rain falls [1].\n<think>Was that all?</think>",
        "Rain falls [1].<think>never closed",
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
        "a < b and b > c, <b>bold</b>, [THIN], <thin",
        "List[THIN",
    ],
)
def test_tags_that_are_spoken_of_are_text(written):
    assert told([written])[:2] == (written, "")


def test_what_is_never_closed_is_reasoning_to_the_end():
    assert told(["<think>Hm", ", so"]) == ("", "Hm, so", False)


def test_a_model_that_does_not_open_its_reasoning_is_known_by_the_closing_tag():
    assert told(["Hm. ", "So. </think>", "\nRain."]) == ("Rain.", "", True)
    assert told(["Hm. ", "So. </think>", "\nRain."], is_unopened=True) == ("Rain.", "Hm. So. ", True)
    assert told(["Rain."], is_unopened=True) == ("Rain.", "", False)
    assert told(["Hm. So"], is_unopened=True, is_cut=True) == ("", "Hm. So", True)
    for pieces in (["<think>Hm.</think>Rain."], "<think>Hm.</think>Rain."):
        assert told(pieces, is_unopened=True)[:2] == ("Rain.", "Hm.")
    assert told(["<think>" + "Hm. " * 500 + "</think>Rain."], is_unopened=True)[:2] == ("Rain.", "Hm. " * 500)


def test_text_is_not_held_back_for_longer_than_a_tag():
    parts = ReasoningFilter()
    for piece in ("<", "[", "</", "<|", "◁", "<b "):
        given_text = "".join(event.text for event in [*parts.feed(piece), *parts.feed("y " * 60 + "\n")])
        assert piece.strip() in given_text


@pytest.mark.parametrize("head", ["", "It is <think>"])
def test_a_long_answer_that_is_held_back_is_not_searched_again_with_each_token(head, monkeypatch):
    searched = []

    class Counting:
        def search(self, text, start=0):
            searched.append(len(text) - start)
            return closing.search(text, start)

    closing = reasoning._CLOSE
    monkeypatch.setattr(reasoning, "_CLOSE", Counting())
    tokens = ["word "] * 5000
    assert told([head, *tokens, "</think>Rain."], is_unopened=not head)[0].endswith("Rain.")
    assert sum(searched) < 200 * len(tokens)
