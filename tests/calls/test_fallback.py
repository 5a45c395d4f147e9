"""Where one model cannot serve another is asked; usable wherever an LM is."""

import asyncio

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse, LMTimeout, Message, ProtocolError, RateLimited, Unavailable, Usage
from dspex.runtime.scope import use

FALLS_OVER = [
    RateLimited("slow down"),
    RateLimited("quota", retryable=False),
    LMTimeout("late"),
    Unavailable("down"),
    ProtocolError("broken"),
    dspex.CircuitOpen("open"),
    dspex.ContextWindowExceeded("too long"),
    ValueError("a bug of the plugin"),
]
RAISED = [dspex.BadRequest("no"), dspex.ContentFiltered("no"), dspex.BudgetExceeded("no"), dspex.LMError("no")]


def lms(script, *steps, **options):
    return [
        dspex.LM(f"x/{'abc'[place]}", provider=script(*of), num_retries=0, **options) for place, of in enumerate(steps)
    ]


@pytest.mark.parametrize("error", FALLS_OVER, ids=lambda error: type(error).__name__)
def test_where_one_cannot_serve_the_next_is_asked(virtual, script, error):
    async def main():
        return await dspex.Fallback(*lms(script, [error], ["from b"])).acall("2+2?")

    assert virtual(main) == ["from b"]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_what_another_cannot_mend_is_raised_at_once(virtual, script, settled, error):
    first, second = lms(script, [error], ["from b"])

    async def main():
        return await settled(dspex.Fallback(first, second).acall("2+2?"))

    [done] = virtual(main)
    assert type(done.error) is type(error)
    assert second._provider.requests == []


def test_a_refused_key_falls_over_with_one_warning(virtual, script):
    async def main():
        lm = dspex.Fallback(*lms(script, [dspex.AuthError("wrong key")], ["from b"]))
        with pytest.warns(RuntimeWarning, match="goes on without x/a: .*wrong key") as caught:
            answers = [await lm.acall(f"{number}?") for number in range(3)]
        return answers, len(caught)

    assert virtual(main) == ([["from b"]] * 3, 1)


def test_the_first_that_answers_is_the_only_one_asked(virtual, script):
    first, second = lms(script, ["from a"], ["from b"])

    async def main():
        return await dspex.Fallback(first, second).acall("2+2?")

    assert virtual(main) == ["from a"]
    assert second._provider.requests == []


def test_each_is_tried_again_by_its_own_retries_first(virtual, script):
    first, second = (dspex.LM(f"x/{name}", provider=script(Unavailable("down")), num_retries=2) for name in "ab")

    async def main():
        with pytest.raises(dspex.FallbackFailed) as caught:
            await dspex.Fallback(first, second).acall("2+2?")
        return caught.value

    error = virtual(main)
    assert [len(lm._provider.requests) for lm in (first, second)] == [3, 3]
    assert error.attempts == 6


def test_the_error_lists_the_failure_of_each(virtual, script):
    lm = dspex.Fallback(
        *lms(script, [Unavailable("no route")], [RateLimited("slow", retry_after=400.0)], [KeyError("odd")])
    )

    async def main():
        with pytest.raises(dspex.FallbackFailed) as caught:
            await lm.acall("2+2?")
        return caught.value

    error = virtual(main)
    assert [type(one) for one in error.errors] == [Unavailable, RateLimited, dspex.PluginError]
    assert "None of 3 LMs answered. x/a: Unavailable: [x/a] no route x/b: RateLimited: [x/b] slow x/c: Plugin" in str(
        error
    )
    assert error.retry_after == 400.0
    assert dspex.is_retryable_lm_error(error)
    assert len(str(error)) <= 1_000


def test_an_open_breaker_costs_no_time(virtual, script, settled):
    first, second = lms(script, [Unavailable("down")], ["from b"])

    async def main():
        lm = dspex.Fallback(first, second)
        return await settled(*(lm.acall(f"{number}?") for number in range(200)))

    done = virtual(main)
    assert all(one.value == ["from b"] for one in done)
    before = len(first._provider.requests)
    assert before <= 200


def test_each_keeps_its_own_parameters_under_the_calls(virtual, script):
    first = dspex.LM("x/a", provider=script(Unavailable("down")), num_retries=0, temperature=0.1, max_tokens=10)
    second = dspex.LM("x/b", provider=script("from b"), temperature=0.9, seed=7)

    async def main():
        await dspex.Fallback(first, second).acall("2+2?", temperature=0.5, seed=None)

    virtual(main)
    assert first._provider.requests[0].params == {"temperature": 0.5, "max_tokens": 10}
    assert second._provider.requests[0].params == {"temperature": 0.5}
    assert second._provider.requests[0].model == "b"


class Program:
    """A provider for programs: replies in the form that Predict asks for."""

    capabilities = dspex.Capabilities(chat=True, max_output_tokens=100)

    def __init__(self, answer, fails=False):
        self.answer, self.fails = answer, fails
        self.calls = 0

    async def complete(self, request):
        self.calls += 1
        if self.fails:
            raise Unavailable("down")
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{self.answer}\n\n[[ ## completed ## ]]", Usage(10, 5))


def pair():
    return (
        dspex.LM("x/a", provider=Program("a", fails=True), num_retries=0),
        dspex.LM("x/b", provider=Program("b")),
    )


def test_predict_evaluate_settings_usage_and_history_take_it(virtual):
    async def main():
        lm = dspex.Fallback(*pair())
        dspex.configure(lm=lm)
        predict = dspex.Predict("question -> answer")
        with dspex.track_usage() as usage, dspex.budget(calls=10) as budget:
            prediction = await predict.acall(question="2+2?")
            copied = predict.deepcopy()
            again = await copied.acall(question="3+3?")
        devset = [dspex.Example(question=f"{n}?", answer="b").with_inputs("question") for n in range(3)]
        rows = [
            row
            async for row in dspex.Evaluate(
                devset=devset, metric=lambda example, prediction, trace=None: example.answer == prediction.answer
            ).stream(predict)
        ]
        return (
            lm,
            prediction.answer,
            again.answer,
            usage.get_total_tokens(),
            budget.spent.calls,
            [r.score for r in rows],
        )

    lm, first, second, tokens, calls, scores = virtual(main)
    assert (first, second, scores) == ("b", "b", [1.0] * 3)
    assert list(tokens) == ["x/b"]
    assert calls == 4
    assert len(lm.history) == 5
    assert lm.history[0]["model"] == "x/a | x/b"


def test_it_is_told_by_its_parts_and_saved_with_them(virtual):
    async def main():
        first, second = pair()
        return dspex.Fallback(first, second).identity, dspex.Fallback(second, first).identity, first.identity

    one, other, alone = virtual(main)
    assert one != other
    assert one["fallback"][0] == alone

    lm = dspex.Fallback(
        dspex.LM("openai/a", temperature=0.5), dspex.Hedged(dspex.LM("openai/b", api_key="sk-x"), after=2.0)
    )
    predict = dspex.Predict("question -> answer")
    predict.lm = lm
    state = predict.dump_state()
    assert "sk-x" not in repr(state)
    fresh = dspex.Predict("question -> answer")
    fresh.load_state(state)
    assert isinstance(fresh.lm, dspex.Fallback)
    assert fresh.lm.dump_state() == lm.dump_state()
    assert fresh.lm.lms[1].hedge_after == 2.0


def test_it_can_do_what_all_can_do(virtual):
    def able(**capabilities):
        provider = Program("x")
        provider.capabilities = dspex.Capabilities(**capabilities)
        return dspex.LM("x/y", provider=provider)

    async def main():
        lm = dspex.Fallback(
            able(chat=True, tools=True, n=True, max_output_tokens=100), able(chat=True, n=False, max_output_tokens=50)
        )
        return lm.capabilities

    assert virtual(main) == dspex.Capabilities(chat=True, n=False, max_output_tokens=50)


class Streams:
    """Streams its pieces; an error among them is raised."""

    def __init__(self, *pieces):
        self.pieces = pieces

    async def complete(self, request):
        raise NotImplementedError

    async def stream(self, request):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


END = LMDelta("", finish_reason="stop", usage=Usage(1, 1))


@pytest.mark.fault("T03")
@pytest.mark.fault("T04")
@pytest.mark.parametrize(
    ("pieces", "heard", "error"),
    [
        ([Unavailable("down")], ["from b", ""], None),
        ([LMDelta("from a"), END], ["from a", ""], None),
        ([LMDelta("fr"), Unavailable("reset")], ["fr"], Unavailable),
    ],
    ids=["before the first piece", "good", "after it"],
)
def test_a_stream_falls_over_before_its_first_piece_only(virtual, pieces, heard, error):
    async def main():
        first = dspex.LM("x/a", provider=Streams(*pieces), num_retries=0)
        second = dspex.LM("x/b", provider=Streams(LMDelta("from b"), END))
        lm = dspex.Fallback(first, second)
        got = []
        try:
            async for piece in lm.stream(lm.request((Message.of("user", "2+2?"),), {})):
                got.append(piece.text)  # noqa: PERF401  kept if the stream fails
        except dspex.LMError as raised:
            return got, type(raised)
        return got, None

    assert virtual(main) == (heard, error)


def test_fallbacks_nest(virtual, script):
    async def main():
        a, b, c = lms(script, [Unavailable("down")], [Unavailable("down")], ["from c"])
        return await dspex.Fallback(dspex.Fallback(a, b), c).acall("2+2?")

    assert virtual(main) == ["from c"]


@pytest.mark.parametrize("lms", [(), ("openai/a", "openai/b"), (None,), ([dspex.LM("openai/a")],)])
def test_without_an_lm_it_is_refused(lms):
    with pytest.raises(dspex.ConfigurationError, match=r"Fallback needs LMs: dspex\.Fallback\(dspex\.LM"):
        dspex.Fallback(*lms)


def test_a_cancelled_call_asks_nobody_else(virtual, script):
    first, second = lms(script, [60.0, "from a"], ["from b"])

    async def main():
        task = asyncio.create_task(dspex.Fallback(first, second).acall("2+2?"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert virtual(main)
    assert second._provider.requests == []


def test_a_recorder_hears_of_one_call_and_of_all_its_attempts(virtual, script):
    heard = []

    class Recorder:
        async def record(self, request, proceed):
            reply = await proceed(request)
            heard.append((request.model, reply.text, proceed.call.attempts, proceed.call.cached))
            return reply

    async def main():
        first = dspex.LM("x/a", provider=script(Unavailable("down")), num_retries=2)
        lm = dspex.Fallback(first, dspex.LM("x/b", provider=script("from b")))
        with use(recorder=Recorder()):
            await lm.acall("2+2?")

    virtual(main)
    assert heard == [("x/a | x/b", "from b", 4, False)]
