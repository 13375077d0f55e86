from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from server.engines.writing.citations import MARKER, CitationFilter, without_markers

ANSWERS = st.text(st.sampled_from("[]0123 9,;ab.\n ("), max_size=60)


def filtered(pieces, passages):
    markers = CitationFilter(passages)
    return "".join(markers.feed(piece) for piece in pieces) + markers.end(), markers.cited


@given(answer=ANSWERS, cuts=st.lists(st.integers(0, 60)), passages=st.integers(0, 12))
@example(answer="a [1", cuts=[2, 3], passages=3)
@example(answer="a [1][ 2 ] b [9]", cuts=[3, 4, 5, 6, 7], passages=2)
def test_however_an_answer_is_cut_the_filter_says_the_same(answer, cuts, passages):
    places = sorted({min(cut, len(answer)) for cut in cuts} | {0, len(answer)})
    pieces = [answer[a:b] for a, b in pairwise(places)]
    assert filtered(pieces, passages) == filtered([answer], passages)


@given(answer=ANSWERS, passages=st.integers(0, 12))
def test_what_comes_out_points_at_given_passages_only_and_all_of_them_are_known(answer, passages):
    text, cited = filtered([answer], passages)
    pointed = {int(number) for match in MARKER.finditer(text) for number in match[1].replace(";", ",").split(",")}
    assert pointed <= set(range(1, passages + 1))
    assert cited <= set(range(1, passages + 1))


@given(answer=st.text(max_size=60).filter(lambda text: "[" not in text))
def test_text_without_brackets_comes_out_as_it_went_in(answer):
    assert filtered([answer], 3) == (answer, set())


def test_invented_numbers_go_and_real_ones_stay():
    assert filtered(["x [1] y [4] z [2, 7][3;1]"], 3) == ("x [1] y z [2][3;1]", {1, 2, 3})


def test_a_long_bracket_is_not_held_back_for_ever():
    markers = CitationFilter(3)
    assert "[1111" in "".join(markers.feed("1") if n else markers.feed("[") for n in range(100))


def test_a_document_s_own_brackets_are_made_harmless():
    assert without_markers("see [3] and [ 1, 2 ] but [a] and list[0]") == "see (3) and ( 1, 2 ) but [a] and list(0)"
