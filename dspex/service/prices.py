"""What tokens cost: by the user's own table, else by genai-prices where it is installed."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dspex.core.errors import ConfigurationError
from dspex.core.usage import Usage
from dspex.plugin.catalog import BRIDGE

Dollars = Callable[[Usage], float]


class Prices:
    """Dollars of tokens; `settings()["prices"]` is the user's table: "provider/model" to (input, output) for a million, or to
    (input, output, cached) or (input, output, cached, written) where what a provider's cache has is not as dear as other input.
    """

    def __init__(self, settings: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = settings
        self._published: dict[str, Dollars | None] = {}

    def of(self, model: str, usage: Usage, needed: bool) -> float:
        """Dollars; 0 where the price is unknown and not `needed`. Raises ConfigurationError where it is."""
        table: Mapping[str, Sequence[float]] = self._settings()["prices"]
        if not needed and not table and not self._published:
            return 0.0
        own = table.get(model)
        if own is not None:
            return _by_table(own, usage)
        if needed and model not in self._published:
            self._published[model] = _published(model)
        dollars = self._published.get(model)
        if dollars is not None:
            return dollars(usage)
        if needed:
            raise ConfigurationError(
                f"A budget in USD needs the price of {model!r}, which is unknown: "
                f"dspex.configure(prices={{{model!r}: (input, output)}}) in USD for a million tokens, use calls or tokens, "
                'or pip install "dspex[prices]" for the prices of well-known models.'
            )
        return 0.0


def _by_table(row: Sequence[float], usage: Usage) -> float:
    plain, made, cached, written = (*row, *(row[0],) * (4 - len(row)))
    read, put = usage.cached_tokens, usage.written_tokens
    other = max(0, usage.input_tokens - read - put)
    return (other * plain + read * cached + put * written + usage.output_tokens * made) / 1e6


def _published(name: str) -> Dollars | None:
    # Only under a budget in USD: it takes longer to import than all of dspex. Its data come with it, nothing is fetched.
    try:
        known: Any = importlib.import_module("genai_prices")
    except ImportError:
        return None
    provider, _, model = name.removeprefix(f"{BRIDGE}/").partition("/")
    try:
        price = known.calc_price(known.Usage(), model, provider_id=provider).model_price
    except LookupError:
        return None

    def dollars(usage: Usage) -> float:
        tokens = known.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.written_tokens,
            output_tokens=usage.output_tokens,
        )
        return float(price.calc_price(tokens)["total_price"])

    return dollars
