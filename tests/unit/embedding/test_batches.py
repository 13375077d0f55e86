"""Which texts go through the model together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding.batches import plan


@given(st.lists(st.integers(0, 600), max_size=200), st.integers(1, 600), st.integers(1, 40))
def test_every_text_is_in_one_batch_within_the_budget_or_alone(lengths, tokens, texts):
    batches = plan(lengths, tokens=tokens, texts=texts)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= texts
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= tokens


@given(st.lists(st.integers(1, 256), min_size=1, max_size=200))
def test_no_text_of_a_batch_is_longer_than_any_of_the_batch_before(lengths):
    batches = plan(lengths, tokens=256, texts=32)
    in_order = [lengths[place] for batch in batches for place in batch]
    assert in_order == sorted(lengths, reverse=True)


@pytest.mark.parametrize(("length", "size"), [(256, 1), (129, 1), (128, 2), (64, 4), (16, 16), (4, 32)])
def test_short_texts_share_a_call_as_far_as_their_tokens_fit(length, size):
    assert [len(batch) for batch in plan([length] * 64, tokens=256, texts=32)] == [size] * (64 // size)
