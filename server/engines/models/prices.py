"""What a call of a model costs, by the settings' price table."""

from __future__ import annotations

import re
from collections.abc import Mapping

from config.settings import Price
from server.answers import Usage

MILLION = 1_000_000
_VERSION = re.compile(r"(-\d{4}-?\d{2}-?\d{2}|-latest|[:@].*)$")


def cost_of(usage: Usage | None, *, prices: Mapping[str, Price], models: tuple[str, ...]) -> float | None:
    """Return US dollars, or None where the tokens or the price are not known.

    `models` are the names of a model, the most exact first. A provider adds a date or a tag to the name that
    it was asked for (``gpt-4.1-mini-2025-04-14``, ``qwen3:8b``), so a price counts for such names too, and no others.
    """
    if usage is None:
        return None
    price = next((price for name in models if (price := _price(name, prices))), None)
    if price is None:
        return None
    return (usage.prompt_tokens * price.input + usage.completion_tokens * price.output) / MILLION


def _price(model: str, prices: Mapping[str, Price]) -> Price | None:
    return prices.get(model) or prices.get(_VERSION.sub("", model))
