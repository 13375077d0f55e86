"""Metrics and their statistics, beside figures that were worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from relevance.judging import Ranking
from relevance.metrics import metric_names, no_answers, ranking_scores
from relevance.significance import difference, interval


def scores(found, grades, k=10):
    return ranking_scores([Ranking(tuple(found), grades)], k=k)[0]


def test_metrics_are_those_of_the_formulas():
    made = scores(["x", "a", "b"], {"a": 1, "b": 1})
    ideal = 1 + 1 / math.log2(3)
    assert made["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(4)) / ideal)
    assert (made["recall@10"], made["mrr@10"], made["hit@10"], made["hit@1"]) == (1, 0.5, 1, 0)


def test_grades_are_gains():
    made = scores(["a", "b"], {"a": 1, "b": 3})
    assert made["ndcg@10"] == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))


def test_what_stands_behind_the_first_k_does_not_count():
    made = scores(["x", "y", "a"], {"a": 1}, k=2)
    assert set(made.values()) == {0.0}
    assert set(made) == set(metric_names(2))


def test_nothing_found_is_zero_and_the_order_of_the_questions_is_kept():
    made = ranking_scores([Ranking((), {"a": 1}), Ranking(("a",), {"a": 1}), Ranking(("x",), {"a": 1})], k=10)
    assert [each["ndcg@10"] for each in made] == [0, 1, 0]


@pytest.mark.parametrize("name", ["", "ü" * 500, "a b\tc\nd", "\ud800", "r0", "f1", "Q0"])
def test_names_of_documents_may_be_anything(name):
    assert scores(["x", name], {name: 1, "other": 1})["recall@10"] == 0.5


def test_many_with_equal_names_in_another_order_are_ranked_as_found():
    found = [f"d{number}" for number in range(10)]
    for place in range(10):
        assert scores(found, {f"d{place}": 1})["mrr@10"] == pytest.approx(1 / (place + 1))


def test_no_answers_are_counted_among_the_unanswerable_and_among_the_refused():
    counted = no_answers([(True, True), (True, False), (True, False), (False, True), (False, False)])
    assert counted.rate == pytest.approx(1 / 3)
    assert counted.precision == pytest.approx(1 / 2)
    assert no_answers([(False, False)]).rate is None
    assert no_answers([(True, False)]).precision is None


def test_an_interval_holds_the_mean_of_what_was_drawn_from_in_19_of_20_cases():
    dice = np.random.default_rng(1)
    held = 0
    for _ in range(60):
        made = interval(dice.beta(2, 1, size=60))
        held += made.low <= 2 / 3 <= made.high
    assert 52 <= held <= 60


def test_an_interval_is_the_same_each_time_and_narrower_with_more_questions():
    few, many = interval([0, 1] * 10), interval([0, 1] * 200)
    assert few == interval([0, 1] * 10)
    assert many.high - many.low < few.high - few.low
    assert few.low < few.mean < few.high


@pytest.mark.parametrize("values", [[0.5], [1.0] * 50])
def test_an_interval_of_equal_values_is_their_point(values):
    made = interval(values)
    assert (made.low, made.high) == (made.mean, made.mean)


def test_a_difference_counts_wins_and_losses_and_its_p_value_is_exact_for_few_questions():
    made = difference([0.0] * 6 + [1.0], [1.0] * 6 + [1.0])
    assert (made.wins, made.losses, made.ties) == (6, 0, 1)
    assert made.p_value == pytest.approx(2 / 2**6)
    assert made.interval.mean == pytest.approx(6 / 7)


def test_no_difference_is_no_evidence():
    assert difference([0.3, 0.7], [0.3, 0.7]).p_value == 1
    assert difference([0.0, 1.0, 1.0], [1.0, 1.0, 1.0]).p_value == 1  # one question decides nothing


def test_chance_alone_is_seldom_called_significant():
    dice = np.random.default_rng(2)
    called = sum(difference(dice.normal(size=30), dice.normal(size=30)).p_value < 0.05 for _ in range(60))
    assert called <= 9


def test_two_lists_of_different_length_are_not_compared():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        difference([1.0, 2.0], [1.0])
