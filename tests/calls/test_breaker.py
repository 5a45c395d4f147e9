"""An endpoint that fails again and again is left alone, and found well again soon after it is."""

import asyncio
import threading

import pytest

import dspex
from dspex.core.clock import SystemClock, derived_rng
from dspex.plugin import LMResponse, LMTimeout, ProtocolError, RateLimited, Unavailable
from dspex.service.breaker import Breaker, BreakerPolicy


class Endpoint:
    """Answers after `seconds`, or fails as `fault` says while the loop's time lies in `down`; `times` has each attempt."""

    def __init__(self, down, fault=Unavailable, seconds=0.1):
        self.down, self.fault, self.seconds = down, fault, seconds
        self.times = []

    async def complete(self, request):
        now = asyncio.get_running_loop().time()
        self.times.append(now)
        await asyncio.sleep(self.seconds)
        if self.down[0] <= now < self.down[1]:
            raise self.fault("down")
        return LMResponse.from_text("4")

    def between(self, begin, end):
        return sum(begin <= time < end for time in self.times)


def load(endpoint, rate, seconds, **options):
    """(when, outcome) of each of `rate` calls a second, sent evenly whatever becomes of them."""

    async def main():
        lm = dspex.LM("x/y", provider=endpoint, cache=False, **options)
        loop, told = asyncio.get_running_loop(), []

        async def call():
            began = loop.time()
            try:
                told.append((began, (await lm.acall("2+2?"))[0]))
            except dspex.LMError as error:
                told.append((began, error))

        async with asyncio.TaskGroup() as group:
            for _ in range(int(rate * seconds)):
                group.create_task(call())
                await asyncio.sleep(1 / rate)
        return sorted(told, key=lambda one: one[0])

    return main


@pytest.mark.fault("R2")
@pytest.mark.fault("R3")
def test_an_outage_is_hardly_amplified_and_over_within_five_seconds(virtual):
    endpoint = Endpoint(down=(5.0, 65.0))
    told = virtual(load(endpoint, rate=40, seconds=75))
    assert endpoint.between(5.0, 65.0) <= 0.1 * 60 * 40
    assert all(outcome == "4" for began, outcome in told if began < 4.0 or began > 70.0)
    busiest = max(endpoint.between(65.0 + step / 10, 66.0 + step / 10) for step in range(90))
    assert busiest <= 2 * 40


@pytest.mark.fault("R10")
def test_it_opens_within_a_second_and_lets_one_probe_through_each_wait(virtual):
    endpoint = Endpoint(down=(12.0, 30.0))
    told = virtual(load(endpoint, rate=100, seconds=30))
    opened = min(began for began, outcome in told if isinstance(outcome, dspex.CircuitOpen))
    assert opened < 13.0
    probes = [time for time in endpoint.times if time > opened + 0.5]
    waits = [later - sooner for sooner, later in zip([opened, *probes], probes, strict=False)]
    for wait, wanted in zip(waits, [1, 2, *[4] * (len(waits) - 2)], strict=True):
        assert 0.8 * wanted - 0.2 <= wait <= 1.1 * wanted + 0.2
    assert len(set(waits[2:])) > 1  # jitter


@pytest.mark.parametrize("fault", [Unavailable, LMTimeout, ProtocolError])
def test_faults_of_network_and_server_open_it(virtual, fault):
    told = virtual(load(Endpoint((0.0, 5.0), fault), rate=50, seconds=5, num_retries=0))
    assert isinstance(told[-1][1], dspex.CircuitOpen)


def test_a_deadline_that_passes_counts_as_silence(virtual):
    endpoint = Endpoint((0.0, 0.0), seconds=1e6)
    told = virtual(load(endpoint, rate=20, seconds=10, timeout=1.0))
    assert isinstance(told[0][1], LMTimeout)
    assert isinstance(told[-1][1], dspex.CircuitOpen)
    assert len(endpoint.times) < 60


@pytest.mark.parametrize(
    "fault", [RateLimited, dspex.BadRequest, dspex.AuthError, dspex.ContextWindowExceeded, dspex.ContentFiltered]
)
def test_refusals_do_not(virtual, fault):
    told = virtual(load(Endpoint((0.0, 5.0), fault), rate=50, seconds=5, num_retries=0))
    assert {type(outcome) for _, outcome in told} == {fault}


class Fast:
    """Answers after 5 s; while `down`, some attempts are reset at once."""

    def __init__(self):
        self.down = 0

    async def complete(self, request):
        if self.down:
            self.down -= 1
            await asyncio.sleep(0.01)
            raise Unavailable("reset")
        await asyncio.sleep(5.0)
        return LMResponse.from_text("4")


@pytest.mark.parametrize("warm", [False, True], ids=["at the start", "in the middle"])
def test_resets_beside_many_calls_that_are_still_out_do_not(virtual, settled, warm):
    async def main():
        endpoint = Fast()
        lm = dspex.LM("x/y", provider=endpoint, cache=False)
        calls = [asyncio.create_task(lm.acall(f"{number}?")) for number in range(900 * warm)]
        await asyncio.sleep(1)
        endpoint.down = 100
        more = await settled(*(lm.acall(f"more {number}?") for number in range(1_000 - len(calls))))
        return [outcome.value for outcome in more] + await asyncio.gather(*calls)

    assert virtual(main) == [["4"]] * 1_000


def test_cancelled_calls_do_not(virtual):
    async def main():
        lm = dspex.LM("x/y", provider=Endpoint((0.0, 0.0), seconds=5.0), cache=False)
        for _ in range(5):
            tasks = [asyncio.create_task(lm.acall("2+2?")) for _ in range(20)]
            await asyncio.sleep(1.0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await lm.acall("and now?")

    assert virtual(main) == ["4"]


@pytest.mark.parametrize(("failing", "opens"), [(5, False), (2, True)], ids=["a fifth", "a half"])
def test_a_share_of_failures_opens_it(virtual, script, failing, opens):
    steps = [Unavailable("down") if number % failing == 0 else "4" for number in range(400)]

    async def main():
        lm = dspex.LM("x/y", provider=script(*steps), cache=False, num_retries=0)
        kinds = set()
        for _ in range(400):
            kinds.add(type((await asyncio.gather(lm.acall("2+2?"), return_exceptions=True))[0]))
            await asyncio.sleep(0.05)
        return kinds

    assert (dspex.CircuitOpen in virtual(main)) == opens


@pytest.mark.parametrize("calls", [10, 19])
def test_few_calls_say_nothing(virtual, script, settled, calls):
    async def main():
        lm = dspex.LM("x/y", provider=script(Unavailable("down")), num_retries=0)
        return await settled(*(lm.acall(f"{number}?") for number in range(calls + 1)))

    assert all(type(done.error) is Unavailable for done in virtual(main))


def test_the_error_says_why_and_until_when_and_nothing_was_sent(virtual, script, settled):
    provider = script(Unavailable("connection refused"))

    async def main():
        lm = dspex.LM("x/y", provider=provider, num_retries=0)
        await settled(*(lm.acall(f"{number}?") for number in range(20)))
        return await settled(lm.acall("and now?"))

    [done] = virtual(main)
    assert type(done.error) is dspex.CircuitOpen
    assert 0.8 <= done.error.retry_after <= 1.1
    assert done.error.attempts == 0
    assert "[x/y] Nothing was sent: 20 of 20 attempts failed" in str(done.error)
    assert "connection refused" in str(done.error)
    assert done.seconds == 0
    assert len(provider.requests) == 20


def test_a_success_closes_it_and_forgets_the_failures(virtual, script, settled):
    provider = script(*[Unavailable("down")] * 20, "4")

    async def main():
        lm = dspex.LM("x/y", provider=provider, num_retries=0)
        await settled(*(lm.acall(f"{number}?") for number in range(20)))
        await asyncio.sleep(1.2)
        await settled(*(lm.acall(f"probe {number}?") for number in range(2)))
        provider.steps = [*[Unavailable("down")] * 19, "4"]
        return await settled(*(lm.acall(f"again {number}?") for number in range(30)))

    done = virtual(main)
    assert [type(one.error) for one in done].count(dspex.CircuitOpen) == 0


def test_only_one_of_many_is_the_probe(virtual, script, settled):
    provider = script(*[Unavailable("down")] * 20, 0.5, "4")

    async def main():
        lm = dspex.LM("x/y", provider=provider, num_retries=0)
        await settled(*(lm.acall(f"{number}?") for number in range(20)))
        await asyncio.sleep(1.2)
        return await settled(*(lm.acall(f"many {number}?") for number in range(50)))

    done = virtual(main)
    assert [one.value for one in done].count(["4"]) == 1
    assert sum(type(one.error) is dspex.CircuitOpen for one in done) == 49
    assert len(provider.requests) == 21


def test_a_probe_that_hangs_does_not_keep_others_from_trying(virtual, settled):
    class Black:
        calls = 0

        async def complete(self, request):
            self.calls += 1
            if self.calls <= 20:
                raise Unavailable("down")
            if self.calls == 21:
                await asyncio.sleep(1e6)
            return LMResponse.from_text("4")

    async def main():
        lm = dspex.LM("x/y", provider=Black(), num_retries=0, cache=False)
        await settled(*(lm.acall("2+2?") for _ in range(20)))
        await asyncio.sleep(1.2)
        hanging = asyncio.create_task(lm.acall("2+2?"))
        await asyncio.sleep(2.3)
        found = await lm.acall("2+2?")
        hanging.cancel()
        await asyncio.wait([hanging])
        return found

    assert virtual(main) == ["4"]


def test_calls_that_queue_when_it_opens_are_not_sent(virtual, script, settled):
    provider = script(Unavailable("down"), seconds=0.1)

    async def main():
        lm = dspex.LM("x/y", provider=provider, num_retries=0, max_in_flight=4)
        return await settled(*(lm.acall(f"{number}?") for number in range(500)))

    done = virtual(main)
    assert len(provider.requests) <= 24
    assert done[-1].seconds < 1.0


def test_an_evaluation_waits_for_an_endpoint_that_is_left_alone(virtual):
    endpoint = Endpoint(down=(1.0, 25.0))
    devset = [dspex.Example(question=str(number)).with_inputs("question") for number in range(400)]

    async def main():
        async def ask(question):
            return dspex.Prediction(answer=(await lm.acall(question))[0])

        lm = dspex.LM("x/y", provider=endpoint, cache=False)
        return await dspex.Evaluate(devset=devset, metric=lambda example, found: True, num_threads=16).acall(ask)

    result = virtual(main)
    assert (result.score, len(result.failures)) == (100.0, 0)
    assert endpoint.between(3.0, 25.0) < 30


def test_an_evaluation_does_not_wait_for_ever(virtual):
    devset = [dspex.Example(question=str(number)).with_inputs("question") for number in range(100)]

    async def main():
        async def ask(question):
            return dspex.Prediction(answer=(await lm.acall(question))[0])

        lm = dspex.LM("x/y", provider=Endpoint(down=(0.0, 1e9)), cache=False)
        await dspex.Evaluate(devset=devset, metric=lambda example, found: True, num_threads=16).acall(ask)

    with pytest.raises(dspex.EvaluationError, match="CircuitOpen"):
        virtual(main)


def test_opening_and_closing_are_events(virtual, script, settled):
    heard = []

    async def main():
        from dspex.app.app import current_app

        current_app().bus.subscribe(heard.append, "test")
        lm = dspex.LM("x/y", provider=script(*[Unavailable("down")] * 20, "4"), num_retries=0)
        await settled(*(lm.acall(f"{number}?") for number in range(20)))
        await asyncio.sleep(1.2)
        await lm.acall("and now?")

    virtual(main)
    changes = [event for event in heard if type(event).__name__ == "BreakerChanged"]
    assert [(event.provider, event.model, event.is_open) for event in changes] == [("x", "y", True), ("x", "y", False)]
    assert 0.8 <= changes[0].wait <= 1.1


def test_it_can_be_switched_off_and_tuned(virtual, script, settled):
    async def main():
        off = dspex.LM("x/y", provider=script(Unavailable("down")), num_retries=0, breaker=False)
        early = dspex.LM(
            "x/z", provider=script(Unavailable("down")), num_retries=0, breaker=BreakerPolicy(least=3, waits=(30.0,))
        )
        told = []
        for lm in (off, early):
            await settled(*(lm.acall(f"{number}?") for number in range(40)))
            told += await settled(lm.acall("and now?"))
        return told

    off, early = virtual(main)
    assert type(off.error) is Unavailable
    assert type(early.error) is dspex.CircuitOpen
    assert early.error.retry_after > 20


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.5}, {"least": 0}, {"within": 0.0}, {"waits": ()}])
def test_a_policy_without_sense_is_refused(wrong):
    with pytest.raises(dspex.ConfigurationError):
        BreakerPolicy(**wrong)


@pytest.mark.fault("R14")
def test_it_is_exact_over_threads():
    changes = []
    breaker = Breaker(
        BreakerPolicy(least=8_000, share=1.0, within=1e6, waits=(1e6,)),
        SystemClock(),
        derived_rng("test"),
        lambda is_open, wait: changes.append(is_open),
    )

    def fail():
        for _ in range(1_000):
            breaker.failed(Unavailable("down"))

    def run(threads):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run([threading.Thread(target=fail) for _ in range(7)])
    assert changes == []
    for _ in range(999):
        breaker.failed(Unavailable("down"))
    assert changes == []
    run([threading.Thread(target=breaker.failed, args=(Unavailable("down"),)) for _ in range(8)])
    assert changes == [True]
