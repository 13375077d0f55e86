"""The sentence by which a model refuses: recognised however it comes, and nothing else for it."""

import pytest
from support.written import written

from server.answers import Reasoning
from server.engines.record import Record
from server.engines.writing.refusing import NO_ANSWER, without_refusal


async def read(*pieces, record=None):
    """Return the pieces that come through, and whether the model refused."""
    record = record or Record()

    shown = []
    async for piece in without_refusal(written(*pieces, record=record), record=record):
        record.thoughts.clear()
        shown.append(piece)
    return shown, record.refused


@pytest.mark.parametrize(
    "said",
    [NO_ANSWER, NO_ANSWER.rstrip("."), f'"{NO_ANSWER}"', f"\n{NO_ANSWER}\n", f"{NO_ANSWER} [1]", f"**{NO_ANSWER}**"],
)
async def test_the_sentence_alone_is_a_refusal_in_whatever_pieces_it_comes(said):
    for size in (1, 3, len(said)):
        pieces = [said[start : start + size] for start in range(0, len(said), size)]
        assert await read(*pieces) == ([], True)


@pytest.mark.parametrize(
    "said",
    [
        "The passages say 42 [1].",
        "The passages do not hold the answer to that, but the manual says 42 [1].",
        f"{NO_ANSWER} Yet it may well be that the vault has twelve doors, as a passage says of another one [2].",
        "",
        "The",
    ],
)
async def test_whatever_else_is_written_comes_through_whole(said):
    shown, refused = await read(*said)
    assert ("".join(shown), refused) == (said, False)


async def test_text_is_held_back_only_while_it_may_be_the_sentence():
    shown, _ = await read("The ", "pass", "word ", "is x.")
    assert shown == ["The password ", "is x."]


async def test_what_turns_out_to_be_reasoning_is_forgotten():
    assert await read("The passages", Reasoning("", retracts=True), NO_ANSWER) == ([""], True)
    shown, refused = await read("Hm.", Reasoning("", retracts=True), NO_ANSWER)
    assert (shown, refused) == (["Hm.", ""], True)
