"""A fault that may pass is tried again, within bounds; any other is raised at once."""

import asyncio
import itertools

import pytest

import dspex
from dspex.plugin import LMResponse, LMTimeout, ProtocolError, RateLimited, Unavailable

PASSING = [Unavailable, RateLimited, LMTimeout, ProtocolError]
LASTING = [
    dspex.AuthError,
    dspex.BadRequest,
    dspex.CircuitOpen,
    dspex.ContentFiltered,
    dspex.ContextWindowExceeded,
    dspex.LMError,
]


@pytest.mark.fault("S07")
@pytest.mark.parametrize("kind", PASSING)
def test_a_passing_fault_is_tried_again_after_a_wait(virtual, script, settled, kind):
    provider = script(kind("down"), kind("down"), "4")

    async def main():
        return await settled(dspex.LM("x/y", provider=provider).acall("2+2?"))

    [done] = virtual(main)
    assert done.value == ["4"]
    assert len(provider.requests) == 3
    assert 0 < done.seconds <= 1 + 2  # full jitter: up to 0.5 s times two, then times four


@pytest.mark.fault("S08")
@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_fault_that_stays_is_raised_after_the_last_attempt(virtual, script, settled, kind, retries):
    provider = script(kind("down"))

    async def main():
        return await settled(dspex.LM("x/y", provider=provider, num_retries=retries).acall("2+2?"))

    [done] = virtual(main)
    assert type(done.error) is kind
    assert len(provider.requests) == done.error.attempts == retries + 1
    assert done.seconds <= 1 + 2 + 4
    assert (f"[x/y] down (after {retries + 1} attempts)" in str(done.error)) == (retries > 0)


@pytest.mark.fault("S09")
@pytest.mark.fault("S10")
@pytest.mark.fault("S11")
@pytest.mark.fault("S12")
@pytest.mark.parametrize("kind", LASTING)
def test_a_lasting_fault_is_raised_at_once(virtual, script, settled, kind):
    provider = script(kind("no"))

    async def main():
        return await settled(dspex.LM("x/y", provider=provider).acall("2+2?"))

    [done] = virtual(main)
    assert type(done.error) is kind
    assert len(provider.requests) == 1
    assert done.seconds == 0
    assert (done.error.model, done.error.provider) == ("x/y", "x")


@pytest.mark.fault("S06")
def test_an_error_may_say_itself_whether_it_passes(virtual, script, settled):
    quota, odd = script(RateLimited("quota", retryable=False)), script(dspex.BadRequest("odd", retryable=True), "4")

    async def main():
        return await settled(*(dspex.LM("x/y", provider=provider).acall("2+2?") for provider in (quota, odd)))

    first, second = virtual(main)
    assert type(first.error) is RateLimited
    assert len(quota.requests) == 1
    assert second.value == ["4"]


@pytest.mark.fault("S01")
@pytest.mark.parametrize("asked", [0.0, 7.0, 60.0])
def test_the_wait_is_never_shorter_than_the_server_asks(virtual, script, settled, asked):
    provider = script(RateLimited("slow down", retry_after=asked), "4")

    async def main():
        return await settled(dspex.LM("x/y", provider=provider).acall("2+2?"))

    [done] = virtual(main)
    assert done.value == ["4"]
    assert asked <= done.seconds <= asked + 1


@pytest.mark.fault("S03")
@pytest.mark.parametrize(("timeout", "asked"), [(None, 86_400.0), (5.0, 6.0)])
def test_a_wait_beyond_the_deadline_is_not_begun(virtual, script, settled, timeout, asked):
    provider = script(RateLimited("slow down", retry_after=asked))

    async def main():
        return await settled(dspex.LM("x/y", provider=provider, timeout=timeout).acall("2+2?"))

    [done] = virtual(main)
    assert type(done.error) is RateLimited
    assert done.error.retry_after == asked
    assert done.error.attempts == 1
    assert done.seconds == 0


class Oddity(Exception):
    """Nothing that a provider may raise."""


@pytest.mark.fault("G07")
@pytest.mark.parametrize(
    "error", [ValueError("odd"), KeyError("odd"), Oddity("odd"), SystemExit("odd"), GeneratorExit("odd")], ids=repr
)
def test_a_foreign_error_of_a_provider_is_tried_once_more_and_named(virtual, script, settled, error):
    provider, other = script(error), script(5.0, "fine")

    async def main():
        lms = [dspex.LM("acme/y", provider=one) for one in (provider, other)]
        return await settled(*(lm.acall("2+2?") for lm in lms))

    done, beside = virtual(main)
    assert type(done.error) is dspex.PluginError
    assert done.error.__cause__ is error
    assert done.error.plugin == "acme"
    assert f"'acme' raised {type(error).__name__}: " in str(done.error)
    assert len(provider.requests) == done.error.attempts == 2
    assert beside.value == ["fine"]


@pytest.mark.fault("B01")
def test_a_reply_without_choices_is_tried_once_more(virtual, script, settled):
    provider = script(LMResponse(()))

    async def main():
        return await settled(dspex.LM("x/y", provider=provider).acall("2+2?"))

    [done] = virtual(main)
    assert type(done.error) is ProtocolError
    assert len(provider.requests) == 2


@pytest.mark.fault("G08")
@pytest.mark.parametrize("reply", [None, "4", {"choices": []}], ids=repr)
def test_a_reply_of_a_wrong_type_is_a_protocol_error(virtual, settled, reply):
    class Provider:
        async def complete(self, request):
            return reply

    async def main():
        return await settled(dspex.LM("x/y", provider=Provider()).acall("2+2?"))

    [done] = virtual(main)
    assert type(done.error) is ProtocolError
    assert "not an LMResponse" in str(done.error)


def test_a_wait_for_a_retry_holds_no_permit(virtual, script, settled):
    provider = script(RateLimited("slow down", retry_after=50.0), "other", "4")

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_in_flight=1)
        return await settled(lm.acall("2+2?"), lm.acall("other?"))

    waited, other = virtual(main)
    assert other.value == ["other"]
    assert other.seconds == 0
    assert waited.value == ["4"]


@pytest.mark.fault("R2")
def test_in_an_outage_retries_run_out(virtual, script, settled):
    provider = script(Unavailable("down"))

    async def main():
        lm = dspex.LM("x/y", provider=provider, breaker=False)
        await settled(*(lm.acall(f"{number}?") for number in range(200)))
        out = len(provider.requests)
        provider.steps = ["4"]
        await settled(*(lm.acall(f"again {number}?") for number in range(4)))
        provider.steps = [Unavailable("down"), "4"]
        return out, await settled(lm.acall("once more?"))

    out, [done] = virtual(main)
    assert out == 200 + 100  # each call once, and the bucket's 100 retries
    assert done.value == ["4"]  # four successes have paid for one retry


def test_many_calls_do_not_wait_in_step(virtual, script, settled):
    provider = script(*[Unavailable("down")] * 50, "4")

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        return await settled(*(lm.acall(f"{number}?") for number in range(50)))

    ends = sorted(done.seconds for done in virtual(main))
    assert len(set(ends)) == 50
    assert max(later - sooner for sooner, later in itertools.pairwise(ends)) < 0.3


def test_a_cancelled_call_is_not_tried_again(virtual, script):
    provider = script(60.0, "4")

    async def main():
        task = asyncio.create_task(dspex.LM("x/y", provider=provider).acall("2+2?"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert virtual(main)
    assert len(provider.requests) == 1


class Patient:
    """A policy of the user's: any error is tried again twice, after whole seconds."""

    def attempts_for(self, error):
        return 3

    def wait(self, error, attempt, rng):
        return float(attempt)


def test_the_policy_can_be_replaced(virtual, script, settled):
    provider = script(dspex.BadRequest("no"))

    async def main():
        return await settled(dspex.LM("x/y", provider=provider, retry=Patient()).acall("2+2?"))

    [done] = virtual(main)
    assert type(done.error) is dspex.BadRequest
    assert len(provider.requests) == done.error.attempts == 3
    assert done.seconds == pytest.approx(1.0 + 2.0, abs=0.01)


@pytest.mark.parametrize(("policy", "longest"), [({"base": 0.0}, 0.0), ({"cap": 1.0, "attempts": 8}, 7.0)], ids=str)
def test_our_own_policy_can_be_tuned(virtual, script, settled, policy, longest):
    provider = script(Unavailable("down"))

    async def main():
        policy_of_the_user = dspex.RetryPolicy(**policy)
        return await settled(dspex.LM("x/y", provider=provider, retry=policy_of_the_user).acall("2+2?"))

    [done] = virtual(main)
    assert len(provider.requests) == policy.get("attempts", 4)
    assert done.seconds <= longest + 0.01


@pytest.mark.fault("R11")
def test_a_full_queue_refuses_at_once_and_is_not_tried_again(virtual, script, settled):
    async def main():
        lm = dspex.LM("x/y", provider=script(seconds=1.0), max_in_flight=1)
        lm.service.attempts.limits.queue_limit = 10
        return await settled(*(lm.acall(f"{number}?") for number in range(15)))

    done = virtual(main)
    refused = [one for one in done if type(one.error) is RateLimited]
    assert len(refused) == 4
    assert all(one.seconds == 0 and one.error.attempts == 0 for one in refused)
