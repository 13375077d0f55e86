"""What vectors find and what words find, where the cosines of a model lie close together and where words say little."""

from dataclasses import replace

import numpy as np
import pytest
from support.corpus import DIMENSION, chunks, document, make_collection

from config.settings import RetrievalSettings
from storage.documents.writes import Documents
from storage.search.lexicon import Lexicon
from storage.search.search import ChunkSearch, SearchRequest

QUESTION = "who pays back taxes"
ASIDE = {
    "who": "who sings in the choir",
    **{f"d{number}": f"chapter{number} about gardens and lakes" for number in range(20)},
}
SPREADS = [1.0, 0.1]  # of the cosines: from -1 to 1, and from 0.8 to 1


def in_band(cosine, spread, *, turn):
    """Return a unit vector whose cosine to the question's is `cosine`, brought into a band of that width below 1."""
    cosine = 1 - spread * (1 - cosine)
    made = np.zeros(DIMENSION, dtype=np.float32)
    made[0], made[1 + turn % (DIMENSION - 1)] = cosine, np.sqrt(1 - cosine**2)
    return made


async def searched(database, name, passages, *, spread, question=QUESTION):
    """Return the sources that hybrid search finds, best first; `passages`: source to text and cosine."""
    generation = await make_collection(database, name, language="simple")
    documents = Documents(database, generation=generation)
    for turn, (source, (text, cosine)) in enumerate(passages.items()):
        new = document(source, content=text)
        made = [replace(each, embedding=in_band(cosine, spread, turn=turn)) for each in chunks(new, text)]
        await documents.write(new, made, replaces=None)
    await Lexicon(database, generation=generation).keep_up(stale_share=0.0)
    search = ChunkSearch(database, generation=generation, settings=RetrievalSettings())
    asked = np.eye(1, DIMENSION, dtype=np.float32)[0]
    hits = await search.search(SearchRequest("hybrid", limit=30, embedding=asked, text=question))
    assert [hit.scores["fused"] for hit in hits] == sorted((hit.scores["fused"] for hit in hits), reverse=True)
    return [hit.metadata["source"] for hit in hits]


def cosines_of(aside):
    return {source: (text, 0.1 + 0.01 * number) for number, (source, text) in enumerate(aside.items())}


@pytest.mark.parametrize("spread", SPREADS)
async def test_a_word_in_common_does_not_outdo_the_nearest_passage(database, spread):
    """The best passage by words shares one of four words with the question, and is as far away as all the others."""
    passages = {**cosines_of(ASIDE), "near": ("the revenue office refunds what was withheld", 0.6)}
    assert (await searched(database, "c", passages, spread=spread))[0] == "near"


@pytest.mark.parametrize("spread", SPREADS)
async def test_a_passage_with_all_the_words_comes_before_a_somewhat_nearer_one(database, spread):
    passages = {
        **cosines_of(ASIDE),
        "near": ("the revenue office refunds what was withheld", 0.6),
        "words": ("who pays back taxes", 0.5),
    }
    assert (await searched(database, "c", passages, spread=spread))[0] == "words"


async def test_pairs_of_characters_that_no_passage_has_do_not_make_words_say_less(database):
    """Most pairs of a Chinese question straddle two words."""
    passages = {**cosines_of(ASIDE), "tower": ("灯塔是工程师建造的", 0.5), "bread": ("酸面包发酵一夜", 0.6)}
    assert (await searched(database, "c", passages, spread=1.0, question="谁建造了灯塔?"))[0] == "tower"
