"""What calls cost in dollars: the user's table, then the published prices, else an error before the call."""

import pytest

import dspex
from dspex.plugin import LMResponse, Usage

USUAL = Usage(1_000, 100)


def spent(virtual, script, settled, name, usage=USUAL, **settings):
    """What one call takes from a budget of a dollar, and its error."""
    provider = script(LMResponse.from_text("4", usage))

    async def main():
        with dspex.budget(usd=1.0) as budget:
            [done] = await settled(dspex.LM(name, provider=provider, max_tokens=100).acall("2+2?"))
        return budget.spent.usd, done.error, len(provider.requests)

    return virtual(main, **settings)


def test_published_prices_are_used_where_genai_prices_is_installed(virtual, script, settled):
    prices = pytest.importorskip("genai_prices")
    usage = prices.Usage(input_tokens=1_000, output_tokens=100)
    wanted = float(prices.calc_price(usage, "gpt-4o", provider_id="openai").total_price)
    assert wanted > 0
    assert spent(virtual, script, settled, "openai/gpt-4o") == (pytest.approx(wanted), None, 1)


def test_the_users_own_table_wins(virtual, script, settled):
    table = {"openai/gpt-4o": (1.0, 10.0)}
    assert spent(virtual, script, settled, "openai/gpt-4o", prices=table) == (pytest.approx(0.002), None, 1)


@pytest.mark.parametrize("name", ["openai/gpt-of-ours", "acme/gpt-4o"])
def test_an_unknown_price_is_an_error_and_no_zero(virtual, script, settled, name):
    usd, error, sent = spent(virtual, script, settled, name)
    assert isinstance(error, dspex.ConfigurationError)
    assert f"prices={{{name!r}: (input, output)}}" in str(error)
    assert (usd, sent) == (0, 0)


def test_a_table_in_a_context_is_that_of_its_block(virtual, script, settled):
    provider = script(LMResponse.from_text("4", Usage(1_000, 100)))

    async def main():
        lm = dspex.LM("acme/m", provider=provider, cache=False, max_tokens=10)
        with dspex.budget(usd=1.0) as budget, dspex.context(prices={"acme/m": (1.0, 0.0)}):
            await lm.acall("2+2?")
        return budget.spent.usd

    assert virtual(main) == pytest.approx(0.001)


CACHED = Usage(1_000, 100, cached_tokens=600, written_tokens=300)


@pytest.mark.parametrize(
    ("row", "wanted"),
    [((1.0, 10.0), 0.002), ((1.0, 10.0, 0.1), 0.00146), ((1.0, 10.0, 0.1, 2.0), 0.00176), ([1, 10, 0, 0], 0.0011)],
)
def test_what_a_providers_cache_has_is_priced_apart_where_the_table_says_how(virtual, script, settled, row, wanted):
    table = {"acme/m": row}
    assert spent(virtual, script, settled, "acme/m", CACHED, prices=table)[0] == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["anthropic/claude-sonnet-4-5", "litellm/anthropic/claude-sonnet-4-5"])
def test_published_prices_tell_what_was_read_from_a_cache_and_written_to_it(virtual, script, settled, name):
    pytest.importorskip("genai_prices")
    usd = [spent(virtual, script, settled, name, usage)[0] for usage in (Usage(1_000, 0), CACHED)]
    assert usd == pytest.approx([0.003, (100 * 3 + 600 * 0.3 + 300 * 3.75 + 100 * 15) / 1e6])
