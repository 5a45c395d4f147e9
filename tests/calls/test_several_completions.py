"""`n` completions: from one request where the wire can do that, else from as many side by side."""

import pytest

import dspex
from dspex.plugin import BadRequest, Choice, LMResponse, Usage


def test_without_the_capability_there_are_n_requests_side_by_side(virtual, script, settled):
    provider = script("a", "b", "c", seconds=1.0)

    async def main():
        with dspex.track_usage() as usage:
            [done] = await settled(dspex.LM("x/y", provider=provider).acall("2+2?", n=3))
        return done, usage.total

    done, usage = virtual(main)
    assert sorted(done.value) == ["a", "b", "c"]
    assert done.seconds == pytest.approx(1.0, abs=0.01)
    assert [request.n for request in provider.requests] == [1, 1, 1]
    assert (usage.calls, usage.input_tokens, usage.output_tokens) == (3, 30, 15)


def test_with_the_capability_there_is_one_request(virtual, script):
    provider = script(LMResponse(tuple(map(Choice, "abc")), Usage(10, 15)))
    provider.capabilities = dspex.Capabilities(n=True)

    async def main():
        with dspex.track_usage() as usage:
            return await dspex.LM("x/y", provider=provider).acall("2+2?", n=3), usage.total.calls

    assert virtual(main) == (["a", "b", "c"], 1)
    assert [request.n for request in provider.requests] == [3]


@pytest.mark.fault("B11")
@pytest.mark.parametrize(("came", "given"), [("abcde", ["a", "b", "c"]), ("a", ["a"])])
def test_more_completions_are_cut_and_fewer_are_what_came(virtual, script, came, given):
    provider = script(LMResponse(tuple(map(Choice, came))))
    provider.capabilities = dspex.Capabilities(n=True)

    async def main():
        return await dspex.LM("x/y", provider=provider).acall("2+2?", n=3)

    assert virtual(main) == given


def test_the_error_of_one_is_the_error_of_all(virtual, script, settled):
    provider = script("a", BadRequest("no"), "c")

    async def main():
        return await settled(dspex.LM("x/y", provider=provider).acall("2+2?", n=3))

    [done] = virtual(main)
    assert type(done.error) is BadRequest
    assert len(provider.requests) == 3


class Cache:
    """A CacheBackend in memory."""

    def __init__(self):
        self.kept = {}

    def peek(self, key):
        return self.kept.get(key)

    async def set(self, key, value, ttl=None):
        self.kept[key] = value

    async def aclose(self):
        pass


def test_completions_from_the_cache_are_not_paid_again(virtual, script):
    provider = script(*"abcdef")

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        first = await lm.acall("2+2?", n=3)
        with dspex.track_usage() as usage:
            return first, await lm.acall("2+2?", n=3), usage.total.calls

    first, second, paid = virtual(main, cache=Cache())
    assert first == second
    assert (len(provider.requests), paid) == (3, 0)


def test_an_lm_may_ask_for_several_each_time(virtual, script):
    async def main():
        return await dspex.LM("x/y", provider=script(*"abc"), n=2).acall("2+2?")

    assert len(virtual(main)) == 2


def test_a_prediction_has_its_completions(virtual, script):
    replies = [f"[[ ## answer ## ]]\n{number}" for number in range(3)]

    async def main():
        predict = dspex.Predict("question -> answer: int", n=3)
        return await predict.acall(question="2+2?", lm=dspex.LM("x/y", provider=script(*replies)))

    prediction = virtual(main)
    assert sorted(prediction.completions.answer) == [0, 1, 2]
    assert prediction.answer == prediction.completions[0].answer


def test_several_completions_are_sampled_unless_a_temperature_is_given(virtual, script):
    provider = script("[[ ## answer ## ]]\n4")

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        for config in ({}, {"temperature": 0.1}):
            await dspex.Predict("question -> answer", n=2, **config).acall(question="2+2?", lm=lm)

    virtual(main)
    assert [request.params["temperature"] for request in provider.requests] == [0.7, 0.7, 0.1, 0.1]
