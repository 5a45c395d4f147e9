"""streamify: fields, status messages and own objects while a program runs, and its prediction at the end."""

import asyncio
import gc

import pytest

import dspex
from dspex.plugin import LMDelta, ProtocolError, RateLimited
from dspex.streaming import (
    StatusMessage,
    StatusMessageProvider,
    StreamListener,
    StreamResponse,
    apply_sync_streaming,
    streaming_response,
    sync_send_to_stream,
)
from dspex.testing import DummyLM


def lm_of(provider, **options):
    return dspex.LM("x/y", provider=provider, **{"cache": False, **options})


async def everything(stream, into=None):
    """All items; those before an error are in `into`."""
    items = [] if into is None else into
    async for item in stream:
        items.append(item)
    return items


class Twice(dspex.Module):
    """Two predictors, one below another module, and both with an answer."""

    def __init__(self):
        super().__init__()
        self.first = dspex.Predict("question -> answer")
        self.inner = dspex.ChainOfThought("question -> answer")

    async def aforward(self, question):
        first = await self.first.acall(question=question)
        return await self.inner.acall(question=first.answer)


async def test_fields_come_in_pieces_and_the_prediction_is_that_of_a_plain_call(streaming, reply, joined):
    program = dspex.ChainOfThought("question -> answer: int")
    provider = streaming(reply(reasoning="Two and two.", answer=4))
    streamed = dspex.streamify(program, stream_listeners=[StreamListener("reasoning"), StreamListener("answer")])
    with dspex.context(lm=lm_of(provider)):
        *items, last = await everything(streamed(question="2+2?"))
        plain = await program.acall(question="2+2?")
    assert joined(items) == {("predict", "reasoning"): "Two and two.", ("predict", "answer"): "4"}
    assert last.toDict() == plain.toDict() == {"reasoning": "Two and two.", "answer": 4}
    assert len(items) > 6
    assert [item.is_last_chunk for item in items].count(True) == 2


async def test_one_streamer_serves_many_times_and_at_once(streaming, reply, joined):
    program = dspex.Predict("question -> answer")
    streamed = dspex.streamify(program, stream_listeners=[StreamListener("answer")])

    class Echo(streaming):
        async def stream(self, request):
            number = request.messages[-1].text.split("number ")[1].split()[0]
            for piece in reply(answer=f"It is {number}."):
                await asyncio.sleep(0)
                yield LMDelta(piece)
            yield LMDelta("", finish_reason="stop")

    async def one(number):
        *items, last = await everything(streamed(question=f"number {number} ?"))
        assert joined(items) == {("self", "answer"): last.answer}
        return last.answer

    with dspex.context(lm=lm_of(Echo(""))):
        again = [await one(number) for number in range(3)]
        at_once = await asyncio.gather(*map(one, range(20)))
    assert again == [f"It is {number}." for number in range(3)]
    assert at_once == [f"It is {number}." for number in range(20)]


async def test_a_field_of_two_predictors_is_told_apart_by_the_predictor(streaming, reply, joined):
    program = Twice()
    with pytest.raises(ValueError, match=r"Several predictors.*first, inner.predict.*predict="):
        dspex.streamify(program, stream_listeners=[StreamListener("answer")])
    with pytest.raises(dspex.ConfigurationError, match=r"no output field 'answr'.*Did you mean 'answer'"):
        dspex.streamify(program, stream_listeners=[StreamListener("answr")])
    provider = streaming(reply(answer="one"), reply(reasoning="so", answer="two"))
    listeners = [StreamListener("answer", predict=program.inner.predict, predict_name="second")]
    with dspex.context(lm=lm_of(provider)):
        items = await everything(dspex.streamify(program, stream_listeners=listeners)(question="?"))
    assert joined(items) == {("second", "answer"): "two"}


async def test_a_field_of_two_predictors_is_told_apart_by_the_predictors_path_too(streaming, reply, joined):
    provider = streaming(reply(answer="one"), reply(reasoning="so", answer="two"))
    streamed = dspex.streamify(Twice(), stream_listeners=[StreamListener("answer", predict_name="inner.predict")])
    with dspex.context(lm=lm_of(provider)):
        items = await everything(streamed(question="?"))
    assert joined(items) == {("inner.predict", "answer"): "two"}


@pytest.mark.parametrize("allow_reuse", [False, True])
async def test_a_predictor_in_a_loop_is_heard_once_or_each_time(streaming, reply, joined, allow_reuse):
    predict = dspex.Predict("question -> answer")

    async def program(question):
        return [(await predict.acall(question=f"{question} {turn}")).answer for turn in range(2)]

    streamed = dspex.streamify(program, stream_listeners=[StreamListener("answer", allow_reuse=allow_reuse)])
    for _ in range(2):
        with dspex.context(lm=lm_of(streaming(reply(answer="one"), reply(answer="two")))):
            *items, last = await everything(streamed("?"))
        assert last == ["one", "two"]
        again = {("self", "answer", 1): "two"} if allow_reuse else {}
        assert joined(items) == {("self", "answer"): "one", **again}


async def test_a_sync_program_streams_from_its_thread(streaming, reply, joined):
    class Program(dspex.Module):
        def __init__(self):
            super().__init__()
            self.predict = dspex.Predict("question -> answer")

        def forward(self, question):
            sync_send_to_stream(dspex.settings.send_stream, "begun")
            return self.predict(question=question)

    streamed = dspex.streamify(Program(), stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm_of(streaming(reply(answer="four")))):
        first, *items, last = await everything(streamed(question="2+2?"))
    assert first == "begun"
    assert joined(items) == {("predict", "answer"): last.answer} == {("predict", "answer"): "four"}


def test_the_sync_form_gives_the_same(streaming, reply, joined):
    program = dspex.Predict("question -> answer")
    provider = streaming(reply(answer="four"))
    streamed = dspex.streamify(program, stream_listeners=[StreamListener("answer")], async_streaming=False)
    with dspex.context(lm=lm_of(provider)):
        *items, last = streamed(question="2+2?")
        assert joined(items) == {("self", "answer"): last.answer}
        for _ in streamed(question="2+2?"):
            break
        gc.collect()
    assert provider.opened == provider.closed == 2


async def test_the_sync_form_works_inside_a_running_loop(streaming, reply):
    streamed = dspex.streamify(dspex.Predict("question -> answer"))
    with dspex.context(lm=lm_of(streaming(reply(answer="four")))):
        *_, last = apply_sync_streaming(streamed(question="2+2?"))
    assert last.answer == "four"


async def test_without_listeners_the_pieces_of_the_model_come_as_they_are(streaming, reply):
    streamed = dspex.streamify(dspex.Predict("question -> answer"))
    with dspex.context(lm=lm_of(streaming(reply(answer="four"), size=10))):
        *items, last = await everything(streamed(question="2+2?"))
    assert "".join(item.text for item in items) == reply(answer="four")
    with dspex.context(lm=DummyLM([{"answer": "four"}])):
        assert [item.answer for item in await everything(streamed(question="2+2?"))] == [last.answer]


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "unheard"])
async def test_the_prediction_may_be_kept_back_unless_nothing_else_came(streaming, reply, heard):
    listeners = [StreamListener("answer")] if heard else []
    streamed = dspex.streamify(
        dspex.Predict("question -> answer"),
        stream_listeners=listeners,
        include_final_prediction_in_output_stream=False,
    )
    lm = lm_of(streaming(reply(answer="four"))) if heard else DummyLM([{"answer": "four"}])
    with dspex.context(lm=lm):
        items = await everything(streamed(question="2+2?"))
    assert any(isinstance(item, dspex.Prediction) for item in items) is not heard


# What does not come in pieces


@pytest.mark.parametrize(
    "adapter", [dspex.ChatAdapter(), dspex.JSONAdapter(), dspex.XMLAdapter(), dspex.PlainAdapter()]
)
async def test_every_adapter_gives_the_whole_field(streaming, joined, adapter):
    program = dspex.Predict("question -> reasoning, answer")
    fields = {"reasoning": "so [[x]] {y} <z>", "answer": "4"}
    text = adapter.format_fields(fields)
    if adapter.name == "plain":
        text = adapter.format_assistant_message_content(program.signature, fields)
    streamed = dspex.streamify(program, stream_listeners=[StreamListener("reasoning"), StreamListener("answer")])
    with dspex.context(lm=lm_of(streaming(text)), adapter=adapter):
        *items, last = await everything(streamed(question="2+2?"))
    assert joined(items) == {("self", name): last[name] for name in fields}


async def test_a_subclass_with_a_form_of_its_own_is_heard_right(streaming, reply, joined):
    class Shouting(dspex.ChatAdapter):
        def parse(self, signature, completion):
            return {name: value.upper() for name, value in super().parse(signature, completion).items()}

    streamed = dspex.streamify(dspex.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm_of(streaming(reply(answer="four"))), adapter=Shouting()):
        *items, last = await everything(streamed(question="2+2?"))
    assert joined(items) == {("self", "answer"): "FOUR"}
    assert last.answer == "FOUR"


async def test_of_several_completions_the_first_comes_as_one_piece(streaming, reply, joined):
    streamed = dspex.streamify(dspex.Predict("question -> answer", n=2), stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm_of(streaming(reply(answer="four")))):
        *items, last = await everything(streamed(question="2+2?"))
    assert joined(items) == {("self", "answer"): "four"}
    assert last.completions.answer == ["four", "four"]


# Faults


@pytest.mark.fault("T03")
async def test_an_error_in_the_middle_reaches_the_reader_behind_what_came_before(streaming):
    provider = streaming(["[[ ## answer ## ]]\nfo", "ur and", ProtocolError("reset")])
    items = []
    streamed = dspex.streamify(dspex.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm_of(provider)), pytest.raises(ProtocolError, match="reset") as caught:
        await everything(streamed(question="2+2?"), items)
    assert "".join(item.chunk for item in items) == "four and"
    assert caught.value.partial == "[[ ## answer ## ]]\nfour and"
    assert provider.opened == provider.closed == 1


@pytest.mark.fault("T04")
def test_a_fault_before_the_first_piece_is_tried_again_unseen(virtual, streaming, reply, joined):
    provider = streaming([RateLimited("slow down")], reply(answer="four"))

    async def main():
        streamed = dspex.streamify(dspex.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
        return await everything(streamed(question="2+2?"))

    *items, last = virtual(main, lm=lm_of(provider))
    assert joined(items) == {("self", "answer"): last.answer}
    assert {item.version for item in items} == {0}
    assert provider.opened == provider.closed == 2


async def test_a_reply_that_is_asked_for_again_is_a_new_version(streaming, reply, joined):
    program = dspex.Predict("question -> reasoning, answer: int")
    provider = streaming(reply(reasoning="hm", answer="many"), '{"reasoning": "so", "answer": 4}')
    streamed = dspex.streamify(program, stream_listeners=[StreamListener("reasoning"), StreamListener("answer")])
    with dspex.context(lm=lm_of(provider)), dspex.track_usage() as usage:
        *items, last = await everything(streamed(question="2+2?"))
    assert joined(items) == {("self", "reasoning"): "so", ("self", "answer"): "4"}
    assert last.answer == 4
    assert [item.chunk for item in items if item.version == 0 and item.signature_field_name == "answer"] == list("many")
    assert usage.total.calls == 2


@pytest.mark.fault("T12")
def test_leaving_early_closes_the_request_at_once_and_leaves_no_task(virtual, streaming):
    provider = streaming(["[[ ## answer ## ]]\n", "one", 3600.0, "two"])

    async def main():
        before = asyncio.all_tasks()
        streamed = dspex.streamify(dspex.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
        async for _ in streamed(question="?"):
            break
        await asyncio.sleep(0.5)
        return asyncio.all_tasks() - before, provider.closed, dspex.settings.lm.service.attempts.limits.used

    assert virtual(main, lm=lm_of(provider, max_in_flight=1)) == (set(), 1, 0)


@pytest.mark.fault("T12")
async def test_a_slow_reader_holds_the_model_back(streaming):
    provider = streaming(["[[ ## answer ## ]]\n", *["word"] * 5_000, LMDelta("", finish_reason="stop")])
    streamed = dspex.streamify(dspex.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm_of(provider)):
        stream = streamed(question="?")
        await anext(stream)
        for _ in range(50):
            await asyncio.sleep(0)
        assert provider.given < 300
        *items, last = await everything(stream)
        assert provider.given == 5_002
    assert "word" + "".join(item.chunk for item in items) == last.answer


async def test_a_cancelled_reader_cancels_the_program(streaming):
    provider = streaming(["[[ ## answer ## ]]\n", "one", 3600.0])
    streamed = dspex.streamify(dspex.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm_of(provider)):
        items = []
        task = asyncio.create_task(everything(streamed(question="?"), items))
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [item.chunk for item in items] == ["one"]
    assert provider.closed == 1


async def test_an_error_of_the_program_itself_is_raised(streaming):
    async def program():
        await dspex.settings.send_stream.send("begun")
        raise KeyError("mine")

    items = []
    with pytest.raises(KeyError, match="mine"):
        await everything(dspex.streamify(program)(), items)
    assert items == ["begun"]


# Usage and cache


async def test_a_streamed_call_counts_in_budgets_usage_and_history(streaming, reply):
    lm = lm_of(streaming(reply(answer="four")))
    streamed = dspex.streamify(dspex.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm, track_usage=True), dspex.budget(calls=2) as budget:
        *_, last = await everything(streamed(question="2+2?"))
    assert budget.spent.calls == 1
    assert last.get_lm_usage()["x/y"]["total_tokens"] == 15
    assert len(lm.history) == 1


# Status messages and own objects


class Telling(StatusMessageProvider):
    def __init__(self, name=""):
        self.name = name

    def module_start_status_message(self, instance, inputs):
        return f"{self.name}{type(instance).__name__} begins"

    def lm_start_status_message(self, instance, inputs):
        return None

    def lm_end_status_message(self, outputs):
        return f"{self.name}answered"


async def test_status_messages_come_while_modules_run_and_callbacks_stay_as_they_were(streaming, reply):
    lm = lm_of(streaming(reply(reasoning="so", answer="4")))
    program = dspex.ChainOfThought("question -> answer")
    before = dspex.settings.callbacks
    with dspex.context(lm=lm):

        async def messages(name):
            streamed = dspex.streamify(program, status_message_provider=Telling(name))
            return [item.message async for item in streamed(question="2+2?") if isinstance(item, StatusMessage)]

        got = await asyncio.gather(messages("a: "), messages("b: "))
    for name, told in zip("ab", got, strict=True):
        assert told == [f"{name}: ChainOfThought begins", f"{name}: Predict begins", f"{name}: answered"]
    assert dspex.settings.callbacks is before


async def test_by_default_tools_are_told_of(streaming):
    def look(word: str) -> str:
        return word

    tool, finish = dspex.Tool(look), dspex.Tool(look, name="finish")

    async def program():
        await tool.acall(word="x")
        return await finish.acall(word="y")

    *items, last = await everything(dspex.streamify(program)())
    assert [item.message.startswith("Calling tool look") for item in items] == [True, False]
    assert last == "y"


async def test_a_provider_of_messages_that_fails_is_warned_of_and_nothing_else(streaming, reply):
    class Broken(StatusMessageProvider):
        def module_start_status_message(self, instance, inputs):
            raise ValueError("no words")

    streamed = dspex.streamify(dspex.Predict("question -> answer"), status_message_provider=Broken())
    with dspex.context(lm=DummyLM([{"answer": "4"}])), pytest.warns(RuntimeWarning, match="no words"):
        assert [item.answer for item in await everything(streamed(question="?"))] == ["4"]


async def test_programs_that_override_their_call_are_streamed(streaming, reply):
    class Own(dspex.Module):
        def __call__(self, question):
            return f"called with {question}"

    class AsyncOwn(dspex.Module):
        async def acall(self, question):
            return f"awaited with {question}"

    assert await everything(dspex.streamify(Own())(question="x")) == ["called with x"]
    for flag in (True, False):
        assert await everything(dspex.streamify(AsyncOwn(), is_async_program=flag)(question="x")) == ["awaited with x"]


async def test_a_stream_goes_out_as_server_sent_events(streaming, reply):
    streamed = dspex.streamify(dspex.Predict("question -> answer: int"), stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm_of(streaming(reply(answer=4)))):
        events = [event async for event in streaming_response(streamed(question="2+2?"))]
    assert events[0] == (
        'data: {"chunk":{"predict_name":"self","signature_field_name":"answer","chunk":"4","is_last_chunk":false,'
        '"run":0,"version":0}}\n\n'
    )
    assert events[-2:] == ['data: {"prediction":{"answer":4}}\n\n', "data: [DONE]\n\n"]


def test_a_listener_of_something_that_is_no_predictor_is_an_error_at_once():
    with pytest.raises(dspex.ConfigurationError, match="predict= takes a Predict"):
        dspex.streamify(Twice(), stream_listeners=[StreamListener("answer", predict="first")])


def test_a_response_is_data():
    assert StreamResponse("p", "f", "x", False) == StreamResponse("p", "f", "x", False, 0, 0)


class Memory:
    """A cache in memory."""

    def __init__(self):
        self.rows = {}

    async def get(self, key):
        return self.rows.get(key)

    async def set(self, key, value, ttl=None):
        self.rows[key] = value

    async def delete(self, key):
        self.rows.pop(key, None)

    async def aclose(self):
        self.rows.clear()


def test_a_streamed_reply_is_cached_and_comes_again_as_one_piece(virtual, streaming, reply, joined):
    provider, program = streaming(reply(answer="four")), dspex.Predict("question -> answer")

    async def main():
        streamed = dspex.streamify(program, stream_listeners=[StreamListener("answer")])
        runs = [await everything(streamed(question="2+2?")) for _ in range(2)]
        return [*runs, (await program.acall(question="2+2?")).answer]

    first, second, plain = virtual(main, lm=lm_of(provider, cache=True), cache=Memory())
    assert joined(first) == joined(second) == {("self", "answer"): plain}
    assert [item.chunk for item in second[:-1] if item.chunk] == ["four"]
    assert provider.opened == 1


class Shouting:
    """Middleware that knows streams."""

    async def __call__(self, request, call_next):
        raise NotImplementedError

    async def stream(self, request, call_next):
        async for piece in call_next(request):
            yield LMDelta(piece.text.replace("four", "FOUR"), finish_reason=piece.finish_reason)


async def counting(request, call_next):
    """Middleware that knows none."""
    return await call_next(request)


@pytest.mark.parametrize(("middleware", "answer"), [(Shouting(), "FOUR"), (counting, "four")], ids=["streams", "plain"])
def test_middleware_stands_around_a_stream_too(virtual, streaming, reply, joined, middleware, answer):
    async def main():
        streamed = dspex.streamify(dspex.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
        return await everything(streamed(question="2+2?"))

    *items, last = virtual(main, lm=lm_of(streaming(reply(answer="four"), size=100)), middleware=[middleware])
    assert joined(items) == {("self", "answer"): last.answer} == {("self", "answer"): answer}


async def test_many_chunks_cross_threads_in_order_and_a_slow_reader_holds_them_back(streaming, joined):
    provider = streaming(
        ["[[ ## answer ## ]]\n", *[f"w{number} " for number in range(2_000)], LMDelta("", finish_reason="stop")]
    )

    class Sync(dspex.Module):
        def __init__(self):
            super().__init__()
            self.predict = dspex.Predict("question -> answer")

        def forward(self, question):
            return self.predict(question=question)

    streamed = dspex.streamify(Sync(), stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm_of(provider)):
        *items, last = await everything(streamed(question="?"))
    assert joined(items) == {("predict", "answer"): last.answer}
    assert last.answer.split() == [f"w{number}" for number in range(2_000)]
