"""What tokens cost: by the user's own table, else by genai-prices where it is installed."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from dspex.core.errors import ConfigurationError

Dollars = Callable[[int, int], float]


class Prices:
    """Dollars of input and output tokens; `settings()["prices"]` is the user's table: "provider/model" to (input, output)
    for a million.
    """

    def __init__(self, settings: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = settings
        self._published: dict[str, Dollars | None] = {}

    def of(self, model: str, input_tokens: int, output_tokens: int, needed: bool) -> float:
        """Dollars; 0 where the price is unknown and not `needed`. Raises ConfigurationError where it is."""
        table: Mapping[str, tuple[float, float]] = self._settings()["prices"]
        if not needed and not table and not self._published:
            return 0.0
        own = table.get(model)
        if own is not None:
            return (input_tokens * own[0] + output_tokens * own[1]) / 1e6
        if needed and model not in self._published:
            self._published[model] = _published(model)
        dollars = self._published.get(model)
        if dollars is not None:
            return dollars(input_tokens, output_tokens)
        if needed:
            raise ConfigurationError(
                f"A budget in USD needs the price of {model!r}, which is unknown: "
                f"dspex.configure(prices={{{model!r}: (input, output)}}) in USD for a million tokens, use calls or tokens, "
                'or pip install "dspex[prices]" for the prices of well-known models.'
            )
        return 0.0


def _published(name: str) -> Dollars | None:
    # Only under a budget in USD: it takes longer to import than all of dspex. Its data come with it, nothing is fetched.
    try:
        known: Any = importlib.import_module("genai_prices")
    except ImportError:
        return None
    provider, _, model = name.partition("/")
    try:
        price = known.calc_price(known.Usage(), model, provider_id=provider).model_price
    except LookupError:
        return None

    def dollars(given: int, made: int) -> float:
        return float(price.calc_price(known.Usage(input_tokens=given, output_tokens=made))["total_price"])

    return dollars
