"""An App that stops: by its end, or because a child dies too often. Nobody who waits for a reply is left waiting."""

import asyncio
import contextlib
import threading

import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.plugin.manager import PluginManager
from dspex.testing import VirtualClock, simulate


class Slow:
    """A provider that takes its time; `wanted` are the calls that it has been asked, `cut` those that were cancelled."""

    def __init__(self, seconds):
        self.seconds, self.asked, self.cut = seconds, 0, 0

    async def complete(self, request):
        self.asked += 1
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cut += 1
            raise
        return LMResponse.from_text("4")

    async def stream(self, request):
        yield dspex.plugin.LMDelta("4")
        await self.complete(request)
        yield dspex.plugin.LMDelta("", finish_reason="stop")


def new_app(**settings):
    return dspex.App(clock=VirtualClock(), plugins=PluginManager(lambda: ()), **settings)


async def dying():
    raise OSError("gone")


@pytest.mark.fault("P19")
@pytest.mark.parametrize(
    "limits",
    [{}, {"max_in_flight": 3}, {"requests_per_minute": 60}, {"timeout": 900.0}],
    ids=["in flight", "for a permit", "for a minute", "with a deadline of their own"],
)
def test_a_child_that_dies_too_often_ends_all_500_who_wait_in_the_same_second(limits):
    provider = Slow(60.0)

    async def main():
        loop, app = asyncio.get_running_loop(), new_app()
        async with app:
            lm = dspex.LM("x/y", provider=provider, **limits)

            async def call(number):
                with pytest.raises(dspex.Unavailable, match=r"This App has stopped.*'storm' died.*gone"):
                    await lm.acall(f"{number}?")
                return loop.time()

            calls = [asyncio.create_task(call(number)) for number in range(500)]
            await asyncio.sleep(10)
            began = loop.time()
            app.supervise("storm", dying)
            with pytest.warns(RuntimeWarning, match="This App has stopped"):
                ends = await asyncio.gather(*calls)
            with pytest.raises(dspex.Unavailable, match="This App has stopped"):
                await lm.acall("one more?")
            return max(ends) - began, lm.service.attempts.limits.used, len(asyncio.all_tasks())

    (seconds, used, tasks), _ = simulate(main)
    assert (seconds < 0.01, used, tasks) == (True, 0, 1)


@pytest.mark.fault("P19")
def test_a_child_with_somebody_to_tell_falls_alone():
    told = []

    async def main():
        async with new_app() as app:
            lm = dspex.LM("x/y", provider=Slow(1.0))
            app.supervise("storm", dying, on_failure=told.append)
            app.supervise("calm", asyncio.Event().wait)
            await asyncio.sleep(1)
            assert {row.name: row.state for row in app.tree()} == {"storm": "failed", "calm": "running"}
            return await lm.acall("2+2?")

    assert simulate(main)[0] == ["4"]
    assert "'storm' died (OSError: gone) after 3 restarts in 5 s" in str(told[0])


def test_one_cause_that_kills_many_children_once_is_no_storm():
    async def main():
        async with new_app() as app:
            for number in range(50):
                app.supervise(f"child {number}", asyncio.Event().wait)
            await asyncio.sleep(1)
            for task in asyncio.all_tasks():
                if task.get_name().startswith("app:child"):
                    task.cancel()
            await asyncio.sleep(1)
            return {(row.state, row.restarts) for row in app.tree()}

    assert simulate(main)[0] == {("running", 1)}


class Failing:
    """A cache whose background work dies at once."""

    def __init__(self):
        self.asked = 0

    async def background(self):
        raise OSError("disk gone")

    async def get(self, key):
        self.asked += 1

    async def set(self, key, value, ttl=None): ...
    async def delete(self, key): ...
    async def clear(self): ...
    async def aclose(self): ...

    async def stats(self):
        return {}


@pytest.mark.fault("R23")
def test_a_cache_that_dies_too_often_costs_misses_and_no_call():
    cache, heard = Failing(), []

    async def main():
        async with new_app(cache=cache) as app:
            app.bus.subscribe(heard.append, "test")
            lm = dspex.LM("x/y", provider=Slow(1.0))
            with pytest.warns(RuntimeWarning, match="cache is off until it is configured again"):
                assert await lm.acall("2+2?") == ["4"]
            asked = cache.asked
            assert await lm.acall("3+3?") == ["4"]
            assert (cache.asked, [row.state for row in app.tree() if row.name == "cache"]) == (asked, ["failed"])

    simulate(main)
    assert "Failing" in [event.backend for event in heard if isinstance(event, dspex.core.events.CacheFailed)]


class Batching:
    """A provider whose background work answers what calls have put into its queue."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def complete(self, request):
        future = asyncio.get_running_loop().create_future()
        self.queue.put_nowait(future)
        return LMResponse.from_text(await future)

    async def background(self):
        while True:
            future = await self.queue.get()
            try:
                await asyncio.sleep(0.01)
                future.set_result("4")
            finally:
                if not future.done():
                    future.set_exception(dspex.Unavailable("The worker died."))


@pytest.mark.fault("R22")
@pytest.mark.fault("P19")
def test_a_provider_whose_background_work_is_killed_loses_no_call():
    async def main():
        async with new_app() as app:
            lm = dspex.LM("x/y", provider=Batching(), cache=False)
            calls = [asyncio.create_task(lm.acall(f"{number}?")) for number in range(100)]
            for _ in range(5):
                await asyncio.sleep(2.0)
                calls += [asyncio.create_task(lm.acall("more?")) for _ in range(20)]
                await asyncio.sleep(0.005)
                [worker] = [task for task in asyncio.all_tasks() if task.get_name() == "app:x/y #1"]
                worker.cancel()
            answers = await asyncio.gather(*calls)
            [service, worker] = app.tree()
            return answers, service.name, (worker.state, worker.restarts)

    answers, name, worker = simulate(main)[0]
    assert answers == [["4"]] * 200
    assert (name, worker) == ("x/y", ("running", 5))


# The end of an App


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_an_app_that_ends_lets_calls_under_way_finish(kind):
    provider = Slow(3.0)

    async def main():
        async with new_app():
            lm = dspex.LM("x/y", provider=provider)
            call = asyncio.create_task(lm.acall("2+2?") if kind == "call" else streamed(lm))
            await asyncio.sleep(0.1)
        return await call

    assert simulate(main)[0] in (["4"], "4")
    assert provider.cut == 0


async def streamed(lm):
    return "".join([delta.text async for delta in lm.stream(lm.request((dspex.plugin.Message.of("user", "?"),), {}))])


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_what_takes_longer_is_ended_with_a_typed_error_and_gives_all_back(kind):
    async def main():
        async with new_app() as app:
            lm = dspex.LM("x/y", provider=Slow(60.0), max_in_flight=1)
            with dspex.budget(calls=10) as budget:
                call = asyncio.create_task(lm.acall("2+2?") if kind == "call" else streamed(lm))
            await asyncio.sleep(0.1)
            began = asyncio.get_running_loop().time()
            await app.aclose(drain=2.0)
            seconds = asyncio.get_running_loop().time() - began
        with pytest.raises(dspex.Unavailable, match="closed while it was under way"):
            await call
        return seconds, lm.service.attempts.limits.used, budget.left.calls + budget.spent.calls

    seconds, used, calls = simulate(main)[0]
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert (used, calls) == (0, 10)


def test_a_block_that_fails_waits_for_no_call():
    async def main():
        began = asyncio.get_running_loop().time()
        with contextlib.suppress(ValueError):
            async with new_app():
                call = asyncio.create_task(dspex.LM("x/y", provider=Slow(60.0)).acall("2+2?"))
                await asyncio.sleep(0.1)
                raise ValueError("mine")
        assert asyncio.get_running_loop().time() - began < 0.2
        with pytest.raises(dspex.Unavailable):
            await call

    simulate(main)


def test_closing_ends_the_calls_of_other_loops_and_threads():
    app, provider, ends = new_app_in_real_time(), Slow(60.0), []
    lm = dspex.LM("x/y", provider=provider, cache=False)

    def work(call):
        with dspex.context():
            try:
                call()
            except dspex.Unavailable as error:
                ends.append(str(error))

    calls = [lambda: lm("sync?"), lambda: asyncio.run(lm.acall("async?"))]
    before = dspex.app.app.default_app.replace(app)
    threads = [threading.Thread(target=work, args=(call,)) for call in calls for _ in range(5)]
    for thread in threads:
        thread.start()
    while provider.asked < 10:
        threading.Event().wait(0.001)
    app.close(drain=0)
    for thread in threads:
        thread.join()
    dspex.app.app.default_app.replace(before)
    assert len(ends) == 10
    assert all("closed while it was under way" in end for end in ends)


def new_app_in_real_time():
    return dspex.App(plugins=PluginManager(lambda: ()))


def test_a_task_that_exits_ends_no_call_of_the_thread_that_runs_the_loop():
    class Exiting(Slow):
        async def complete(self, request):
            async def exits():
                raise SystemExit(3)

            self.left = asyncio.get_running_loop().create_task(exits())
            return await super().complete(request)

    found = []
    lm = dspex.LM("x/y", provider=Exiting(0.01), cache=False)
    caller = threading.Thread(target=lambda: found.append(lm("2+2?")))
    caller.start()
    caller.join(5)
    assert found == [["4"]]


def test_a_task_that_exits_the_loop_of_sync_calls_ends_nobody_elses_call():
    lm = dspex.LM("x/y", provider=Slow(0.05), cache=False)
    app = dspex.app.app.default_app.get()

    async def exits():
        raise SystemExit(3)

    before = threading.Thread(target=lm, args=("before?",))
    before.start()
    app.loop.call_soon_threadsafe(lambda: app.loop.create_task(exits()))
    before.join(5)
    assert not before.is_alive()
    assert lm("after?") == ["4"]
