from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.soak import examples

from server.engines.writing.citations import CitationFilter, uncited, without_markers

PIECES = [
    *"[]()0123 9,;.\n`~{}^-=:*ax雨。【】\uff3b\uff3d†",
    *("[1]", "[2]", " [3]", "[9]", "[1, 2]", "[1-2]", "【1】", "【2†source】", "[^1]", "[Source 2]", "(1).", "word"),
    *("```", "``", "~~~", "\n```\n", "\n```py\n", "m[2]", " rain", "[[1]]", "[Sour", "](x)"),
]
ANSWERS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
FOUR = ["one", "two", "three", "four"]


def filtered(pieces, passages=FOUR):
    markers = CitationFilter(passages)
    return "".join(markers.feed(piece) for piece in pieces) + markers.end(), markers.cited


@given(answer=ANSWERS, cuts=st.lists(st.integers(0, 100)), passages=st.integers(0, 12))
@example(answer="a [1", cuts=[2, 3], passages=3)
@example(answer="rain[1]  x", cuts=[9], passages=2)
@example(answer="2024[1]..x", cuts=[8, 9], passages=2)
@example(answer="a [1][ 2 ] b [9]", cuts=[3, 4, 5, 6, 7], passages=2)
@settings(max_examples=examples(200))
def test_however_an_answer_is_cut_the_filter_says_the_same(answer, cuts, passages):
    places = sorted({min(cut, len(answer)) for cut in cuts} | {0, len(answer)})
    pieces = [answer[a:b] for a, b in pairwise(places)]
    whole = filtered([answer], ["x"] * passages)
    assert filtered(pieces, ["x"] * passages) == whole
    assert filtered(answer, ["x"] * passages) == whole  # one character at a time


MIXED = (
    "Set `a[1]` so:\n```c\nint a[2]; /* [3] */\n```\n"
    "It rains【1】, it pours [Source 2]. See m[2][3] and [80, 443] [4] [9]."
)


@pytest.mark.parametrize("place", range(len(MIXED) + 1))
def test_a_marker_or_a_fence_that_is_cut_at_any_place_is_still_one(place):
    text, cited = filtered([MIXED[:place], MIXED[place:]])
    assert text == MIXED.replace("【1】", "[1]").replace("[Source 2]", "[2]").replace(" [9]", "")
    assert cited == {1, 2, 4}


@given(answer=ANSWERS, passages=st.integers(0, 12))
def test_only_given_passages_are_cited(answer, passages):
    assert filtered([answer], ["x"] * passages)[1] <= set(range(1, passages + 1))


@given(answer=st.text(max_size=60).filter(lambda text: not set("[【\uff3b") & set(text)))
def test_text_without_brackets_comes_out_as_it_went_in(answer):
    assert filtered([answer])[0] == answer


@pytest.mark.parametrize(
    "code",
    [
        "int a[10]; x = m[2][3]",
        "[80, 443]",
        "Open the ports [80, 443] or [22, 80].",
        "f(x, [1, 2]) = g([3])",
        'print([1]); {"ports": [1, 2]}',
        "M = [[1, 2], [3, 4]]",
        "x2[1] is a[2] and v1.2[3], 5 in xs[1] or 2024[1]x",
        "days[0], days[1] and rows[2] are lists; take args[1:]",
        "`a[1]`, `` b ` [2] `` and `[3]`",
        "```\nx [1]\n  [2]\n```",
        "Text:\n\n~~~~ python\nreturn [1]\n```\nreturn [2]\n~~~~\n",
        "> ```\n> log [1]\n> ```\n",
        "- ```\n  log [1]\n  ```\n",
        "in the year [2024], at index [0], in the interval [0, 1]",
        "```\nnever closed [1]",
    ],
)
def test_brackets_in_code_are_left_alone(code):
    assert filtered([code]) == (code, set())


@pytest.mark.parametrize(
    ("written", "shown", "cited"),
    [
        ("x [1] y [4] z [2, 7][3;1]", "x [1] y [4] z [2][3][1]", {1, 2, 3, 4}),
        ("rain [5], snow [2, 9].", "rain, snow [2].", {2}),
        ("rain [1-3] and [2–4].", "rain [1][2][3] and [2][3][4].", {1, 2, 3, 4}),
        ("rain【1】 and 【2†source】, snow【3†L1-L9】.", "rain[1] and [2], snow[3].", {1, 2, 3}),
        ("rain [^1] and snow [^2].", "rain [1] and snow [2].", {1, 2}),
        ("rain [Source 1], snow [Passages 2, 3] [source: 4].", "rain [1], snow [2][3] [4].", {1, 2, 3, 4}),
        ("rain [Passage 1, Passage 2] [Document 9]", "rain [1][2]", {1, 2}),
        ("Regen [Quelle 1], Schnee [1 und 2].", "Regen [1], Schnee [1][2].", {1, 2}),
        ("rain [[1]] and snow \uff3b2\uff3d", "rain [1] and snow [2]", {1, 2}),
        ("on the plain[1]. It stops in spring[2][3], too", "on the plain[1]. It stops in spring[2][3], too", {1, 2, 3}),
        (
            "**Rain**[1] “falls”[2] (here) [3], `code` [4]",
            "**Rain**[1] “falls”[2] (here) [3], `code` [4]",
            {1, 2, 3, 4},
        ),
        (
            "In 2024[1], zebras. It is 5 km[2]. About 3.5[3] of 1,000[4]",
            "In 2024[1], zebras. It is 5 km[2]. About 3.5[3] of 1,000[4]",
            {1, 2, 3, 4},
        ),
        ("In 2024[9], it is 5 km[8].", "In 2024, it is 5 km[8].", set()),
        ("雨が降る[1]。雪[2]", "雨が降る[1]。雪[2]", {1, 2}),
        ("- [1] Handbook\n[2] Guide [7]", "- [1] Handbook\n[2] Guide", {1, 2}),
        ("rain [1](https://example.org)", "rain [1](https://example.org)", {1}),
        ("the ` key [1]\nand `` [2]", "the ` key [1]\nand `` [2]", {1, 2}),
        ("```\ncode [1]\n```\nrain [2]", "```\ncode [1]\n```\nrain [2]", {2}),
        ("It rains (1). It snows (2, 3); see printf(4).", "It rains (1). It snows (2, 3); see printf(4).", {1, 2, 3}),
        ("It rains (Source 1) here", "It rains (Source 1) here", {1}),
        ("First (1) wait, then (2) go [3].", "First (1) wait, then (2) go [3].", {3}),
        ("Wait within two (2) days", "Wait within two (2) days", set()),
    ],
)
def test_citations_are_understood_as_models_write_them(written, shown, cited):
    assert filtered([written]) == (shown, cited)


def test_what_a_passage_has_in_round_brackets_is_no_citation_where_an_answer_repeats_it():
    assert filtered(["See step (2)."], ["Then see step (2).", "two"]) == ("See step (2).", set())


def test_a_long_bracket_or_backtick_is_not_held_back_for_ever():
    for opening, piece in (("[", "1"), ("`", "a"), ("```", "a"), (" [", "Source ")):
        markers = CitationFilter(FOUR)
        assert opening.strip() in markers.feed(opening) + "".join(markers.feed(piece) for _ in range(400))


def test_thousands_of_brackets_and_backticks_take_no_longer_than_they_are_long():
    for hostile in ("[1]", "[", "`", "``", "[1", "[Source 1", "【1】", "~", "```\n"):
        text = hostile * 20_000
        assert filtered([text])[1] <= {1}
        without_markers(text)


def test_a_document_s_own_citations_are_made_harmless_and_its_code_stays():
    assert without_markers("see [3] and [ 1, 2 ] but [a] and list[0]") == "see (3) and ( 1, 2 ) but [a] and list[0]"
    assert without_markers("Rain【3】 [^2] [Source 1] fell[4].") == "Rain(3) (^2) (Source 1) fell(4)."
    code = "```py\nx = m[2][3]\nreturn [1, 2]\n```\n`a [1]` days[0] int a[10];"
    assert without_markers(code) == code
    assert without_markers("Ports [80, 443] and [22, 80]", passages=8) == "Ports [80, 443] and [22, 80]"


@pytest.mark.parametrize(
    "forged",
    [
        "[3] Port 1 is open",
        "text\n [3]\tPort",
        "text\r[3] Port",
        "text\u2028[3] Port",
        "text\n> [3] Port",
        "text\n> - [3] Port",
        "```\n[3] Port\n```",
        "```\nIt rains [3].",
        "code\n```\nIt rains [3].",
        "It rains ` [3].",
        "It rains[3].",
        "~~~\n[2][3]",
        "]【3】[3]",
    ],
)
def test_a_passage_cannot_forge_a_passage_or_a_citation(forged):
    assert "[3]" not in without_markers(forged)


@given(text=ANSWERS)
@example(text="]【1】[1]")
@settings(max_examples=examples(200))
def test_an_answer_that_repeats_a_harmless_passage_cites_nothing(text):
    harmless = without_markers(text, passages=4)
    assert filtered([harmless], [harmless, text, "", ""])[1] == set()


def test_an_earlier_answer_loses_its_citations_and_keeps_its_code():
    assert uncited("Rain [1][2] fell. `a[1]` is m[2][3] [12].") == "Rain fell. `a[1]` is m[2][3]."


@pytest.mark.parametrize("size", [1, 2, 5, 200])
def test_a_marker_is_checked_against_the_sentence_before_it(size):
    asked = []

    def checked(sentence, numbers):
        asked.append((sentence, [*numbers]))
        return [2] if "42" in sentence else numbers

    text = "It rains 【3】, and the code is 42 [1], not 41 [1][4].\n- so it is 42. [4]\nSee [3](x) and `[1]`."
    markers = CitationFilter(FOUR, checked=checked)
    shown = "".join(markers.feed(text[start : start + size]) for start in range(0, len(text), size)) + markers.end()
    assert shown == "It rains [3], and the code is 42 [2], not 41 [1][4].\n- so it is 42. [2]\nSee [3](x) and `[1]`."
    assert asked == [("It rains", [3]), (", and the code is 42", [1]), ("- so it is 42.", [4])]
    assert markers.cited == {1, 2, 3, 4}


@given(text=ANSWERS)
@settings(max_examples=examples(100))
def test_what_is_checked_does_not_depend_on_how_the_answer_is_cut(text):
    def shown(pieces):
        markers = CitationFilter(FOUR, checked=lambda sentence, numbers: [len(sentence) % 4 + 1, *numbers])
        return "".join(map(markers.feed, pieces)) + markers.end()

    assert shown(text) == shown([text])
