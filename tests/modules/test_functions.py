"""@dspex.module: a function as a module, its defaults as parts."""

import asyncio

import pytest

import dspex
from dspex.program.fingerprint import structure_of
from dspex.streaming import StreamListener
from dspex.testing import DummyLM


@dspex.module
async def write(
    topic: str, times: int = 1, *, draft=dspex.Predict("topic -> draft"), polish=dspex.ChainOfThought("draft -> text")
):
    """Writes about a topic."""
    drafted = await draft.acall(topic=topic)
    for _ in range(times):
        drafted = await polish.acall(draft=drafted.draft)
    return drafted


@dspex.module
def plain(topic, draft=dspex.Predict("topic -> draft")):
    return draft(topic=topic).draft.upper()


SAID = [{"draft": "d"}, {"reasoning": "r", "text": "fine"}]


def test_it_is_a_module_whose_defaults_are_its_parts(run):
    assert isinstance(write, dspex.Module)
    assert [path for path, _ in write.named_predictors()] == ["draft", "polish.predict"]
    with dspex.context(lm=DummyLM(SAID)):
        assert run(write, "a topic").text == "fine"
    with dspex.context(lm=DummyLM(SAID)):
        assert run(plain, topic="x") == "D"


def test_it_keeps_the_functions_name_and_words():
    assert write.__name__ == "write"
    assert write.__doc__ == "Writes about a topic."
    assert repr(write).splitlines() == [
        "write:",
        "  draft = Predict('topic -> draft')",
        "  polish.predict = Predict('draft -> reasoning, text')",
    ]


def test_a_copy_has_parts_of_its_own(run):
    twin = write.deepcopy()
    twin.draft.signature = twin.draft.signature.with_instructions("Be brief.")
    lm = DummyLM(SAID * 2)
    with dspex.context(lm=lm):
        run(twin, topic="x")
        run(write, topic="x")
    assert ["Be brief." in lm.get_convo(number)[0][0]["content"] for number in (0, 2)] == [True, False]


def test_two_functions_with_one_default_do_not_share_it():
    part = dspex.Predict("a -> b")

    @dspex.module
    def one(a, part=part):
        return part(a=a)

    @dspex.module
    def other(a, part=part, same=part):
        return part(a=a)

    assert len({id(part), id(one.part), id(other.part)}) == 3
    assert other.part is other.same


def test_a_call_may_bring_another_part(run):
    lm = DummyLM([{"draft": "other"}])
    other = dspex.Predict("topic -> draft")
    other.lm = lm
    assert run(plain, topic="x", draft=other) == "OTHER"


def test_it_saves_and_loads(tmp_path):
    twin = write.deepcopy()
    twin.draft.demos = [{"topic": "t", "draft": "d"}]
    twin.save(tmp_path / "w.json")
    loaded = write.deepcopy().load(tmp_path / "w.json")
    assert loaded.draft.demos == [{"topic": "t", "draft": "d"}]


async def test_it_streams():
    streamed = dspex.streamify(write, stream_listeners=[StreamListener("text")])
    with dspex.context(lm=DummyLM(SAID)):
        items = [item async for item in streamed(topic="x")]
    assert "".join(item.chunk for item in items[:-1]) == items[-1].text == "fine"


def test_it_is_evaluated_and_works_in_other_modules(run):
    devset = [dspex.Example(topic="x", text="D").with_inputs("topic")]
    with dspex.context(lm=DummyLM([{"draft": "d"}] * 3)):
        assert dspex.Evaluate(devset=devset, metric=lambda example, made: made == example.text)(plain).score == 100.0
        assert run(dspex.BestOfN(plain, 2, lambda inputs, made: 1, 1), topic="x") == "D"


def test_another_function_is_another_program_to_an_optimizer():
    def made(text):
        names = {"part": dspex.Predict("a -> b")}
        exec(f"def f(a, part=part):\n    return {text}", names)
        return dspex.module(names["f"])

    assert structure_of(made("part(a=a)")) == structure_of(made("part(a=a)"))
    assert structure_of(made("part(a=a)")) != structure_of(made("part(a=a.strip())"))


@pytest.mark.parametrize("given", [dspex.Predict("a -> b"), 3, print], ids=["a module", "a number", "a builtin"])
def test_what_is_no_function_is_refused(given):
    with pytest.raises(dspex.ConfigurationError, match="stands above a function"):
        dspex.module(given)


def test_a_part_cannot_hide_what_each_module_has():
    with pytest.raises(dspex.ConfigurationError, match="'save'"):

        @dspex.module
        def wrong(a, save=dspex.Predict("a -> b")):
            return a


async def test_an_error_within_is_its_own_and_cancelling_leaves_nothing(provider):
    script = provider(None)
    with dspex.context(lm=script.lm):
        task = asyncio.create_task(write.acall("x"))
        await script.entered()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(TypeError, match="topics"):
        await write.acall(topics="x")
