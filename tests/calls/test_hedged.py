"""A slow call is sent a second time; the first reply counts, and both are paid for."""

import asyncio

import pytest

import dspex
from dspex.plugin import LMResponse, Unavailable, Usage


class Takes:
    """Attempt n takes the n-th number of seconds, the last for ever, and answers with its number; an error is raised."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.began = self.cancelled = 0

    async def complete(self, request):
        number = self.began
        self.began += 1
        step = self.steps[min(number, len(self.steps) - 1)]
        seconds, error = step if isinstance(step, tuple) else (step, None)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if error is not None:
            raise error
        return LMResponse.from_text(str(number), Usage(10, 5))


def hedged(provider, after, **options):
    return dspex.Hedged(dspex.LM("x/y", provider=provider, cache=False, num_retries=0, **options), after=after)


def asked(virtual, settled, provider, after, **options):
    async def main():
        return await settled(hedged(provider, after, **options).acall("2+2?"))

    [done] = virtual(main)
    return done


@pytest.mark.parametrize(
    ("steps", "answer", "seconds", "sent"),
    [
        ([1.0], "0", 1.0, 1),
        ([10.0, 1.0], "1", 3.0, 2),
        ([3.0, 10.0], "0", 3.0, 2),
        ([(2.5, Unavailable("down")), 1.0], "1", 3.0, 2),
        ([4.0, (1.0, Unavailable("down"))], "0", 4.0, 2),
    ],
    ids=["in time", "the second is faster", "the first is faster", "the first fails", "the second fails"],
)
def test_the_first_reply_counts(virtual, settled, steps, answer, seconds, sent):
    provider = Takes(*steps)
    done = asked(virtual, settled, provider, after=2.0)
    assert done.value == [answer]
    assert done.seconds == pytest.approx(seconds, abs=0.01)
    assert provider.began == sent


def test_the_loser_is_cancelled_and_its_permit_comes_back(virtual, settled):
    provider = Takes(10.0, 1.0)

    async def main():
        lm = hedged(provider, 2.0, max_in_flight=2)
        await lm.acall("2+2?")
        return lm.service.attempts.limits.used

    assert virtual(main) == 0
    assert provider.cancelled == 1


def test_if_both_fail_the_first_failure_is_raised(virtual, settled):
    done = asked(virtual, settled, Takes((3.0, Unavailable("one")), (3.0, Unavailable("two"))), after=2.0)
    assert str(done.error) == "[x/y] one (after 2 attempts)"


@pytest.mark.fault("R15")
def test_both_requests_are_counted(virtual):
    async def main():
        with dspex.track_usage() as usage, dspex.budget(calls=10) as budget:
            await hedged(Takes(10.0, 1.0), 2.0).acall("2+2?")
        return usage.total, budget.spent

    usage, spent = virtual(main)
    assert usage.calls == spent.calls == 2
    assert usage.input_tokens > 10
    assert usage.estimated
    assert spent.tokens == usage.total_tokens


@pytest.mark.fault("R15")
def test_a_budget_of_one_call_leaves_no_second(virtual):
    provider = Takes(10.0, 1.0)

    async def main():
        with dspex.budget(calls=1):
            return await hedged(provider, 2.0).acall("2+2?")

    assert virtual(main) == ["0"]
    assert provider.began == 1


def test_a_percentile_is_that_of_the_last_calls(virtual):
    provider = Takes(*[1.0] * 90, *[2.0] * 10, 60.0, 1.0)

    async def main():
        seldom, loop = hedged(provider, 1e3), asyncio.get_running_loop()
        for _ in range(100):
            await seldom.acall("2+2?")
        sent, began = provider.began, loop.time()
        answer = await dspex.Hedged(seldom, after="p95").acall("2+2?")
        return sent, answer, loop.time() - began

    sent, answer, seconds = virtual(main)
    assert sent == 100
    assert answer == ["101"]
    assert seconds == pytest.approx(3.0, abs=0.01)


def test_before_twenty_calls_a_percentile_hedges_nothing(virtual):
    provider = Takes(*[1.0] * 19, 60.0)

    async def main():
        lm = hedged(provider, "p95")
        for _ in range(20):
            await lm.acall("2+2?")

    virtual(main)
    assert provider.began == 20


@pytest.mark.fault("R2")
def test_an_endpoint_in_trouble_is_not_asked_twice_for_ever(virtual, settled):
    provider = Takes(60.0)

    async def main():
        lm = hedged(provider, 1.0, timeout=10.0, breaker=False)
        await settled(*(lm.acall(f"{number}?") for number in range(1_000)))

    virtual(main)
    assert provider.began <= 1_000 + 100  # the bucket of retries


def test_equal_calls_share_one_reply_and_one_hedge(virtual, settled):
    provider = Takes(10.0, 1.0)

    async def main():
        lm = dspex.Hedged(dspex.LM("x/y", provider=provider), after=2.0)
        return await settled(*(lm.acall("2+2?") for _ in range(50)))

    assert all(done.value == ["1"] for done in virtual(main))
    assert provider.began == 2


def test_the_deadline_stays_that_of_the_call(virtual, settled):
    provider = Takes(60.0)
    done = asked(virtual, settled, provider, after=2.0, timeout=5.0)
    assert type(done.error) is dspex.LMTimeout
    assert done.seconds == pytest.approx(5.0, abs=0.01)
    assert provider.cancelled == 2


def test_it_goes_with_a_fallback_both_ways(virtual, script):
    async def main():
        slow, good = Takes((1.0, Unavailable("down"))), Takes(10.0, 1.0)
        first, second = (dspex.LM("x/y", provider=one, cache=False, num_retries=0) for one in (slow, good))
        outside = await dspex.Hedged(dspex.Fallback(first, second), after=2.0).acall("2+2?")
        inside = await dspex.Fallback(first, dspex.Hedged(second, after=2.0)).acall("2+2?")
        return outside, inside

    assert virtual(main) == (["1"], ["2"])


@pytest.mark.parametrize("after", ["95", "p", "p100", -1.0, None, "q95"])
def test_an_after_without_sense_is_refused(script, after):
    if after is None:
        assert dspex.Hedged(dspex.LM("x/y", provider=script()), after=after).hedge_after is None
        return
    with pytest.raises(dspex.ConfigurationError, match="hedge after"):
        dspex.Hedged(dspex.LM("x/y", provider=script()), after=after)


@pytest.mark.parametrize("lm", ["openai/a", None])
def test_what_is_no_lm_is_refused(lm):
    with pytest.raises(dspex.ConfigurationError, match="Hedged needs an LM"):
        dspex.Hedged(lm)
