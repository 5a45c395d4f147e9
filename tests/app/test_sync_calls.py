"""Sync calls are the same code as async ones, wherever they are made."""

import asyncio
import threading

import pytest

import dspex
from dspex.plugin import LMResponse


class Provider:
    """Answers 4, and counts the loops it was asked on."""

    def __init__(self):
        self.loops = set()

    async def complete(self, request):
        self.loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0.001)
        return LMResponse.from_text("[[ ## answer ## ]]\n4")


@pytest.fixture
def predict():
    dspex.configure(lm=dspex.LM("x/y", provider=Provider(), cache=False))
    return dspex.Predict("question -> answer")


def test_a_script_calls(predict):
    assert predict(question="2+2?").answer == "4"
    assert dspex.settings.lm("2+2?") == ["[[ ## answer ## ]]\n4"]


def test_200_threads_call_at_once(predict):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(predict(question="2+2?").answer)) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["4"] * 200


@pytest.mark.fault("P12")
async def test_a_running_loop_may_call_and_is_blocked_alone(predict):
    assert predict(question="2+2?").answer == "4"
    assert (await predict.acall(question="2+2?")).answer == "4"


@pytest.mark.fault("P11")
def test_one_lm_serves_one_loop_after_the_other(predict):
    async def both():
        return predict(question="2+2?").answer, (await predict.acall(question="2+2?")).answer

    assert [asyncio.run(both()) for _ in range(3)] == [("4", "4")] * 3
    assert predict(question="2+2?").answer == "4"
    assert len(dspex.settings.lm._provider.loops) == 4


@pytest.mark.fault("P11")
def test_one_lm_serves_loops_side_by_side(predict):
    done = []

    def on_a_loop():
        async def calls():
            return await asyncio.gather(*(predict.acall(question=f"{number}?") for number in range(20)))

        done.extend(asyncio.run(calls()))

    threads = [threading.Thread(target=on_a_loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.answer for one in done] == ["4"] * 80


def test_a_sync_call_from_the_loop_of_sync_calls_is_served(predict):
    class Careless(dspex.Module):
        async def aforward(self, question):
            return predict(question=question)  # sync, on the bridge's own loop

    assert Careless()(question="2+2?").answer == "4"


@pytest.mark.parametrize("depth", [1, 3, 10])
def test_sync_calls_nest(predict, depth):
    class Deeper(dspex.Module):
        def __init__(self, left):
            self.inner = Deeper(left - 1) if left else predict

        async def aforward(self, question):
            return self.inner(question=question)

    assert Deeper(depth)(question="2+2?").answer == "4"


class Slow(Provider):
    """Answers after a while; `most` is how many calls were in flight at once."""

    now = most = 0
    seconds = 0.02

    async def complete(self, request):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        self.now -= 1
        return LMResponse.from_text("[[ ## answer ## ]]\n4")


class Asks(dspex.Module):
    """Makes async calls and beside them, on the same loop, a sync one that keeps the loop from going on."""

    def __init__(self, lm, question="sync?"):
        self.lm, self.question = lm, question

    async def aforward(self):
        tasks = [asyncio.create_task(self.lm.acall(f"{number}?")) for number in range(6)]
        while not self.lm._provider.now:  # noqa: ASYNC110  one turn of the loop each
            await asyncio.sleep(0)
        try:
            said = self.lm(self.question)
        finally:
            await asyncio.gather(*tasks)
        return said


BOTH = pytest.mark.parametrize(
    "call", [lambda one: one(), lambda one: asyncio.run(one.acall())], ids=["bridge", "own loop"]
)


@BOTH
def test_a_sync_call_waits_for_no_permit_of_the_loop_that_waits_for_it(call):
    lm = dspex.LM("x/y", provider=Slow(), max_in_flight=2)
    assert len(call(Asks(lm))) == 1
    assert lm._provider.most == 3
    assert lm.service.attempts.limits.used == 0


@BOTH
def test_a_sync_call_joins_no_equal_call_of_the_loop_that_waits_for_it(call):
    lm = dspex.LM("x/y", provider=Slow())
    assert len(call(Asks(lm, question="0?"))) == 1


@BOTH
def test_a_sync_call_waits_for_no_budget_of_the_loop_that_waits_for_it(call):
    lm = dspex.LM("x/y", provider=Slow())
    with dspex.budget(calls=6), pytest.raises(dspex.BudgetExceeded):
        call(Asks(lm))


async def test_a_sync_call_inside_a_loop_keeps_the_limit():
    lm = dspex.LM("x/y", provider=Slow(), max_in_flight=2)

    class Many(dspex.Module):
        async def aforward(self):
            await asyncio.gather(*(lm.acall(f"{number}?") for number in range(6)))

    Many()()
    assert lm._provider.most == 2


def test_a_sync_metric_may_ask_a_model_that_takes_few_calls_at_once():
    provider = Slow()
    provider.seconds = 0.002
    dspex.configure(lm=dspex.LM("x/y", provider=provider, max_in_flight=2))
    judge = dspex.Predict("question -> answer: float")

    def metric(example, prediction, trace=None):
        return judge(question=f"{example.question} {prediction.answer}").answer / 4

    devset = [dspex.Example(question=f"{number}?").with_inputs("question") for number in range(20)]
    evaluate = dspex.Evaluate(devset=devset, metric=metric)
    assert evaluate(dspex.Predict("question -> answer")).score == 100
    assert asyncio.run(evaluate.acall(dspex.Predict("question -> answer"))).score == 100


@pytest.mark.parametrize("kind", [ValueError, dspex.BadRequest, SystemExit])
def test_an_error_is_raised_where_the_call_was_made(kind):
    class Failing(dspex.Module):
        async def aforward(self):
            raise kind("no")

    with pytest.raises(kind, match="no"):
        Failing()()


def test_a_context_reaches_a_sync_call_and_ends_with_its_block(predict):
    class Second(Provider):
        async def complete(self, request):
            return LMResponse.from_text("[[ ## answer ## ]]\n5")

    with dspex.context(lm=dspex.LM("x/z", provider=Second())):
        assert predict(question="2+2?").answer == "5"
    assert predict(question="2+2?").answer == "4"


FORK = """
dspex.configure(lm=fast)
predict(question="2+2?")
asyncio.run(predict.acall(question="3+3?"))
child = os.fork()
say(predict(question="1?").answer, asyncio.run(predict.acall(question="2?")).answer)
if child:
    say(os.waitpid(child, 0)[1])
"""


@pytest.mark.fault("P10")
def test_after_a_fork_parent_and_child_call(printed):
    assert printed(FORK) == ["4 4", "4 4", "0"]


FORK_STARTED = """
class Started(Provider):
    async def start(self):
        say("started")
lm = dspex.LM("started/m", provider=Started(), cache=False)
lm("1?"), lm("2?")
child = os.fork()
say(len(lm("3?")))
if child:
    say(os.waitpid(child, 0)[1])
"""


@pytest.mark.fault("P10")
def test_a_child_starts_its_providers_anew(printed):
    assert sorted(printed(FORK_STARTED)) == ["0", "1", "1", "started", "started"]


FORK_IN_FLIGHT = """
lm = dspex.LM("slow/m", provider=Provider(0.2), max_in_flight=1)
dspex.configure(lm=lm)
worker = threading.Thread(target=lm, args=("same?",))
worker.start()
while not lm.service.attempts.limits or not lm.service.attempts.limits.used:
    time.sleep(0.001)
child = os.fork()
say(len(lm("same?")), len(lm("other?")))
if child:
    worker.join()
    say(os.waitpid(child, 0)[1])
os._exit(0) if not child else None
"""


@pytest.mark.fault("P10")
def test_a_child_waits_for_no_call_of_its_parent(printed):
    lines = [line for line in printed(FORK_IN_FLIGHT) if line != "asked"]
    assert lines == ["1 1", "1 1", "0"]


SPAWN = """
if __name__ == "__main__":
    import multiprocessing
    predict(question="2+2?", lm=fast)
    for method in ("fork", "forkserver"):
        pipe, end = multiprocessing.Pipe()
        process = multiprocessing.get_context(method).Process(target=os.write, args=(1, b"child\\n"))
        process.start()
        process.join()
    print(process.exitcode)
"""


@pytest.mark.fault("P10")
def test_processes_start_after_a_call(printed):
    assert printed(SPAWN)[-1] == "0"
