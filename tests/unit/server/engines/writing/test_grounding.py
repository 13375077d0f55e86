from server.engines.writing.extraction import is_prose
from server.engines.writing.grounding import grounded

PASSAGES = [
    "The lighthouse of Ostrava Bay was built in 1871 by the engineer Milada Novak.",
    "FOOTNOTE_SERVER__PORT is the port, 8000 unless it is set to another number.",
]


async def said(text):
    async def pieces():
        for start in range(0, len(text), 5):
            yield text[start : start + 5]

    return "".join([sentence async for sentence in grounded(pieces(), PASSAGES)])


async def test_a_sentence_that_a_passage_holds_is_kept_and_cites_it():
    text = "The lighthouse was built in 1871 by the engineer Milada Novak."
    assert await said(text) == text + " [1]"


async def test_a_number_that_stands_nowhere_ends_the_answer():
    assert not await said("The port is the number 8080 unless another is set.")
    assert (await said("The port is the number 8000 unless another is set.")).endswith("[2]")


async def test_a_model_that_repeats_itself_is_stopped():
    sentence = "The lighthouse was built by the engineer Milada Novak."
    assert await said(f"{sentence} {sentence} {sentence}") == sentence + " [1]"


async def test_nothing_after_the_first_invented_sentence_is_shown():
    answer = await said(
        "The lighthouse was built by the engineer Milada Novak. It is painted pink with yellow elephants. "
        "The lighthouse stands in Ostrava Bay since 1871."
    )
    assert answer == "The lighthouse was built by the engineer Milada Novak. [1]"


async def test_scraps_and_questions_are_no_answers():
    for text in ("3.", "No.", "`footnote`", "Who built the lighthouse of Ostrava Bay in 1871?"):
        assert not await said(text)


def test_code_and_tables_are_not_prose():
    assert is_prose("Set the port in the settings, then start again.")
    assert not is_prose("curl -sN localhost:8000/q -d '{\"a\": \"b\"}' | jq '.x[0].y'")
    assert not is_prose("a | b | c")
