"""What an answer costs."""

import pytest

from config.settings import Price
from server.answers import Usage
from server.engines.models.prices import cost_of

PRICES = {
    "small": Price(input=1, output=10),
    "small-pro": Price(input=100, output=1000),
    "free": Price(input=0, output=0),
}
USAGE = Usage(prompt_tokens=2_000, completion_tokens=300, total_tokens=2_300)


@pytest.mark.parametrize(
    ("models", "dollars"),
    [
        (("small",), 0.005),
        (("small-2025-04-14",), 0.005),
        (("small:8b",), 0.005),
        (("small-latest",), 0.005),
        (("small-pro-2025-04-14",), 0.5),
        (("small-mini",), None),  # another model
        (("small-mini-2025-04-14",), None),
        (("small-mini", "small"), 0.005),  # that was asked for
        (("free",), 0.0),
        (("unknown", "small"), 0.005),  # what it was asked for, where its own name for itself has no price
        (("smaller",), None),
        (("unknown",), None),
    ],
)
def test_a_price_is_found_by_the_models_name(models, dollars):
    assert cost_of(USAGE, prices=PRICES, models=models) == (pytest.approx(dollars) if dollars is not None else None)


def test_what_was_not_counted_has_no_price():
    assert cost_of(None, prices=PRICES, models=("small",)) is None


def test_a_price_below_nothing_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Price(input=-1, output=1)
