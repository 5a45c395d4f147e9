"""Calls that are dispatched in batches: later, for less, and with the same promises."""

import asyncio

import pytest

import dspex
from dspex.plugin import (
    BadRequest,
    BatchStatus,
    ConfigurationError,
    LMResponse,
    LMTimeout,
    ProtocolError,
    Unavailable,
    Usage,
)

HOUR_S = 3600.0


class Batching:
    """A provider that takes `seconds` for a batch; `faults` are raised by the next calls of a method, by its name."""

    batch_limit = 100

    def __init__(self, seconds=HOUR_S, state="ended", answer=None, **faults):
        self.seconds, self.state, self.faults = seconds, state, faults
        self.answer = answer or (lambda text: LMResponse.from_text(f"{text}!", Usage(100, 10)))
        self.started, self.cancelled, self.looks = {}, [], 0
        self.live = 0

    async def complete(self, request):
        self.live += 1
        return LMResponse.from_text("live", Usage(100, 10))

    async def batch_start(self, spec):
        self._fault("start")
        name = f"batch-{len(self.started)}"
        self.started[name] = (spec, asyncio.get_running_loop().time())
        return name

    async def batch_status(self, batch):
        self._fault("status")
        self.looks += 1
        _, began = self.started[batch]
        is_over = asyncio.get_running_loop().time() - began >= self.seconds
        return BatchStatus(self.state, "no quota") if is_over else BatchStatus("running", wait=60.0)

    async def batch_results(self, batch):
        self._fault("results")
        spec, _ = self.started[batch]
        found = {name: self.answer(request.messages[-1].text) for name, request in spec.requests.items()}
        return {name: reply for name, reply in found.items() if reply is not None}

    async def batch_cancel(self, batch):
        self.cancelled.append(batch)

    def _fault(self, where):
        if self.faults.get(where):
            raise self.faults[where].pop(0)


def lm(provider, **more):
    return dspex.LM("x/y", provider=provider, dispatch="batch", cache=False, **more)


def asked(virtual, provider, count=3, settings=None, **more):
    """Replies or errors of so many calls at once."""

    async def main():
        model = lm(provider, **more)
        calls = (model.acall(f"{number}?") for number in range(count))
        return await asyncio.gather(*calls, return_exceptions=True)

    return virtual(main, **(settings or {}))


def test_calls_at_once_are_one_batch(virtual):
    provider = Batching()
    assert asked(virtual, provider) == [["0?!"], ["1?!"], ["2?!"]]
    assert [len(spec.requests) for spec, _ in provider.started.values()] == [3]
    assert provider.live == 0


def test_more_than_fit_into_one_are_several(virtual):
    provider = Batching()
    assert asked(virtual, provider, count=250) == [[f"{number}?!"] for number in range(250)]
    assert [len(spec.requests) for spec, _ in provider.started.values()] == [100, 100, 50]


def test_each_attempt_of_a_day_is_waited_for(virtual):
    provider = Batching(seconds=24 * HOUR_S)
    assert asked(virtual, provider, count=1) == [["0?!"]]
    assert provider.looks <= 24 * 60 + 2


@pytest.mark.parametrize("where", ["start", "status", "results"])
def test_a_fault_of_the_wire_is_tried_again(virtual, where):
    provider = Batching(**{where: [Unavailable("down"), Unavailable("down")]})
    assert asked(virtual, provider) == [["0?!"], ["1?!"], ["2?!"]]
    assert len(provider.started) == 1


def test_one_refused_request_harms_no_other(virtual):
    def answer(text):
        return BadRequest("too long") if text == "1?" else LMResponse.from_text("yes", Usage(1, 1))

    first, second, third = asked(virtual, Batching(answer=answer))
    assert first == third == ["yes"]
    assert type(second) is BadRequest
    assert "[x/y] too long" in str(second)


def test_what_a_batch_had_no_time_for_goes_into_the_next(virtual):
    left = {"1?"}

    def answer(text):
        if text in left:
            left.discard(text)
            return None
        return LMResponse.from_text("yes", Usage(1, 1))

    provider = Batching(answer=answer)
    assert asked(virtual, provider) == [["yes"]] * 3
    assert [len(spec.requests) for spec, _ in provider.started.values()] == [3, 1]


@pytest.mark.parametrize(
    ("provider", "kind", "said"),
    [
        (Batching(state="failed"), BadRequest, "The batch batch-0 failed: no quota"),
        (Batching(state="cancelled"), Unavailable, "The batch batch-0 was cancelled"),
        (Batching(start=[BadRequest("no such model")]), BadRequest, "no such model"),
    ],
)
def test_a_batch_that_comes_to_nothing_is_an_error_of_each_call(virtual, provider, kind, said):
    errors = asked(virtual, provider)
    assert {type(error) for error in errors} == {kind}
    assert all(said in str(error) for error in errors)


@pytest.mark.parametrize("where", ["batch_start", "batch_status"])
def test_a_provider_beyond_its_contract_is_named(virtual, where):
    async def junk(_argument):
        return 7

    provider = Batching()
    setattr(provider, where, junk)
    [error] = asked(virtual, provider, count=1)
    assert type(error) is ProtocolError
    assert f"{where} gave 7" in str(error)


@pytest.mark.parametrize("junk", [7, ["a list"]])
def test_results_that_are_none_are_an_error_of_each_call(virtual, junk):
    async def results(_batch):
        return junk

    provider = Batching()
    provider.batch_results = results
    errors = asked(virtual, provider)
    assert {type(error) for error in errors} == {ProtocolError}
    assert "The batch batch-0 could not be answered" in str(errors[0])
    assert len(provider.started) == 1


def test_a_result_of_another_kind_is_an_error_and_no_endless_wait(virtual):
    [error] = asked(virtual, Batching(answer=lambda _text: "a text"), count=1)
    assert type(error) is ProtocolError


def test_a_deadline_of_the_callers_own_holds(virtual):
    provider = Batching()
    [error] = asked(virtual, provider, count=1, timeout=60.0)
    assert type(error) is LMTimeout
    assert provider.cancelled == ["batch-0"]  # nobody would ever fetch it


def test_a_call_that_is_cancelled_leaves_the_others_in_their_batch(virtual):
    provider = Batching()

    async def main():
        model = lm(provider)
        tasks = [asyncio.create_task(model.acall(f"{number}?")) for number in range(3)]
        await asyncio.sleep(10.0)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, *others = virtual(main)
    assert isinstance(first, asyncio.CancelledError)
    assert others == [["1?!"], ["2?!"]]
    assert provider.cancelled == []


def test_a_batch_costs_half_and_is_reserved_whole(virtual):
    provider = Batching()

    async def main():
        model = lm(provider, max_tokens=10)
        with dspex.budget(usd=1.0) as budget:
            await asyncio.gather(*(model.acall(f"{number}?") for number in range(3)))
        return budget.spent.usd

    spent = virtual(main, prices={"x/y": (1_000.0, 10_000.0)})
    assert spent == pytest.approx(3 * (100 * 1_000.0 + 10 * 10_000.0) / 1e6 / 2)


def test_a_budget_is_not_overshot_by_a_batch(virtual):
    provider = Batching()

    async def main():
        with dspex.budget(calls=2):
            calls = (lm(provider).acall(f"{number}?") for number in range(3))
            return await asyncio.gather(*calls, return_exceptions=True)

    ends = virtual(main)
    assert sum(isinstance(end, dspex.BudgetExceeded) for end in ends) == 1
    assert sum(len(spec.requests) for spec, _ in provider.started.values()) == 2


def test_limits_of_live_calls_are_none_of_a_batch(virtual):
    provider = Batching()
    assert len(asked(virtual, provider, count=50, max_in_flight=1)) == 50
    assert len(provider.started) == 1


def test_equal_calls_are_one_request_and_cached(virtual):
    provider = Batching()

    async def main():
        model = lm(provider).copy(cache=True)
        return await asyncio.gather(*(model.acall("same?") for _ in range(20)))

    assert virtual(main) == [["same?!"]] * 20
    assert [len(spec.requests) for spec, _ in provider.started.values()] == [1]


def test_several_completions_are_requests_of_one_batch(virtual):
    provider = Batching()

    async def main():
        return await lm(provider).acall("2+2?", n=3)

    assert virtual(main) == ["2+2?!"] * 3
    [(spec, _)] = provider.started.values()
    assert len(spec.requests) == 3


def test_a_provider_without_batches_says_so(virtual, script):
    [error] = asked(virtual, script(), count=1)
    assert type(error) is ConfigurationError
    assert "x/y cannot be asked in batches" in str(error)


def test_one_call_may_be_live(virtual):
    provider = Batching()

    async def main():
        return await lm(provider).acall("now?", dispatch="live")

    assert virtual(main) == ["live"]
    assert provider.started == {}


@pytest.mark.parametrize(
    ("given", "said"), [({"dispatch": "later"}, "dispatch='later'"), ({"hedge_after": 1.0}, "Use one")]
)
def test_what_cannot_be_is_said_at_once(given, said):
    with pytest.raises(ConfigurationError, match=said):
        dspex.LM("x/y", provider=Batching(), **{"dispatch": "batch", **given})


def test_an_evaluation_is_one_batch(virtual):
    provider = Batching(
        answer=lambda _text: LMResponse.from_text("[[ ## a ## ]]\n4\n\n[[ ## completed ## ]]", Usage(1, 1))
    )
    provider.batch_limit = 1_000

    async def main():
        predict = dspex.Predict("q -> a")
        predict.lm = lm(provider)
        devset = [dspex.Example(q=f"{number}?", a="4").with_inputs("q") for number in range(200)]
        evaluate = dspex.Evaluate(devset=devset, metric=lambda gold, given, trace=None: gold.a == given.a)
        return await evaluate.acall(predict)

    assert virtual(main).score == 100.0
    assert [len(spec.requests) for spec, _ in provider.started.values()] == [200]
