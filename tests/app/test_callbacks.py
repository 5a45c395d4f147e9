"""Callbacks: DSPy's hooks with its names and arguments, sync or async, in order, each behind a fence."""

import asyncio
import warnings

import pytest

import dspex
from dspex.core.messages import Passage
from dspex.plugin import Output
from dspex.runtime.callbacks import ACTIVE_CALL_ID, KINDS
from dspex.testing import DummyLM

ANSWER = {"reasoning": "r", "answer": "4"}
HOOKS = [f"on_{kind}_{moment}" for kind in KINDS for moment in ("start", "end")]


def listener(*, is_async, fails=()):
    """A callback that keeps what it is told: its hooks are of one kind."""

    class Seen(dspex.BaseCallback):
        def __init__(self):
            self.told = []
            self.parents = {}

        def names(self):
            return [name for name, _ in self.told]

        def of(self, name):
            return [arguments for one, arguments in self.told if one == name]

    def hook(name):
        def keep(self, **arguments):
            self.told.append((name.removeprefix("on_"), arguments))
            if name.endswith("_start"):
                self.parents[arguments["call_id"]] = ACTIVE_CALL_ID.get()
            if name in fails:
                raise ValueError(f"no {len(self.told)}")

        async def later(self, **arguments):
            await asyncio.sleep(0)
            keep(self, **arguments)

        return later if is_async else keep

    for name in HOOKS:
        setattr(Seen, name, hook(name))
    return Seen()


@pytest.fixture(params=[False, True], ids=["sync hooks", "async hooks"])
def is_async(request):
    return request.param


@pytest.fixture(params=["sync", "async"])
def run(request):
    async def awaited(program, *args, **kwargs):
        return await program.acall(*args, **kwargs)

    def call(program, *args, **kwargs):
        return program(*args, **kwargs) if request.param == "sync" else asyncio.run(awaited(program, *args, **kwargs))

    return call


def test_a_base_callback_has_all_hooks_and_they_do_nothing():
    assert {name for name in dir(dspex.BaseCallback) if name.startswith("on_")} == set(HOOKS)
    assert all(getattr(dspex.BaseCallback(), name)(call_id="1") is None for name in HOOKS)


def test_a_program_tells_in_dspys_order_with_its_arguments(run, is_async):
    seen = listener(is_async=is_async)
    program = dspex.ChainOfThought("question -> answer", n=3)
    with dspex.context(lm=DummyLM([ANSWER] * 3), callbacks=[seen]):
        run(program, question="2+2?")
    parse = ["adapter_parse_start", "adapter_parse_end"]
    assert seen.names() == [
        *["module_start", "module_start", "adapter_format_start", "adapter_format_end", "lm_start", "lm_end"],
        *parse * 3,
        *["module_end", "module_end"],
    ]
    assert len(seen.told) == 14
    outer, inner = seen.of("module_start")
    assert outer["instance"] is program
    assert outer["inputs"] == inner["inputs"] == {"question": "2+2?"}
    [form] = seen.of("adapter_format_start")
    assert (form["inputs"]["signature"], form["inputs"]["inputs"]) == (program.predict.signature, {"question": "2+2?"})
    [asked] = seen.of("lm_start")
    assert asked["inputs"]["messages"] == seen.of("adapter_format_end")[0]["outputs"]
    assert asked["inputs"]["n"] == asked["inputs"]["kwargs"]["n"] == 3
    assert len(seen.of("lm_end")[0]["outputs"]) == 3
    assert seen.of("adapter_parse_end")[0]["outputs"] == ANSWER
    assert seen.of("module_end")[-1]["outputs"].answer == "4"
    assert all(told["exception"] is None for name, told in seen.told if name.endswith("_end"))


@pytest.mark.parametrize("kind", [dspex.ChatAdapter, dspex.JSONAdapter])
def test_an_adapters_own_hear_of_its_formats_and_parses_and_of_nothing_else(run, is_async, kind):
    seen, all_seen = listener(is_async=is_async), listener(is_async=is_async)
    adapter, program = kind(callbacks=[seen]), dspex.Predict("question -> answer")
    lm = DummyLM([{"answer": "4"}] * 3, adapter=kind())
    with dspex.context(lm=lm, adapter=adapter):
        run(program, question="2+2?")
        with dspex.context(callbacks=[all_seen]):
            run(program, question="2+2?")
    with dspex.context(lm=lm, adapter=kind()):
        run(program, question="2+2?")
    told = [f"adapter_{step}_{moment}" for step in ("format", "parse") for moment in ("start", "end")]
    assert seen.names() == told * 2
    assert [name for name in all_seen.names() if name.startswith("adapter")] == told
    assert all(one["instance"] is adapter for one in seen.of("adapter_parse_start"))
    assert vars(adapter) == vars(kind())  # who hears of it tells no adapter from another


def test_each_call_has_an_id_and_knows_what_it_is_in(run, is_async):
    seen = listener(is_async=is_async)
    with dspex.context(lm=DummyLM([ANSWER]), callbacks=[seen]):
        run(dspex.ChainOfThought("question -> answer"), question="?")
    starts = [told["call_id"] for name, told in seen.told if name.endswith("_start")]
    ends = [told["call_id"] for name, told in seen.told if name.endswith("_end")]
    assert sorted(starts) == sorted(ends)
    outer, inner = (told["call_id"] for told in seen.of("module_start"))
    assert seen.parents[outer] is None
    assert seen.parents[inner] == outer
    assert seen.parents[seen.of("lm_start")[0]["call_id"]] == inner
    assert ACTIVE_CALL_ID.get() is None


class Runs(dspex.Module):
    """A sync program, which tells where nothing can be awaited."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, question):
        return self.inner(question=question)


def search(query: str) -> str:
    """Finds."""
    return query


def test_tools_are_told_of(run, is_async):
    seen = listener(is_async=is_async)
    steps = [
        {"next_thought": "t", "next_tool_name": "search", "next_tool_args": {"query": "x"}},
        {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}},
        ANSWER,
    ]
    with dspex.context(lm=DummyLM(steps), callbacks=[seen]):
        run(Runs(dspex.ReAct("question -> answer", [search])), question="?")
    told = seen.of("tool_start")
    assert [(one["instance"].name, one["inputs"]) for one in told] == [("search", {"query": "x"}), ("finish", {})]
    assert seen.of("tool_end")[0]["outputs"] == "x"


def test_a_sync_call_of_a_tool_is_told_of(is_async):
    seen = listener(is_async=is_async)
    with dspex.context(callbacks=[seen]):
        assert dspex.Tool(search)(query="x") == "x"
    assert seen.names() == ["tool_start", "tool_end"]


class Sandbox:
    """Gives 4 to any code, by its tool."""

    async def run(self, code, *, files=None, tools=None, limits=None):
        return Output("4")

    def session(self, *, files=None, tools=None, limits=None):
        return Session(tools or {})


class Session:
    def __init__(self, tools):
        self.tools = tools

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_error):
        pass

    async def run(self, code):
        return Output(str(await self.tools["search"](query=code)))


def test_code_in_a_sandbox_is_told_of(run, is_async):
    seen = listener(is_async=is_async)
    script = [{"generated_code": "1 + 1", "finished": True}, ANSWER]
    program = dspex.CodeAct("question -> answer", [search], sandbox=Sandbox())
    with dspex.context(lm=DummyLM(script), callbacks=[seen]):
        run(program, question="?")
    code = [name for name in seen.names() if name.startswith("interpreter")]
    execute, call = ("interpreter_execute", "interpreter_tool_call")
    assert code == [
        *["interpreter_startup_start", "interpreter_startup_end"],
        *[f"{execute}_start", f"{call}_start", f"{call}_end", f"{execute}_end"],
        *["interpreter_shutdown_start", "interpreter_shutdown_end"],
    ]
    assert seen.of(f"{execute}_start")[0]["inputs"] == {"code": "1 + 1"}
    assert seen.of(f"{execute}_end")[0]["outputs"].stdout == "1 + 1"
    assert seen.of(f"{call}_start")[0]["inputs"] == {"tool_name": "search", "args": {"query": "1 + 1"}}
    solver = dspex.ProgramOfThought("question -> answer", sandbox=Sandbox())
    with dspex.context(lm=DummyLM([{"reasoning": "r", "generated_code": "4"}, ANSWER]), callbacks=[seen]):
        run(solver, question="?")
    assert seen.names().count(f"{execute}_start") == 2


def test_evaluations_searches_and_direct_calls_are_told_of(run, is_async):
    seen = listener(is_async=is_async)

    class Index:
        async def retrieve(self, query, k):
            return [Passage("p")]

    example = dspex.Example(question="?", answer="4").with_inputs("question")
    evaluate = dspex.Evaluate(devset=[example], metric=lambda example, made, trace=None: 1.0)
    with dspex.context(lm=DummyLM([ANSWER, ANSWER]), callbacks=[seen]):
        run(evaluate, dspex.Predict("question -> answer"))
        run(dspex.Retriever("mine", provider=Index()), "query")
        run(dspex.settings.lm, "Hello.")
    [told] = seen.of("evaluate_start")
    assert told["inputs"]["program"].signature.signature == "question -> answer"
    assert seen.of("evaluate_end")[0]["outputs"].score == 100
    assert seen.of("retriever_start")[0]["inputs"]["query"] == "query"
    assert seen.of("lm_start")[-1]["inputs"]["messages"] == [{"role": "user", "content": "Hello."}]
    assert len(seen.of("lm_end")[-1]["outputs"]) == 1


def test_callbacks_of_one_object_hear_of_it_alone(run, is_async):
    of_module, of_lm = listener(is_async=is_async), listener(is_async=is_async)
    lm = DummyLM([ANSWER, ANSWER])
    lm.callbacks = [of_lm]
    with dspex.context(lm=lm):
        run(dspex.Predict("question -> answer", callbacks=[of_module]), question="?")
        run(dspex.Predict("question -> answer"), question="?")
    assert of_module.names().count("module_start") == 1
    assert set(of_lm.names()) == {"lm_start", "lm_end"}
    assert len(of_lm.told) == 4


def test_an_error_is_told_and_raised(run, is_async):
    seen = listener(is_async=is_async)

    class Fails(dspex.Module):
        async def aforward(self, question):
            raise ZeroDivisionError("no")

    with dspex.context(callbacks=[seen]), pytest.raises(ZeroDivisionError) as caught:
        run(Fails(), question="?")
    [end] = seen.of("module_end")
    assert end["exception"] is caught.value
    assert end["outputs"] is None


def test_one_that_fails_is_warned_of_once_a_hook_and_stops_nothing(run, is_async):
    fails = listener(is_async=is_async, fails=HOOKS)
    before, after = listener(is_async=is_async), listener(is_async=is_async)
    program = Runs(dspex.Predict("question -> answer"))
    with (
        dspex.context(lm=DummyLM([ANSWER] * 5), callbacks=[before, fails, after]),
        warnings.catch_warnings(record=True) as told,
    ):
        warnings.simplefilter("always")
        for _ in range(5):
            assert run(program, question="?").answer == "4"
    said = [str(one.message) for one in told]
    assert len(said) == len({name.partition(" failed")[0] for name in said}) == 8
    assert any("Callback Seen.on_lm_start failed: ValueError('no " in one for one in said)
    assert before.names() == after.names() == fails.names()


def test_an_async_hook_is_waited_for_and_the_loop_goes_on():
    order = []

    class Waits(dspex.BaseCallback):
        async def on_lm_start(self, call_id, instance, inputs):
            order.append("told")
            await gate.wait()
            order.append("goes on")

    class Asked(DummyLM):
        async def complete(self, request):
            order.append("asked")
            return await super().complete(request)

    async def main():
        task = asyncio.create_task(dspex.Predict("question -> answer").acall(question="?"))
        while order != ["told"]:  # noqa: ASYNC110  one turn of the loop each
            await asyncio.sleep(0)
        order.append("the loop")
        gate.set()
        await task

    gate = asyncio.Event()
    with dspex.context(lm=Asked([ANSWER]), callbacks=[Waits()]):
        asyncio.run(main())
    assert order == ["told", "the loop", "goes on", "asked"]


@pytest.mark.parametrize("hook", ["on_module_start", "on_lm_start", "on_adapter_parse_end", "on_module_end"])
async def test_cancelled_while_a_hook_is_waited_for_nothing_is_left(hook):
    waiting = asyncio.Event()

    async def wait(**_arguments):
        if not waiting.is_set():  # the end of what is around it is told too
            waiting.set()
            await asyncio.Event().wait()

    callback = dspex.BaseCallback()
    setattr(callback, hook, wait)
    with dspex.context(lm=DummyLM([ANSWER]), callbacks=[callback]):
        task = asyncio.create_task(dspex.ChainOfThought("question -> answer").acall(question="?"))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with dspex.context(lm=DummyLM([ANSWER])):
        assert (await dspex.Predict("question -> answer").acall(question="?")).answer == "4"


async def test_sync_code_on_a_loop_can_tell_an_async_hook():
    seen = listener(is_async=True)
    with dspex.context(lm=DummyLM([ANSWER]), callbacks=[seen]):
        assert Runs(dspex.Predict("question -> answer"))(question="?").answer == "4"
    assert seen.names()[0] == "module_start"
    assert seen.names()[-1] == "module_end"
