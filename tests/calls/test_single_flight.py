"""Equal calls at one time are one request."""

import asyncio
import gc
import threading

import pytest

import dspex
from dspex.plugin import BadRequest, LMTimeout, Unavailable


@pytest.mark.fault("R9")
@pytest.mark.parametrize("count", [2, 1_000])
def test_equal_calls_are_one_request(virtual, script, settled, count):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        with dspex.track_usage() as usage:
            return await settled(*(lm.acall("2+2?") for _ in range(count))), usage.total

    done, usage = virtual(main)
    assert [one.value for one in done] == [["4"]] * count
    assert len(provider.requests) == 1
    assert (usage.calls, usage.input_tokens) == (1, 10)  # a follower pays nothing


@pytest.mark.parametrize(
    "other",
    [{"temperature": 0.5}, {"rollout_id": 1}, {"max_tokens": 9}, {"messages": [{"role": "user", "content": "3+3?"}]}],
    ids=str,
)
def test_calls_that_differ_are_requests_of_their_own(virtual, script, settled, other):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        return await settled(lm.acall("2+2?"), lm.acall("2+2?", **other))

    assert all(one.error is None for one in virtual(main))
    assert len(provider.requests) == 2


def test_calls_without_a_cache_are_requests_of_their_own(virtual, script, settled):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider, cache=False)
        await settled(*(lm.acall("2+2?") for _ in range(5)))

    virtual(main)
    assert len(provider.requests) == 5


@pytest.mark.fault("P15")
@pytest.mark.fault("R9")
def test_a_cancelled_leader_hands_over(virtual, script):
    provider = script(seconds=10.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        leader, *followers = [asyncio.create_task(lm.acall("2+2?")) for _ in range(50)]
        await asyncio.sleep(5)
        leader.cancel()
        replies = await asyncio.gather(*followers)
        return leader.cancelled(), replies

    assert virtual(main) == (True, [["4"]] * 49)
    assert len(provider.requests) == 2


@pytest.mark.fault("P14")
def test_a_cancelled_follower_leaves_the_leader_alone(virtual, script):
    provider = script(seconds=10.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        leader, follower = (asyncio.create_task(lm.acall("2+2?")) for _ in range(2))
        await asyncio.sleep(5)
        follower.cancel()
        await asyncio.wait([follower])
        return await leader, follower.cancelled()

    assert virtual(main) == (["4"], True)
    assert len(provider.requests) == 1


@pytest.mark.fault("R9")
def test_a_fault_of_the_provider_is_one_error_for_all(virtual, script, settled):
    provider = script(BadRequest("no"), "4", seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        return await settled(*(lm.acall("2+2?") for _ in range(50))), await lm.acall("2+2?")

    done, later = virtual(main)
    assert [type(one.error) for one in done] == [BadRequest] * 50
    assert later == ["4"]  # an error is not kept
    assert len(provider.requests) == 2


@pytest.mark.parametrize("leads", [True, False])
def test_each_keeps_its_own_deadline(virtual, script, settled, leads):
    provider = script(seconds=10.0)

    async def main():
        patient = dspex.LM("x/y", provider=provider)
        hasty = patient.copy(timeout=3.0)
        order = [hasty, patient] if leads else [patient, hasty]
        return await settled(*(lm.acall("2+2?") for lm in order))

    done = virtual(main)
    hasty, patient = done if leads else reversed(done)
    assert type(hasty.error) is LMTimeout
    assert hasty.seconds == pytest.approx(3.0, abs=0.01)
    assert patient.value == ["4"]
    assert patient.seconds == pytest.approx(13.0 if leads else 10.0, abs=0.01)
    assert len(provider.requests) == (2 if leads else 1)


def test_a_leader_at_the_end_of_its_budget_hands_over(virtual, script, settled):
    provider = script(Unavailable("down"), "4", seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        with dspex.budget(calls=1):
            leader = asyncio.create_task(lm.acall("2+2?"))
            await asyncio.sleep(0.5)
        return await settled(leader, lm.acall("2+2?"))

    leader, follower = virtual(main)
    assert type(leader.error) is dspex.BudgetExceeded
    assert follower.value == ["4"]


def test_equal_calls_of_threads_and_loops_are_one_request(script):
    provider = script(seconds=0.2)
    lm = dspex.LM("x/y", provider=provider)
    replies = []
    works = [lambda: replies.append(lm("2+2?")), lambda: replies.append(asyncio.run(lm.acall("2+2?")))] * 5
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [["4"]] * 10
    assert len(provider.requests) == 1


@pytest.mark.fault("P11")
def test_who_led_on_a_loop_that_was_closed_under_it_is_not_waited_for(script):
    provider = script(60.0, "never", "4")
    lm = dspex.LM("x/y", provider=provider)
    loop = asyncio.new_event_loop()
    with asyncio.Runner() as runner:
        left = loop.create_task(lm.acall("2+2?"))  # held, so that nobody ends it
        loop.run_until_complete(asyncio.sleep(0.01))
        follower = runner.get_loop().create_task(lm.acall("2+2?"))
        runner.run(asyncio.sleep(0.01))
        loop.close()
        assert runner.run(lm.acall("2+2?")) == ["4"]
        assert runner.run(asyncio.wait_for(follower, 5)) == ["4"]
    assert len(provider.requests) == 2
    left._log_destroy_pending = False


@pytest.mark.fault("P11")
def test_calls_of_a_loop_that_was_dropped_give_all_back_without_a_word(script):
    provider = script(60.0, "never", "4")
    lm = dspex.LM("x/y", provider=provider, max_in_flight=1)
    loop = asyncio.new_event_loop()
    with dspex.budget(calls=3) as budget:
        left = loop.create_task(lm.acall("2+2?"))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        left._log_destroy_pending = False
        del left
        gc.collect()
        assert lm("2+2?") == ["4"]
        assert (budget.spent.calls, budget.left.calls) == (2, 1)
    assert len(provider.requests) == 2
