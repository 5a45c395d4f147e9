"""Limits: never passed, well used, shared fairly, and what an endpoint says of its own is believed."""

import asyncio
import itertools
import threading
from collections import deque

import pytest

import dspex
from dspex.core.clock import SystemClock
from dspex.plugin import LMResponse, RateLimited, Unavailable, Usage
from dspex.service.limits import Limiter, Pace
from dspex.testing import VirtualClock, simulate

MINUTE = 60.0


class Recording:
    """Answers after `seconds`, taking `tokens`; `times` has when each request came."""

    def __init__(self, seconds=0.5, tokens=None):
        self.seconds, self.tokens = seconds, tokens
        self.times = []

    async def complete(self, request):
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        return LMResponse.from_text("4", self.tokens)


def most_in_a_minute(times, amounts=None):
    window, total, most = deque(), 0, 0
    for time, amount in zip(times, amounts or [1] * len(times), strict=True):
        window.append((time, amount))
        total += amount
        while window[0][0] <= time - MINUTE:
            total -= window.popleft()[1]
        most = max(most, total)
    return most


@pytest.mark.fault("R13")
@pytest.mark.parametrize("limit", [1, 7, 200])
def test_a_rate_is_never_passed_and_used_whole(virtual, limit):
    provider, minutes = Recording(), 5

    async def main():
        lm = dspex.LM("x/y", provider=provider, cache=False, requests_per_minute=limit)
        tasks = [asyncio.create_task(lm.acall("2+2?")) for _ in range(limit * (minutes + 2))]
        await asyncio.sleep(minutes * MINUTE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual(main)
    assert most_in_a_minute(provider.times) <= limit
    assert len(provider.times) >= 0.95 * limit * minutes
    at_once = max(len(list(same)) for _, same in itertools.groupby(provider.times, lambda time: round(time, 2)))
    assert at_once <= max(1, limit // 10) + 1


@pytest.mark.slow
@pytest.mark.fault("R13")
def test_a_day_of_rate_limiting(virtual):
    """The limiter alone, as the calls around it would take a minute."""

    async def main():
        limiter = Limiter(Pace(requests_per_minute=2), VirtualClock())
        loop, times = asyncio.get_running_loop(), []
        while loop.time() < 86_400:
            permit = await limiter.acquire()
            times.append(loop.time())
            limiter.release(permit)
        return times

    times = virtual(main)
    assert most_in_a_minute(times) <= 2
    assert len(times) >= 0.95 * 2 * 1_440


@pytest.mark.fault("R13")
def test_tokens_are_guessed_at_first_and_settled_after(virtual):
    """Each bound is 4,096 and more; 500 are taken."""
    provider = Recording(seconds=1.0, tokens=Usage(400, 100))

    async def main():
        lm = dspex.LM("x/y", provider=provider, cache=False, tokens_per_minute=100_000)
        tasks = [asyncio.create_task(lm.acall("2+2?")) for _ in range(1_000)]
        await asyncio.sleep(4 * MINUTE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual(main)
    times = [time for time in provider.times if time > MINUTE]
    assert most_in_a_minute(times, [500] * len(times)) <= 1.05 * 100_000
    assert len(times) * 500 >= 0.95 * 3 * 100_000


def test_more_tokens_than_a_minute_has_go_alone(virtual, script, settled):
    async def main():
        lm = dspex.LM("x/y", provider=script(), max_tokens=5_000, tokens_per_minute=1_000)
        return await settled(lm.acall("2+2?"))

    [done] = virtual(main)
    assert done.value == ["4"]
    assert done.seconds == 0


@pytest.mark.fault("R12")
@pytest.mark.parametrize("limit", [{"max_in_flight": 4}, {"requests_per_minute": 60}], ids=str)
def test_one_request_beside_a_large_job_gets_its_turn(virtual, limit):
    provider = Recording(seconds=2.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider, cache=False, **limit)

        async def job():
            with dspex.context():
                await asyncio.gather(*(lm.acall("job") for _ in range(500)))

        running = asyncio.create_task(job())
        await asyncio.sleep(30.3)
        began = asyncio.get_running_loop().time()
        await lm.acall("one")
        waited = asyncio.get_running_loop().time() - began - provider.seconds
        running.cancel()
        await asyncio.wait([running])
        return waited

    assert virtual(main) <= 2 * provider.seconds


def test_within_one_request_the_first_come_is_the_first_served(virtual, script):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_in_flight=1)

        async def request(name):
            with dspex.context():
                await asyncio.gather(*(lm.acall(f"{name}{number}") for number in range(3)))

        await asyncio.gather(request("a"), request("b"))

    virtual(main)
    assert [one.messages[0].text for one in provider.requests] == ["a0", "a1", "b0", "a2", "b1", "b2"]


@pytest.mark.fault("S03")
def test_a_turn_that_would_come_after_the_deadline_is_refused_at_once(virtual, script, settled):
    async def main():
        lm = dspex.LM("x/y", provider=script(), requests_per_minute=1, timeout=5.0)
        return await settled(lm.acall("first?"), lm.acall("second?"))

    first, second = virtual(main)
    assert first.value == ["4"]
    assert type(second.error) is RateLimited
    assert second.error.retry_after == pytest.approx(60, abs=0.1)
    assert second.error.attempts == 0
    assert second.seconds == 0


def test_a_cache_hit_needs_no_permit(virtual, script, settled):
    class Memory(dict):
        peek = dict.get

        async def set(self, key, value, ttl=None):
            self[key] = value

        async def aclose(self):
            pass

    async def main():
        lm = dspex.LM("x/y", provider=script(), requests_per_minute=1)
        await lm.acall("same?")
        return await settled(*(lm.acall("same?") for _ in range(9)))

    assert all(done.seconds == 0 for done in virtual(main, cache=Memory()))


def test_calls_that_give_up_in_the_queue_take_no_share_of_the_rate(virtual, script, settled):
    async def main():
        lm = dspex.LM("x/y", provider=script(), requests_per_minute=10)
        await settled(*(lm.acall(f"{number}?") for number in range(1)))
        waiting = [asyncio.create_task(lm.acall(f"given up {number}?")) for number in range(50)]
        await asyncio.sleep(1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return await settled(lm.acall("and now?"))

    assert virtual(main)[0].seconds <= 6.1


def test_a_loop_that_ends_leaves_the_queue_going():
    limiter = Limiter(Pace(requests_per_minute=600), SystemClock())

    async def give_up():
        await asyncio.wait({asyncio.ensure_future(limiter.acquire()) for _ in range(70)}, timeout=0.01)

    async def take():
        limiter.release(await asyncio.wait_for(limiter.acquire(), 5))

    asyncio.run(give_up())
    asyncio.run(take())


@pytest.mark.fault("R14")
def test_a_rate_holds_over_loops_and_threads():
    limiter = Limiter(Pace(max_in_flight=10, requests_per_minute=300), SystemClock())
    taken, most, lock = [], [0], threading.Lock()

    async def one():
        permit = await limiter.acquire()
        with lock:
            taken.append(permit)
            most[0] = max(most[0], limiter.used)
        await asyncio.sleep(0)
        limiter.release(permit)

    async def many():
        async with asyncio.timeout(0.3):
            await asyncio.gather(*(one() for _ in range(100)))

    def work():
        try:
            asyncio.run(many())
        except TimeoutError:
            return

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= 10
    assert 30 <= len(taken) <= 30 + 300 / 60 * 3  # the burst, and what the rate gives in so short a time
    assert limiter.used == 0


class Answers:
    """The limiter beside the HTTP client: `hear` is what the client calls for each reply."""

    def __init__(self, status=200, **headers):
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}


TOLD = {
    "openai, requests": Answers(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="20s"),
    "minutes": Answers(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="0m20.0s"),
    "milliseconds": Answers(x_ratelimit_remaining_tokens="3", x_ratelimit_reset_tokens="20000ms"),
    "plain seconds": Answers(x_ratelimit_remaining_tokens="3", x_ratelimit_reset_tokens="20"),
    "anthropic": Answers(
        anthropic_ratelimit_requests_remaining="0",
        anthropic_ratelimit_requests_reset="2026-01-01T00:00:20Z",
        date="Thu, 01 Jan 2026 00:00:00 GMT",
    ),
    "429": Answers(429, retry_after="20"),
    "429 with a date": Answers(429, retry_after="Thu, 01 Jan 2026 00:00:20 GMT", date="Thu, 01 Jan 2026 00:00:00 GMT"),
}


@pytest.mark.fault("S01")
@pytest.mark.fault("S02")
@pytest.mark.parametrize("answer", TOLD.values(), ids=TOLD)
def test_what_an_endpoint_says_of_its_limits_is_obeyed(answer):
    async def main():
        limiter = Limiter(Pace(), VirtualClock())
        limiter.hear(answer.status, answer.headers)
        waiting = [asyncio.create_task(limiter.acquire(bound=10)) for _ in range(3)]
        await asyncio.wait(waiting)

    assert simulate(main)[1] == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "20s"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"},
        {"x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-remaining-requests": "NaN", "x-ratelimit-reset-requests": "1e400"},
        {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2026-13-01"},
        {"retry-after": "20"},
    ],
    ids=str,
)
def test_headers_without_sense_limit_nothing(headers):
    limiter = Limiter(Pace(), VirtualClock())
    limiter.hear(200, headers)
    assert limiter.is_unlimited


def test_what_is_left_is_used_up_and_then_waited_for():
    async def main():
        limiter = Limiter(Pace(), VirtualClock())
        headers = {
            "x-ratelimit-remaining-requests": "5",
            "x-ratelimit-limit-requests": "8",
            "x-ratelimit-reset-requests": "30s",
        }
        limiter.hear(200, headers)
        ends = []

        async def one():
            limiter.release(await limiter.acquire())
            ends.append(round(asyncio.get_running_loop().time()))

        async with asyncio.TaskGroup() as group:
            for _ in range(13):
                group.create_task(one())
        return ends

    assert simulate(main)[0] == [0] * 5 + [30] * 8


@pytest.mark.fault("S03")
def test_an_endpoint_that_asks_for_a_day_is_asked_again_after_two_minutes_and_refused_at_once_until_then():
    async def main():
        limiter = Limiter(Pace(), VirtualClock())
        limiter.hear(429, {"retry-after": "86400"})
        with pytest.raises(RateLimited, match="86400 s more") as caught:
            await limiter.acquire()
        refused = asyncio.get_running_loop().time()
        await asyncio.sleep(120.1)
        await limiter.acquire()
        return refused, caught.value.retry_after, asyncio.get_running_loop().time()

    assert simulate(main)[0] == pytest.approx((0, 86_400, 120), abs=0.2)


class Bears:
    """Refuses with a 429 beyond `most` in flight."""

    def __init__(self, most, seconds=1.0):
        self.most, self.seconds = most, seconds
        self.now = self.refused = self.answered = 0

    async def complete(self, request):
        if self.now >= self.most:
            self.refused += 1
            raise RateLimited("slow down")
        self.now += 1
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.now -= 1
        self.answered += 1
        return LMResponse.from_text("4")


def adaptive(virtual, provider, calls, **options):
    async def main():
        lm = dspex.LM("x/y", provider=provider, cache=False, adaptive=True, num_retries=9, **options)
        gather = asyncio.gather(*(lm.acall("2+2?") for _ in range(calls)), return_exceptions=True)
        limits, at_work = [], asyncio.ensure_future(gather)
        while not at_work.done():
            await asyncio.sleep(1.0)
            limits.append(lm.service.attempts.limits.limit)
        return limits

    return virtual(main)


@pytest.mark.fault("S05")
def test_an_adaptive_limit_finds_what_the_endpoint_bears(virtual):
    provider = Bears(50)
    limits = adaptive(virtual, provider, 1_200)
    assert provider.answered >= 1_180
    assert provider.refused <= 0.1 * 1_200
    steady = limits[len(limits) // 3 : -5]
    assert 25 <= sum(steady) / len(steady) <= 60


def test_an_adaptive_limit_goes_down_where_replies_become_slow(virtual):
    class Crowded(Bears):
        async def complete(self, request):
            self.seconds = 1.0 if self.now < 20 else 1.0 + (self.now - 20) / 4
            return await super().complete(request)

    limits = adaptive(virtual, Crowded(10_000), 1_500)
    steady = limits[len(limits) // 2 : -5]
    assert max(steady) <= 60


def test_an_adaptive_limit_stays_below_the_users(virtual):
    assert max(adaptive(virtual, Bears(10_000), 500, max_in_flight=12)) == 12


@pytest.mark.parametrize(
    "wrong",
    [{"max_in_flight": 0}, {"requests_per_minute": -1}, {"tokens_per_minute": float("nan")}, {"max_in_flight": "2"}],
    ids=str,
)
def test_a_limit_below_one_is_refused(wrong):
    with pytest.raises(dspex.ConfigurationError, match="one is the least"):
        dspex.LM("x/y", provider=Recording(), **wrong)


def test_a_retry_takes_from_the_rate_too(virtual, script, settled):
    provider = script(Unavailable("down"), "4")

    async def main():
        return await settled(dspex.LM("x/y", provider=provider, requests_per_minute=1).acall("2+2?"))

    [done] = virtual(main)
    assert done.value == ["4"]
    assert done.seconds >= 60


def test_a_retry_does_not_queue_from_the_end_again(virtual, script):
    provider = script(Unavailable("down"), "4", seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_in_flight=1)
        await asyncio.gather(*(lm.acall(f"{number}?") for number in range(30)))

    virtual(main)
    asked = [one.messages[0].text for one in provider.requests]
    assert asked.index("0?", 1) <= 4
