"""A budget is a wall: the attempt that would pass it is not sent."""

import asyncio
import threading
from fractions import Fraction

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse, Message, ToolCall, ToolResult, Unavailable, Usage


@pytest.mark.fault("R15")
@pytest.mark.parametrize("calls", [0, 1, 50, 199])
def test_a_budget_of_calls_is_exact_at_200_in_flight(virtual, script, settled, calls):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        with dspex.budget(calls=calls) as budget:
            done = await settled(*(lm.acall(f"{number}?") for number in range(200)))
        return done, budget.spent.calls, budget.left.calls

    done, spent, left = virtual(main)
    assert len(provider.requests) == spent == calls
    assert left == 0
    refused = [one.error for one in done if one.error is not None]
    assert len(refused) == 200 - calls
    assert {type(error) for error in refused} == {dspex.BudgetExceeded}
    assert (refused[0].unit, refused[0].limit, refused[0].spent) == ("calls", calls, calls)
    assert "It was not sent" in str(refused[0])


def test_each_attempt_counts(virtual, script, settled):
    provider = script(Unavailable("down"))

    async def main():
        with dspex.budget(calls=3) as budget:
            [done] = await settled(dspex.LM("x/y", provider=provider).acall("2+2?"))
        return done.error, budget.spent.calls

    error, spent = virtual(main)
    assert isinstance(error, dspex.BudgetExceeded)
    assert len(provider.requests) == spent == 3


@pytest.mark.parametrize(("outer", "inner", "sent"), [(3, 5, 3), (5, 3, 3)])
def test_nested_budgets_all_apply(virtual, script, settled, outer, inner, sent):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        with dspex.budget(calls=outer) as first, dspex.budget(calls=inner) as second:
            await settled(*(lm.acall(f"{number}?") for number in range(10)))
        return first.spent.calls, second.spent.calls

    assert virtual(main) == (sent, sent)
    assert len(provider.requests) == sent


def test_a_budget_of_the_app_needs_no_context(virtual, script, settled):
    provider = script()

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        return await settled(*(lm.acall(f"{number}?") for number in range(10)))

    done = virtual(main, budget=dspex.Budget(calls=4))
    assert len(provider.requests) == 4
    assert sum(isinstance(one.error, dspex.BudgetExceeded) for one in done) == 6


def test_tokens_are_reserved_by_their_bound_and_settled_as_they_were(virtual, script, settled):
    provider = script(LMResponse.from_text("4", Usage(10, 5)), seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_tokens=100)
        with dspex.budget(tokens=150) as budget:
            one = asyncio.create_task(lm.acall("0?"))
            await asyncio.sleep(0.5)
            open_left = budget.left.tokens
            await one
            done = await settled(*(lm.acall(f"{number}?") for number in range(1, 20)))
        return open_left, budget.spent.tokens, [one.error for one in done if one.error]

    open_left, spent, refused = virtual(main)
    assert open_left < 50  # the prompt, and max_tokens
    # Waiting while others are open: as long as the bound of one more fits, it is sent.
    assert 150 - 15 - 110 < spent <= 150
    assert spent == 15 * len(provider.requests)
    assert {error.unit for error in refused} == {"tokens"}


def test_without_max_tokens_the_bound_is_the_models_known_limit(virtual, script, settled):
    known, unknown = script(), script()
    known.capabilities = dspex.Capabilities(max_output_tokens=50)

    async def main():
        with dspex.budget(tokens=200):
            return await settled(*(dspex.LM("x/y", provider=one).acall("2+2?") for one in (known, unknown)))

    first, second = virtual(main)
    assert first.value == ["4"]
    assert isinstance(second.error, dspex.BudgetExceeded)
    assert not unknown.requests


LONG = "x" * 3_000
BESIDE_TEXT = {
    "picture": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}}],
    "sound": [{"type": "input_audio", "input_audio": {"data": "A" * 300_000, "format": "mp3"}}],
    "document": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}],
}


@pytest.mark.parametrize("content", BESIDE_TEXT.values(), ids=BESIDE_TEXT.keys())
def test_what_is_no_text_is_a_part_of_the_bound(virtual, script, settled, content):
    provider = script()

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_tokens=10)
        with dspex.budget(tokens=900):
            return await settled(lm.acall([{"role": "user", "content": content}]))

    assert virtual(main)[0].error.unit == "tokens"
    assert not provider.requests


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": (Message("tool", (ToolResult("1", LONG),)),)},
        {"messages": (Message("assistant", (ToolCall("1", "f", LONG),)),)},
        {"messages": (), "tools": ({"name": "f", "description": LONG},)},
        {"messages": (), "schema": {"description": LONG}},
    ],
    ids=["result", "call", "tools", "schema"],
)
def test_tools_and_schemas_are_a_part_of_the_bound(virtual, script, settled, asked):
    provider = script()

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_tokens=10)
        with dspex.budget(tokens=900):
            return await settled(lm.complete(lm.request(asked.pop("messages"), {}, **asked)))

    assert virtual(main)[0].error.unit == "tokens"
    assert not provider.requests


def test_dollars_follow_the_users_prices(virtual, script, settled):
    provider = script(LMResponse.from_text("4", Usage(100_000, 200_000)))

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_tokens=200_000)
        with dspex.budget(usd=1.0) as budget:
            await settled(*(lm.acall(f"{number}?") for number in range(10)))
        return budget.spent.usd

    assert virtual(main, prices={"x/y": (1.0, 2.0)}) == pytest.approx(1.0)
    assert len(provider.requests) == 2


def test_dollars_without_a_price_are_an_error_at_once(virtual, script, settled):
    provider = script()

    async def main():
        with dspex.budget(usd=1.0):
            return await settled(dspex.LM("x/y", provider=provider).acall("2+2?"))

    [done] = virtual(main)
    assert isinstance(done.error, dspex.ConfigurationError)
    assert "dspex.configure(prices={'x/y': (input, output)})" in str(done.error)
    assert not provider.requests


def test_seconds_end_a_budget(virtual, script, settled):
    provider = script(seconds=4.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        with dspex.budget(seconds=10):
            return [(await settled(lm.acall(f"{number}?")))[0].error for number in range(4)]

    *fine, last = virtual(main)
    assert fine == [None] * 3
    assert isinstance(last, dspex.BudgetExceeded)
    assert last.unit == "seconds"


@pytest.mark.fault("P14")
def test_a_cancelled_call_waits_for_nobody_and_blocks_nobody(virtual, script, settled):
    provider = script(1e3, "slow", "4")

    async def main():
        lm = dspex.LM("x/y", provider=provider, timeout=5_000.0)
        with dspex.budget(calls=2) as budget:
            slow = asyncio.create_task(lm.acall("slow?"))
            await asyncio.sleep(1)
            slow.cancel()
            await asyncio.wait([slow])
            done = await settled(lm.acall("1?"), lm.acall("2?"))
        return budget.spent.calls, [type(one.error) for one in done]

    spent, errors = virtual(main)
    assert spent == len(provider.requests) == 2  # what was sent is spent, whether its reply was awaited or not
    assert errors == [type(None), dspex.BudgetExceeded]


class Asking:
    """A provider, an index and a function of texts at once; each asks a model before it answers."""

    capabilities = dspex.Capabilities(stream=True)

    def __init__(self, lm):
        self.lm = lm

    async def complete(self, request):
        return LMResponse.from_text((await self.lm.acall(request.messages[-1].text))[0])

    async def stream(self, request):
        yield LMDelta((await self.complete(request)).choices[0].text, finish_reason="stop")

    async def retrieve(self, query, k):
        return [dspex.Passage((await self.lm.acall(query))[0])]

    async def embed(self, texts):
        return [[float((await self.lm.acall(text))[0])] for text in texts]


async def streamed(lm, text):
    request = lm.request((dspex.plugin.Message.of("user", text),), {})
    return [delta.text async for delta in lm.stream(request)]


@pytest.mark.fault("R15")
@pytest.mark.parametrize(("kind", "own"), [("lm", 1), ("stream", 1), ("retriever", 0), ("embedder", 1)])
@pytest.mark.parametrize("calls", [0, 1, 2, 5])
def test_who_asks_within_his_own_call_is_told_at_once_that_the_budget_is_short(
    virtual, script, settled, kind, own, calls
):
    provider = script(seconds=1.0)

    async def main():
        asking = Asking(dspex.LM("x/inner", provider=provider, cache=False))
        lm = dspex.LM("x/outer", provider=asking, cache=False)
        ask = {
            "lm": lm.acall,
            "stream": lambda text: streamed(lm, text),
            "retriever": dspex.Retriever("x", provider=asking).acall,
            "embedder": dspex.Embedder(asking.embed, max_in_flight=None).acall,
        }[kind]
        with dspex.budget(calls=calls) as budget:
            done = await settled(*(ask(f"{number}?") for number in range(6)))
        return done, budget.spent.calls

    done, spent = virtual(main)
    assert spent <= calls
    assert len(provider.requests) <= calls
    refused = [one for one in done if one.error is not None]
    assert {type(one.error) for one in refused} == {dspex.BudgetExceeded}
    answered = len(done) - len(refused)
    assert answered <= calls // (1 + own)
    assert answered == calls or own  # a search costs nothing itself
    assert max(one.seconds for one in done) < 10


@pytest.mark.parametrize(
    "limit",
    [
        *[{"calls": calls} for calls in (-1, "3", 2.5, True, float("nan"), float("inf"))],
        *[{"tokens": 0.5}, {"usd": -0.5}, {"usd": float("nan")}, {"seconds": float("inf")}, {"seconds": True}],
        {"on_short": "maybe"},
    ],
    ids=str,
)
def test_a_budget_that_makes_no_sense_is_refused(limit):
    with pytest.raises(dspex.ConfigurationError, match=r"Budget\("), dspex.budget(**limit):
        pass


def test_a_whole_number_in_another_form_is_that_number():
    budget = dspex.Budget(calls=1e3, tokens=4.0, usd=Fraction(1, 4), seconds=2)
    assert budget == dspex.Budget(1000, 4, 0.25, 2.0)
    assert [type(limit) for limit in (budget.calls, budget.tokens, budget.usd)] == [int, int, float]


@pytest.mark.fault("R14")
def test_a_budget_is_exact_over_loops_and_threads(script):
    provider = script(seconds=0.001)
    lm = dspex.LM("x/y", provider=provider, cache=False)
    dspex.configure(budget=dspex.Budget(calls=100))
    refused = []

    def in_a_thread(name):
        for number in range(20):
            try:
                lm(f"{name} {number}?")
            except dspex.BudgetExceeded as error:
                refused.append(error)

    def on_a_loop(name):
        async def calls():
            works = (lm.acall(f"{name} {number}?") for number in range(40))
            done = await asyncio.gather(*works, return_exceptions=True)
            refused.extend(one for one in done if isinstance(one, dspex.BudgetExceeded))

        asyncio.run(calls())

    works = [(in_a_thread, f"thread {n}") for n in range(5)] + [(on_a_loop, f"loop {n}") for n in range(3)]
    threads = [threading.Thread(target=work, args=(name,)) for work, name in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(provider.requests) == 100
    assert len(refused) == 120
