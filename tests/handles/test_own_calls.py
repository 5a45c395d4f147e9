"""LM classes whose `__call__` or `acall` is their own, as programs written for DSPy bring them."""

import asyncio

import pytest

import dspex
from dspex.core.messages import Choice
from dspex.plugin import Capabilities, LMResponse

REPLY = "[[ ## answer ## ]]\n4"


class Provider:
    """Says 4, and keeps what it was asked."""

    capabilities = Capabilities(chat=True, n=True)

    def __init__(self):
        self.asked = []

    async def complete(self, request):
        self.asked.append(request)
        return LMResponse((Choice(REPLY),) * request.n)


class Counting(dspex.LM):
    """Counts, and leaves the call to LM."""

    count = 0

    def __call__(self, prompt=None, messages=None, **kwargs):
        self.count += 1
        return super().__call__(prompt=prompt, messages=messages, **kwargs)


class CountingAsync(dspex.LM):
    """The same, async."""

    count = 0

    async def acall(self, prompt=None, messages=None, **kwargs):
        self.count += 1
        return await super().acall(prompt=prompt, messages=messages, **kwargs)


class CountingByName(dspex.LM):
    """The same, without super."""

    count = 0

    def __call__(self, prompt=None, messages=None, **kwargs):
        self.count += 1
        return dspex.LM.__call__(self, prompt, messages, **kwargs)


class Whole(dspex.BaseLM):
    """Answers by itself; `given` is what came."""

    def __call__(self, prompt=None, messages=None, **kwargs):
        self.given = (prompt, messages, kwargs)
        return [REPLY]


class WholeAsync(dspex.LM):
    """The same, async, with what it thought."""

    async def acall(self, prompt=None, messages=None, **kwargs):
        await asyncio.sleep(0)
        self.given = (prompt, messages, kwargs)
        return [{"text": REPLY, "reasoning_content": "two and two"}]


def solved(lm, **config):
    """What a program answers with it, called sync and async."""
    program = dspex.Predict("question -> answer: int", **config)
    with dspex.context(lm=lm):
        return program(question="2+2?").answer, asyncio.run(program.acall(question="3+1?")).answer


@pytest.mark.parametrize("kind", [Counting, CountingAsync, CountingByName])
def test_a_call_around_lms_own_is_used_by_modules_and_pays_once(kind):
    provider = Provider()
    lm = kind("acme/m", provider=provider, cache=False, temperature=0.3)
    with dspex.track_usage() as usage, dspex.budget(calls=2) as budget:
        assert solved(lm, max_tokens=9) == (4, 4)
    assert lm.count == len(provider.asked) == 2
    assert provider.asked[0].params == {"temperature": 0.3, "max_tokens": 9}
    assert (usage.total.calls, budget.spent.calls, len(lm.history)) == (2, 2, 2)


@pytest.mark.parametrize("kind", [Counting, CountingAsync])
def test_several_completions_pass_through_it(kind):
    lm = kind("acme/m", provider=Provider(), cache=False)
    with dspex.context(lm=lm):
        found = dspex.Predict("question -> answer", n=3)(question="2+2?").completions
    assert (found.answer, lm.count) == (["4"] * 3, 1)


def test_errors_and_retries_are_those_of_the_call_inside():
    class Failing(Provider):
        async def complete(self, request):
            self.asked.append(request)
            raise dspex.Unavailable("down", retry_after=0.0)

    provider = Failing()
    lm = Counting("acme/m", provider=provider, cache=False, num_retries=1)
    with dspex.context(lm=lm), pytest.raises(dspex.Unavailable, match="down"):
        dspex.Predict("question -> answer")(question="2+2?")
    assert (lm.count, len(provider.asked)) == (1, 2)


@pytest.mark.parametrize("kind", [Whole, WholeAsync])
def test_a_call_that_answers_by_itself_is_one_of_its_model(kind):
    lm = kind("dummy", temperature=0.5)
    with dspex.track_usage() as usage, dspex.budget(calls=2) as budget:
        assert solved(lm) == (4, 4)
    prompt, messages, kwargs = lm.given
    assert (prompt, kwargs) == (None, {"temperature": 0.5})
    assert [message["role"] for message in messages] == ["system", "user"]
    assert (usage.total.calls, budget.spent.calls, len(lm.history)) == (2, 2, 2)


def test_it_goes_before_a_provider():
    provider = Provider()
    assert solved(Whole("acme/m", provider=provider)) == (4, 4)
    assert provider.asked == []


def test_called_by_hand_it_is_what_it_says():
    assert Whole("dummy")("2+2?") == [REPLY]
    lm = Counting("acme/m", provider=Provider(), cache=False)
    assert lm("2+2?") == [REPLY]
    assert lm.count == 1


def test_a_copy_is_asked_by_its_own():
    lm = Whole("dummy")
    twin = lm.copy(temperature=0.9)
    assert solved(twin) == (4, 4)
    assert twin.given[2] == {"temperature": 0.9}
    assert not hasattr(lm, "given")


def test_what_it_raises_is_told_as_any_providers_fault():
    class Broken(dspex.LM):
        def __call__(self, prompt=None, messages=None, **kwargs):
            raise KeyError("no such answer")

    with pytest.raises(dspex.PluginError, match="no such answer"):
        solved(Broken("dummy", num_retries=0))


def test_an_answer_in_no_known_form_is_told_by_the_methods_name():
    class Odd(dspex.LM):
        def __call__(self, prompt=None, messages=None, **kwargs):
            return 4

    with pytest.raises(dspex.ProtocolError, match=r"Odd\.__call__ gave a int"):
        solved(Odd("dummy", num_retries=0))


def test_a_call_stands_before_a_forward_and_around_it():
    class Shouting(dspex.BaseLM):
        def forward(self, prompt=None, messages=None, **kwargs):
            return REPLY

        def __call__(self, prompt=None, messages=None, **kwargs):
            return [text.replace("4", "5") for text in super().__call__(prompt, messages, **kwargs)]

    assert solved(Shouting("mine")) == (5, 5)


class Scoring(dspex.Optimizer):
    """Runs the program on all examples."""

    metric = staticmethod(lambda gold, pred, trace=None: gold.answer == pred.answer)

    async def run(self, ctx):
        await ctx.evaluate(ctx.student, ctx.train)
        return ctx.student


@pytest.mark.parametrize("kind", [Counting, Whole])
def test_a_compile_that_goes_on_calls_it_for_nothing_twice(tmp_path, kind):
    data = [dspex.Example(question=f"{n}?", answer=4).with_inputs("question") for n in range(6)]
    for calls in (6, 0):
        lm = kind("acme/m", provider=Provider(), cache=False) if kind is Counting else kind("dummy")
        with dspex.context(lm=lm):
            program = Scoring().compile(
                dspex.Predict("question -> answer: int"), trainset=data, holdout=0, run_dir=tmp_path / "run"
            )
        assert (program.ledger.paid, program.ledger.reused) == (calls, 6 - calls)
