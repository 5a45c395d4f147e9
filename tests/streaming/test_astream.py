"""astream and stream: what happens in any program, as typed events, and its result."""

import asyncio
import gc
import json

import msgspec
import pytest

import dspex
from dspex.plugin import LMDelta, ProtocolError, ToolCall
from dspex.streaming import (
    FieldDelta,
    Finished,
    Sent,
    StatusMessage,
    StatusMessageProvider,
    StreamEvent,
    ToolFinished,
    ToolStarted,
    sync_send_to_stream,
)


def lm_of(provider, **options):
    return dspex.LM("x/y", provider=provider, **{"cache": False, **options})


async def everything(stream, into=None):
    """All events; those before an error are in `into`."""
    events = [] if into is None else into
    async for event in stream:
        events.append(event)
    return events


class Nested(dspex.Module):
    """Predictors in a list, a dict, below another module, and one that is made in the call."""

    def __init__(self):
        super().__init__()
        self.listed = [dspex.Predict("question -> answer")]
        self.named = {"b": dspex.Predict("question -> answer")}
        self.inner = dspex.ChainOfThought("question -> answer: int")

    async def aforward(self, question):
        first = await self.listed[0].acall(question=question)
        second = await self.named["b"].acall(question=first.answer)
        made = await dspex.Predict("question -> answer").acall(question=second.answer)
        return await self.inner.acall(question=made.answer)


async def test_every_output_of_every_predictor_comes_by_its_name(streaming, reply, texts):
    texts_sent = [
        *(reply(answer="one"), reply(answer="two"), reply(answer="three")),
        reply(reasoning="so it is", answer=4),
    ]
    program = Nested()
    with dspex.context(lm=lm_of(streaming(*texts_sent))):
        *events, last = await everything(program.astream(question="?"))
    with dspex.context(lm=lm_of(streaming(*texts_sent))):
        plain = await program.acall(question="?")
    assert texts(events) == {
        ("listed[0]", "answer"): "one",
        ("named['b']", "answer"): "two",
        ("Predict", "answer"): "three",
        ("inner.predict", "reasoning"): "so it is",
        ("inner.predict", "answer"): "4",
    }
    assert last == Finished(plain)
    assert all(isinstance(event, StreamEvent) for event in [*events, last])
    assert [event.text for event in events if event.field == "reasoning"] == [*"so", " i", "t", " i", "s", ""]


def test_the_plain_form_gives_the_same_and_closes_when_it_is_left(streaming, reply):
    program = dspex.ChainOfThought("question -> answer: int")
    provider = streaming(reply(reasoning="so", answer=4))

    async def main():
        return await everything(program.astream(question="?"))

    with dspex.context(lm=lm_of(provider)):
        assert list(program.stream(question="?")) == asyncio.run(main())
        for _ in program.stream(question="?"):
            break
        gc.collect()
    assert provider.opened == provider.closed == 3


async def test_the_plain_form_works_inside_a_running_loop_and_in_sync_code_on_the_bridge(streaming, reply):
    inner = dspex.Predict("question -> answer")

    class Program(dspex.Module):
        async def aforward(self, question):
            return [type(event).__name__ for event in inner.stream(question=question)][-1]

    with dspex.context(lm=lm_of(streaming(reply(answer="4")))):
        assert list(inner.stream(question="?"))[-1].prediction.answer == "4"
        assert Program()(question="?") == "Finished"


async def test_runs_of_one_predictor_are_told_apart_also_side_by_side(streaming, reply, texts):
    class Echo(streaming):
        async def stream(self, request):
            number = request.messages[-1].text.split("number ")[1].split()[0]
            for piece in reply(answer=f"It is {number}."):
                await asyncio.sleep(0)
                yield LMDelta(piece)
            yield LMDelta("", finish_reason="stop")

    class Crowd(dspex.Module):
        def __init__(self):
            super().__init__()
            self.one = dspex.Predict("question -> answer")

        async def aforward(self):
            pairs = [(self.one, {"question": f"number {number} ?"}) for number in range(8)]
            return await dspex.Parallel().acall(pairs)

    with dspex.context(lm=lm_of(Echo(""))):
        *events, last = await everything(Crowd().astream())
    assert sorted(texts(events).values()) == [f"It is {number}." for number in range(8)]
    assert {key[2:] for key in texts(events)} == {(), *((run,) for run in range(1, 8))}
    assert [one.answer for one in last.prediction] == [f"It is {number}." for number in range(8)]


def tool_events(events):
    return [event for event in events if isinstance(event, (ToolStarted, ToolFinished))]


async def test_an_agent_tells_of_its_tools_between_its_thoughts(streaming, reply, texts):
    def look(word: str) -> str:
        """Looks a word up."""
        if word == "bad":
            raise ValueError("no such word")
        return word.upper()

    def turn(thought, name, **args):
        return reply(next_thought=thought, next_tool_name=name, next_tool_args=json.dumps(args))

    agent = dspex.ReAct("question -> answer", tools=[look])
    scripts = [turn("look", "look", word="x"), turn("again", "look", word="bad"), turn("done", "finish")]
    lm = lm_of(streaming(*scripts, reply(reasoning="so", answer="X")))
    with dspex.context(lm=lm):
        events = await everything(agent.astream(question="?"))
    found = texts(events)
    assert [found["react", "next_thought", *run] for run in ((), (1,), (2,))] == ["look", "again", "done"]
    assert found["extract.predict", "answer"] == "X"
    first, ended, second, failed = tool_events(events)
    assert (first.tool, first.arguments, first.path) == ("look", {"word": "x"}, ("ReAct",))
    assert (ended.tool, ended.call_id, ended.output, ended.error) == ("look", first.call_id, "X", None)
    assert (failed.call_id, failed.output) == (second.call_id, None)
    assert "no such word" in failed.error
    assert events.index(first) < events.index(ended) < events.index(second)


async def test_attempts_are_heard_once_the_best_is_known(streaming, reply, texts):
    program = dspex.BestOfN(
        dspex.Predict("question -> answer"), N=3, reward_fn=lambda _, made: len(made.answer), threshold=9
    )
    with dspex.context(lm=lm_of(streaming(reply(answer="a"), reply(answer="abc"), reply(answer="ab")))):
        *events, last = await everything(program.astream(question="?"))
    assert texts(events) == {("module", "answer"): "abc"}
    assert last.prediction.answer == "abc"


async def test_of_refined_attempts_the_best_is_heard_as_the_program_itself(streaming, reply, texts):
    program = dspex.Refine(
        dspex.Predict("question -> answer"), N=2, reward_fn=lambda _, made: len(made.answer), threshold=9
    )
    advice = reply(discussion="too short", advice=json.dumps({"self": "write more"}))
    with dspex.context(lm=lm_of(streaming(reply(answer="a"), advice, reply(answer="abc")))):
        *events, last = await everything(program.astream(question="?"))
    assert last.prediction.answer == "abc"
    assert texts(events) == {("module", "answer"): "abc"}


async def test_what_a_tool_asks_a_model_is_heard_too(streaming, reply, texts):
    inner = dspex.Predict("word -> meaning")

    async def look(word: str) -> str:
        return (await inner.acall(word=word)).meaning

    tool = dspex.Tool(look)

    class Program(dspex.Module):
        async def aforward(self):
            return await tool.acall(word="x")

    with dspex.context(lm=lm_of(streaming(reply(meaning="a letter")))):
        events = await everything(Program().astream())
    assert texts(events) == {("Predict", "meaning"): "a letter"}
    kinds = [type(event) for event in events]
    assert (kinds[0], *kinds[-2:]) == (ToolStarted, ToolFinished, Finished)


async def test_a_batch_inside_is_heard_and_a_failed_item_ends_nothing(streaming, reply, texts):
    class Program(dspex.Module):
        def __init__(self):
            super().__init__()
            self.one = dspex.Predict("question -> answer: int")

        async def aforward(self):
            return [outcome async for outcome in self.one.outcomes([{"question": "a"}, {"question": "b"}])]

    scripts = [reply(answer="one"), '{"answer": "two"}', reply(answer=3)]
    with dspex.context(lm=lm_of(streaming(*scripts)), num_threads=1):
        events = await everything(Program().astream())
    failed, good = events[-1].prediction
    assert isinstance(failed.error, dspex.AdapterParseError)
    assert good.prediction.answer == 3
    assert texts(events) == {("one", "answer"): "two", ("one", "answer", 1): "3"}


@pytest.mark.parametrize("n", [1, 2])
async def test_a_reply_that_does_not_come_in_pieces_comes_whole(streaming, reply, texts, n):
    program = dspex.Predict("question -> answer", n=n)

    class Whole(streaming):
        capabilities = dspex.Capabilities(chat=True, stream=n > 1)

    with dspex.context(lm=lm_of(Whole(reply(answer="four")))):
        *events, last = await everything(program.astream(question="?"))
    assert texts(events) == {("self", "answer"): "four"}
    assert last.prediction.answer == "four"


async def test_what_a_model_thinks_between_its_words_is_a_field_of_its_own(streaming, texts):
    class Thinking(streaming):
        capabilities = dspex.Capabilities(chat=True, stream=True, reasoning=True)

    thoughts = [LMDelta(reasoning=text) for text in ("two ", "and ", "two")]
    provider = Thinking(
        [thoughts[0], "[[ ## answer ## ]]\nfo", thoughts[1], "ur", thoughts[2], LMDelta("", finish_reason="stop")]
    )
    signature = dspex.Signature("question -> answer").prepend("thoughts", dspex.OutputField(), dspex.Reasoning)
    with dspex.context(lm=lm_of(provider)):
        *events, last = await everything(dspex.Predict(signature).astream(question="?"))
    assert texts(events) == {("self", "thoughts"): "two and two", ("self", "answer"): "four"}
    assert {event.version for event in events} == {0}
    assert str(last.prediction.thoughts) == "two and two"


async def test_a_models_own_calls_come_whole_and_its_words_in_pieces(streaming, reply, texts):
    class Calling(streaming):
        capabilities = dspex.Capabilities(chat=True, stream=True, tools=True)

    async def look(word: str) -> str:
        """Looks a word up."""
        return word.upper()

    def called(name, arguments):
        return LMDelta("", tool_calls=(ToolCall("1", name, arguments),), finish_reason="tool_calls")

    turns = ["[[ ## next_thought ## ]]\nlook ", "it up", called("look", '{"word": "x"}')], [called("finish", "{}")]
    provider = Calling(*turns, reply(reasoning="so", answer="X"))
    with dspex.context(lm=lm_of(provider)):
        *events, last = await everything(
            dspex.ReAct("question -> answer", tools=[look], native=True).astream(question="?")
        )
    found = texts(events)
    assert found["react", "next_thought"] == "look it up"
    assert json.loads(found["react", "tool_calls"])["tool_calls"][0]["args"] == {"word": "x"}
    assert [event.tool for event in tool_events(events)] == ["look", "look"]
    assert last.prediction.answer == "X"


async def test_a_fallback_streams_what_its_second_model_says(streaming, reply, texts):
    lm = dspex.Fallback(lm_of(streaming([ProtocolError("no")]), num_retries=0), lm_of(streaming(reply(answer="4"))))
    with dspex.context(lm=lm):
        *events, last = await everything(dspex.Predict("question -> answer").astream(question="?"))
    assert texts(events) == {("self", "answer"): last.prediction.answer} == {("self", "answer"): "4"}


class Memory(dict):
    """A cache in memory."""

    async def get(self, key):
        return super().get(key)

    async def set(self, key, value, ttl=None):
        self[key] = value

    async def delete(self, key):
        self.pop(key, None)

    async def aclose(self):
        self.clear()


def test_a_cached_reply_streams_as_one_piece_and_costs_nothing(virtual, streaming, reply, texts):
    provider, program = streaming(reply(reasoning="so", answer=4)), dspex.ChainOfThought("question -> answer: int")

    async def main():
        await program.acall(question="?")
        with dspex.budget(calls=1) as budget:
            return await everything(program.astream(question="?")), budget.spent.calls

    events, calls = virtual(main, lm=lm_of(provider, cache=True), cache=Memory())
    assert [event.text for event in events[:-1] if event.text] == ["so", "4"]
    assert texts(events) == {("predict", "reasoning"): "so", ("predict", "answer"): "4"}
    assert (calls, provider.opened) == (0, 1)


async def test_what_a_program_sends_comes_as_an_event(streaming, reply):
    class Program(dspex.Module):
        def __init__(self):
            super().__init__()
            self.predict = dspex.Predict("question -> answer")

        def forward(self, question):
            sync_send_to_stream(dspex.settings.send_stream, {"step": 1})
            sync_send_to_stream(dspex.settings.send_stream, StatusMessage("asking"))
            return self.predict(question=question)

    with dspex.context(lm=lm_of(streaming(reply(answer="4")))):
        first, second, *_ = await everything(Program().astream(question="?"))
    assert first == Sent({"step": 1})
    assert second == StatusMessage("asking")


async def test_status_messages_come_of_the_settings_provider(streaming, reply):
    class Telling(StatusMessageProvider):
        def module_start_status_message(self, instance, inputs):
            return f"{type(instance).__name__} begins"

    lm = lm_of(streaming(reply(reasoning="so", answer="4")))
    program = dspex.ChainOfThought("question -> answer")
    with dspex.context(lm=lm, status_message_provider=Telling()):
        events = await everything(program.astream(question="?"))
    told = [(event.message, event.path) for event in events if isinstance(event, StatusMessage)]
    assert told == [("ChainOfThought begins", ("ChainOfThought",)), ("Predict begins", ("ChainOfThought",))]


class Own(dspex.Module):
    def __call__(self, question):
        return f"called with {question}"


class AsyncOwn(dspex.Module):
    async def acall(self, question):
        return f"awaited with {question}"


@dspex.module
def function(question):
    return f"given {question}"


@pytest.mark.parametrize(
    ("program", "said"), [(Own(), "called with x"), (AsyncOwn(), "awaited with x"), (function, "given x")]
)
async def test_any_module_is_streamed(program, said):
    assert await everything(program.astream(question="x")) == [Finished(said)]
    assert await everything(program.astream("x")) == [Finished(said)]


def test_events_are_data_of_which_json_names_the_kind():
    event = FieldDelta("self", "answer", "4", is_last=True)
    assert json.loads(msgspec.json.encode(event))["type"] == "FieldDelta"
    assert msgspec.json.decode(msgspec.json.encode(event), type=FieldDelta | StatusMessage) == event
    with pytest.raises(AttributeError):
        event.text = "5"


# Faults


@pytest.mark.fault("T03")
async def test_an_error_is_raised_behind_the_events_before_it(streaming):
    provider = streaming(["[[ ## answer ## ]]\nfo", "ur and", ProtocolError("reset")])
    events = []
    with dspex.context(lm=lm_of(provider)), pytest.raises(ProtocolError, match="reset"):
        await everything(dspex.Predict("question -> answer").astream(question="?"), events)
    assert "".join(event.text for event in events) == "four and"
    assert provider.opened == provider.closed == 1


async def test_bad_input_is_an_error_of_the_first_step_and_asks_nobody(streaming):
    provider = streaming("x")
    with dspex.context(lm=lm_of(provider)), pytest.raises(dspex.InputError, match="'question' is missing"):
        await anext(dspex.Predict("question -> answer").astream(query="?"))
    assert provider.opened == 0


@pytest.mark.fault("P18")
async def test_a_program_that_calls_itself_without_end_ends_its_stream_by_a_typed_error():
    class Endless(dspex.Module):
        async def aforward(self):
            return await self.acall()

    with pytest.raises(dspex.RecursionLimit, match="does one call itself"):
        await everything(Endless().astream())


@pytest.mark.fault("T12")
def test_leaving_early_closes_the_request_gives_the_permit_back_and_leaves_no_task(virtual, streaming):
    provider = streaming(["[[ ## answer ## ]]\n", "one", 3600.0, "two"])

    async def main():
        before = asyncio.all_tasks()
        async for _ in dspex.Predict("question -> answer").astream(question="?"):
            break
        await asyncio.sleep(0.5)
        return asyncio.all_tasks() - before, provider.closed, dspex.settings.lm.service.attempts.limits.used

    assert virtual(main, lm=lm_of(provider, max_in_flight=1)) == (set(), 1, 0)


async def test_a_stream_that_is_never_read_begins_nothing(streaming):
    provider = streaming("x")
    with dspex.context(lm=lm_of(provider)):
        stream = dspex.Predict("question -> answer").astream(question="?")
        await stream.aclose()
    assert provider.opened == 0


@pytest.mark.fault("T12")
async def test_a_slow_reader_holds_model_and_tools_back(streaming, reply):
    ran = []

    async def look(word: str) -> str:
        ran.append(word)
        return word

    tool = dspex.Tool(look)

    class Busy(dspex.Module):
        async def aforward(self):
            for number in range(2_000):
                await tool.acall(word=str(number))

    stream = Busy().astream()
    await anext(stream)
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert len(ran) < 200
    events = await everything(stream)
    assert len(ran) == 2_000
    assert len(tool_events(events)) == 3_999
    assert events[-1] == Finished(None)


@pytest.mark.fault("P16")
async def test_a_tool_that_blocks_leaves_the_reader_free(streaming):
    import threading

    free, entered = threading.Event(), threading.Event()

    def wait(word: str) -> str:
        entered.set()
        free.wait(10)
        return word

    tool = dspex.Tool(wait)

    class Program(dspex.Module):
        async def aforward(self):
            return await tool.acall(word="x")

    stream = Program().astream()
    started = await anext(stream)
    assert await asyncio.to_thread(entered.wait, 10)
    free.set()  # reached while the tool stands still in its thread
    ended, last = await everything(stream)
    assert (started.tool, ended.output, last.prediction) == ("wait", "x", "x")


@pytest.mark.parametrize("form", ["async", "sync"])
def test_who_sends_to_a_stream_that_has_ended_is_not_held(form):
    senders = []

    class Leaves(dspex.Module):
        async def aforward(self):
            senders.append(dspex.settings.send_stream)
            return 4

    async def late():
        for number in range(1_000):
            await senders[0].send(number)

    if form == "sync":
        assert list(Leaves().stream()) == [Finished(4)]
    else:
        assert asyncio.run(everything(Leaves().astream())) == [Finished(4)]
    asyncio.run(asyncio.wait_for(late(), 5))
