"""Modules run sync and async, find their parts, and copy them."""

import asyncio
import threading

import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.testing import DummyLM


class Forward(dspex.Module):
    """Has a sync form only."""

    def __init__(self):
        self.predict = dspex.Predict("question -> answer")

    def forward(self, question):
        self.thread = threading.get_ident()
        return self.predict(question=question)


class AForward(dspex.Module):
    """Has an async form only."""

    def __init__(self):
        self.predict = dspex.Predict("question -> answer")

    async def aforward(self, question):
        return await self.predict.acall(question=question)


@pytest.fixture(autouse=True)
def answers():
    dspex.configure(lm=DummyLM([{"answer": "4"}] * 10))


@pytest.mark.parametrize("kind", [Forward, AForward, lambda: dspex.Predict("question -> answer")])
def test_a_program_runs_sync(kind):
    assert kind()(question="2+2?").answer == "4"


@pytest.mark.parametrize("kind", [Forward, AForward, lambda: dspex.Predict("question -> answer")])
async def test_a_program_runs_async(kind):
    assert (await kind().acall(question="2+2?")).answer == "4"


def test_forward_runs_on_the_callers_thread():
    program = Forward()
    program(question="2+2?")
    assert program.thread == threading.get_ident()


@pytest.mark.fault("P16")
async def test_acall_of_a_forward_does_not_block_the_loop():
    class Waits(dspex.Module):
        def forward(self, gate):
            return gate.wait(10)

    gate = threading.Event()
    task = asyncio.create_task(Waits().acall(gate))
    await asyncio.sleep(0)
    gate.set()
    assert await task


async def test_there_is_no_cap_on_forwards_at_once():
    barrier = threading.Barrier(100)

    class Meets(dspex.Module):
        def forward(self):
            return barrier.wait(10)

    assert sorted(await asyncio.gather(*(Meets().acall() for _ in range(100)))) == list(range(100))


async def test_a_forward_that_nobody_waits_for_makes_no_more_calls():
    asked, entered, gate = [], threading.Event(), threading.Event()

    class Slow(dspex.Module):
        def forward(self):
            entered.set()
            gate.wait(10)
            try:
                dspex.Predict("question -> answer")(question="2+2?")
            except asyncio.CancelledError:
                asked.append("cancelled")
                raise
            finally:
                ended.set()

    ended = threading.Event()
    task = asyncio.create_task(Slow().acall())
    await asyncio.to_thread(entered.wait)
    task.cancel()
    await asyncio.wait([task])
    gate.set()
    await asyncio.to_thread(ended.wait)
    assert asked == ["cancelled"]


def test_a_module_may_return_anything():
    class Text(dspex.Module):
        def forward(self, *parts, sep=""):
            return sep.join(parts)

    assert Text()("a", "b", sep="-") == "a-b"


@pytest.mark.parametrize("call", [lambda one: one(), lambda one: asyncio.run(one.acall())], ids=["sync", "async"])
def test_a_module_without_a_form_says_so(call):
    with pytest.raises(dspex.ConfigurationError, match="Module has neither `forward` nor `aforward`"):
        call(dspex.Module())


class Endless(dspex.Module):
    def forward(self):
        return self()


class AEndless(dspex.Module):
    async def aforward(self):
        return await self.acall()


@pytest.mark.fault("P18")
@pytest.mark.parametrize(
    "call", [Endless(), AEndless(), lambda: asyncio.run(AEndless().acall())], ids=["sync", "async", "acall"]
)
def test_a_program_that_calls_itself_without_end_is_stopped(call):
    with pytest.raises(dspex.RecursionLimit, match=r"nested 100 deep.*does one call itself"):
        call()


# Parts


class Tree(dspex.Module):
    def __init__(self):
        self.one = dspex.Predict("a -> b")
        self.list = [Forward(), {"x": dspex.ChainOfThought("c -> d")}]
        self.again = self.one
        self.pair = (dspex.Predict("e -> f"), 3)
        self.me = self


PATHS = ["one", "list[0].predict", "list[1]['x'].predict", "pair[0]"]


def test_predictors_are_found_at_any_depth_and_once():
    tree = Tree()
    assert [path for path, _ in tree.named_predictors()] == PATHS
    assert tree.predictors() == [part for _, part in tree.named_parameters()]
    assert [path for path, _ in tree.named_sub_modules()][:3] == ["self", "self.one", "self.list[0]"]
    assert [path for path, _ in dspex.Predict("a -> b").named_predictors()] == ["self"]


def test_all_predictors_get_one_lm():
    tree, lm = Tree(), DummyLM([])
    tree.set_lm(lm)
    assert tree.get_lm() is lm
    assert all(part.lm is lm for part in tree.predictors())
    tree.one.lm = None
    with pytest.raises(ValueError, match="different LMs"):
        tree.get_lm()


def test_predictors_are_replaced_everywhere():
    tree = Tree()
    tree.map_named_predictors(lambda part: dspex.Predict(part.signature.with_instructions("New.")))
    assert {part.signature.instructions for part in tree.predictors()} == {"New."}
    assert tree.again is tree.one


def test_a_program_that_is_one_predictor_gives_what_replaces_it():
    other = dspex.Predict("a -> c")
    assert dspex.Predict("a -> b").map_named_predictors(lambda part: other) is other


def test_a_copy_has_its_own_demos_and_the_same_lm():
    tree = Tree()
    tree.set_lm(DummyLM([]))
    tree.one.demos = [dspex.Example(a="1", b="2")]
    twin = tree.deepcopy()
    assert [path for path, _ in twin.named_predictors()] == PATHS
    assert twin.again is twin.one
    assert twin.me is twin
    twin.one.demos.append({})
    assert len(tree.one.demos) == 1
    assert twin.one.lm is tree.one.lm
    tree.evidence = object()
    fresh = tree.reset_copy()
    assert (fresh.one.demos, fresh.evidence) == ([], None)
    assert len(tree.one.demos) == 1


def test_what_cannot_be_copied_is_shared():
    tree = Tree()
    tree.lock = threading.Lock()
    assert tree.deepcopy().lock is tree.lock


def test_a_trace_has_each_finished_call():
    program = Forward()
    with dspex.context(trace=[]):
        program(question="2+2?")
        program(question="3+3?")
        trace = dspex.settings.trace
    assert [(part, inputs, prediction.answer) for part, inputs, prediction in trace] == [
        (program.predict, {"question": "2+2?"}, "4"),
        (program.predict, {"question": "3+3?"}, "4"),
    ]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "'question' is missing"),
        ({"question": "?", "qestion": "?"}, "'qestion' is unknown. Did you mean 'question'"),
        ({"question": "?", "answer": "4"}, "'answer' is an output"),
    ],
)
def test_a_wrong_call_is_refused_before_it_costs(given, why):
    with pytest.raises(dspex.InputError, match=why):
        dspex.Predict("question -> answer")(**given)
    assert not dspex.settings.lm.history


def test_inputs_go_by_keyword_only():
    with pytest.raises(ValueError, match="call it with question="):
        dspex.Predict("question -> answer")("2+2?")


def test_a_predict_without_a_model_says_how_to_set_one():
    with dspex.context(lm=None), pytest.raises(dspex.ConfigurationError, match=r"dspex.configure\(lm=dspex.LM"):
        dspex.Predict("question -> answer")(question="2+2?")


def test_a_call_may_bring_its_own_signature_demos_config_and_lm():
    class Provider:
        capabilities = dspex.Capabilities(chat=True)

        async def complete(self, request):
            asked.append(request)
            return LMResponse.from_text("[[ ## other ## ]]\n5")

    asked = []
    predict = dspex.Predict("question -> answer", temperature=0.5)
    lm = dspex.LM("x/y", provider=Provider())
    demos = [{"question": "1+1?", "other": "2"}]
    prediction = predict(signature="question -> other", question="?", demos=demos, config={"max_tokens": 7}, lm=lm)
    assert prediction.other == "5"
    assert asked[0].params == {"temperature": 0.5, "max_tokens": 7}
    assert any("1+1?" in message.text for message in asked[0].messages)
    assert predict.config == {"temperature": 0.5}


# Classes below ours


def below(base, name):
    """A class that adds `extra` to what the class above gives, by the one form that it overrides."""
    if name == "forward":

        class Below(base):
            def forward(self, **inputs):
                found = super().forward(**inputs)
                return dspex.Prediction(**dict(found.items()), extra=len(inputs))

    else:

        class Below(base):
            async def aforward(self, **inputs):
                found = await super().aforward(**inputs)
                return dspex.Prediction(**dict(found.items()), extra=len(inputs))

    return Below


@pytest.mark.parametrize("calls_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("name", ["forward", "aforward"])
@pytest.mark.parametrize("base", [dspex.Predict, dspex.ChainOfThought, dspex.ReAct])
def test_what_a_class_below_overrides_is_run_in_both_forms(base, name, calls_async):
    made = below(base, name)("q -> a", *([[]] if base is dspex.ReAct else []))
    step = {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}}
    replies = [*([step] if base is dspex.ReAct else []), {"reasoning": "r", "a": "4"}]
    with dspex.context(lm=DummyLM(replies)):
        found = asyncio.run(made.acall(q="?")) if calls_async else made(q="?")
    assert (found.a, found.extra) == ("4", 1)


class Heard(dspex.BaseCallback):
    def __init__(self):
        self.heard = []

    def on_module_start(self, call_id, instance, inputs):
        self.heard.append(type(instance).__name__)

    def on_lm_start(self, call_id, instance, inputs):
        self.heard.append("lm")


@pytest.mark.parametrize("name", ["forward", "aforward"])
def test_a_predict_with_a_form_of_its_own_is_told_of_once(name):
    heard = Heard()
    with dspex.context(lm=DummyLM([{"a": "4"}]), callbacks=[heard]):
        below(dspex.Predict, name)("q -> a")(q="?")
    assert heard.heard == ["Below", "lm"]


class Twice(dspex.Module):
    async def aforward(self, x):
        return x * 2


@pytest.mark.parametrize("calls_async", [False, True], ids=["sync", "async"])
def test_the_form_that_was_written_last_is_the_one_that_runs(calls_async):
    class Thrice(Twice):
        def forward(self, x):
            return super().forward(x) + x

    class Fourfold(Thrice):
        async def aforward(self, x):
            return (await super().aforward(x)) * 2

    def result(module):
        return asyncio.run(module.acall(3)) if calls_async else module(3)

    assert [result(kind()) for kind in (Twice, Thrice, Fourfold)] == [6, 9, 12]
    assert Twice().forward(3) == 6
    replaced = Twice()
    replaced.forward = lambda x: x
    assert result(replaced) == 3


def test_a_class_that_writes_both_forms_has_both():
    class Both(Twice):
        def forward(self, x):
            return "sync"

        async def aforward(self, x):
            return "async"

    assert (Both()(1), asyncio.run(Both().acall(1))) == ("sync", "async")
