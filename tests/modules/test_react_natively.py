"""ReAct with the provider's own functions: one conversation of calls and results, the same trace as in text."""

import asyncio
import time

import msgspec
import pytest

import dspex
from dspex.core.messages import Thought, ToolCall, ToolResult
from dspex.plugin import Choice

ANSWER = {"reasoning": "r", "answer": "4"}


def search(query: str) -> str:
    """Finds pages."""
    return f"pages on {query}"


async def look_up(word: str) -> str:
    """What a word means."""
    return f"{word} is a word"


def agent(**options):
    return dspex.ReAct("question -> answer", tools=[search, look_up], **options)


def calls(*named, text=""):
    """A reply that calls tools: (id, name, arguments)."""
    return Choice(text, tuple(ToolCall(*one) for one in named), "tool_calls")


DONE = calls(("f1", "finish", "{}"))


def roles(request):
    return [message.role for message in request.messages]


def parts(request, kind):
    return [part for message in request.messages for part in message.parts if isinstance(part, kind)]


def outcome(run, script, program=None, **inputs):
    with dspex.context(lm=script.lm):
        return run(program or agent(), **{"question": "2+2?", **inputs})


def test_calls_and_results_are_turns_and_the_inputs_stand_once(run, provider):
    script = provider(calls(("c1", "search", '{"query": "x"}')), DONE, ANSWER, tools=True)
    found = outcome(run, script)
    assert found.answer == "4"
    assert found.termination_reason == "finish"
    assert found.trajectory["observation_0"] == "pages on x"
    first, second, last = script.asked
    assert [tool["function"]["name"] for tool in first.tools] == ["search", "look_up", "finish"]
    assert roles(first) == ["system", "user"]
    assert roles(second) == ["system", "user", "assistant", "tool", "user"]
    assert parts(second, ToolCall) == [ToolCall("c1", "search", '{"query":"x"}')]
    assert parts(second, ToolResult) == [ToolResult("c1", "pages on x")]
    assert sum("2+2?" in message.text for message in second.messages) == 1
    assert "2+2?" in second.messages[1].text
    text = "\n".join(message.text for message in second.messages)
    for absent in ("next_tool_name", "turns_", "tools_", "null", "None"):
        assert absent not in text
    assert not last.tools
    assert "Step 1" in last.messages[-1].text


@pytest.mark.parametrize("adapter", [dspex.JSONAdapter(), dspex.XMLAdapter(use_native_function_calling=True)])
def test_other_adapters_have_the_same_conversation(run, provider, adapter):
    thought = adapter.format_fields({"next_thought": "Look."})
    first = calls(("c1", "search", '{"query": "x"}'), text=thought)
    script = provider(first, DONE, adapter.format_fields(ANSWER), tools=True)
    with dspex.context(adapter=adapter):
        found = outcome(run, script)
    assert found.trajectory["thought_0"] == "Look."
    assert roles(script.asked[1])[:4] == ["system", "user", "assistant", "tool"]
    assert "Look." in script.asked[1].messages[2].text
    assert parts(script.asked[1], ToolResult) == [ToolResult("c1", "pages on x")]


def test_a_turn_of_several_calls_is_summed_up_as_a_whole(run, provider):
    def pair(number):
        wide = "x" * 100
        return calls(*((f"{number}{side}", "search", f'{{"query": "{number}{side} {wide}"}}') for side in "ab"))

    script = provider(*map(pair, range(4)), DONE, ANSWER, tools=True)
    given = []
    program = agent(max_trajectory=1_500, summarise=lambda text, most: given.append(text) or "summed")
    outcome(run, script, program)
    shown = {call.id for call in parts(script.asked[4], ToolCall)}
    summed = {f"{number}{side}" for number in range(4) for side in "ab" if f'"{number}{side} ' in "".join(given)}
    assert summed
    assert shown | summed == {f"{number}{side}" for number in range(4) for side in "ab"}
    assert not shown & summed


def test_several_calls_of_one_turn_run_side_by_side(run, provider):
    meeting = asyncio.Event
    gates = {}

    async def meet(name: str) -> str:
        """Waits for the other."""
        gates.setdefault(name, meeting()).set()
        other = gates.setdefault({"a": "b", "b": "a"}[name], meeting())
        await other.wait()
        return f"{name} met"

    script = provider(
        calls(("1", "meet", '{"name": "a"}'), ("2", "meet", '{"name": "b"}'), ("3", "finish", "{}")), ANSWER, tools=True
    )
    found = outcome(run, script, dspex.ReAct("question -> answer", tools=[meet]))
    observed = [found.trajectory[f"observation_{place}"] for place in range(3)]
    assert observed == ["a met", "b met", "Completed."]
    assert len(script.asked) == 2


def test_results_keep_their_calls_when_one_fails(run, provider):
    script = provider(
        calls(("1", "search", "{}"), ("2", "look_up", '{"word": "x"}'), ("3", "serch", "{}")), DONE, ANSWER, tools=True
    )
    outcome(run, script)
    missing, fine, unknown = parts(script.asked[1], ToolResult)
    assert missing.is_error
    assert "'query' is missing" in missing.text
    assert fine == ToolResult("2", "x is a word")
    assert unknown.is_error
    assert "Did you mean 'search'" in unknown.text


@pytest.mark.fault("B09")
def test_calls_that_cannot_be_read_are_told_and_the_agent_goes_on(run, provider):
    bad = calls(("1", "search", "{broken"))
    script = provider(bad, bad, calls(("2", "search", '{"query": "x"}')), DONE, ANSWER, tools=True)
    found = outcome(run, script)
    assert found.answer == "4"
    assert "could not be read" in found.trajectory["observation_0"]
    assert "could not be read" in script.asked[2].messages[-1].text
    assert "could not be read" not in script.asked[3].messages[-1].text


def test_a_reply_without_calls_ends_the_work(run, provider):
    script = provider(dspex.ChatAdapter().format_fields({"next_thought": "It is 4."}), ANSWER, tools=True)
    found = outcome(run, script)
    assert found.termination_reason == "no_call"
    assert found.trajectory["thought_0"] == "It is 4."


def test_repeats_and_limits_count_natively_too(run, provider):
    same = [calls((str(number), "search", '{"query": "x"}')) for number in range(4)]
    script = provider(*same, ANSWER, tools=True)
    found = outcome(run, script, agent(max_repeats=1))
    assert found.termination_reason == "idle"
    assert "This very call" in parts(script.asked[2], ToolResult)[1].text


def test_what_no_longer_fits_is_summed_up_in_the_first_turn(run, provider):
    steps = [calls((f"c{number}", "search", f'{{"query": "{number} {"x" * 200}"}}')) for number in range(6)]
    script = provider(*steps, DONE, ANSWER, tools=True)
    program = agent(max_trajectory=1_200, summarise=lambda text, most: f"summed {text.count('Step ')}")
    found = outcome(run, script, program)
    assert len([name for name in found.trajectory if name.startswith("tool_name")]) == 7
    request = script.asked[6]
    assert len(parts(request, ToolCall)) < 6
    assert roles(request)[:3] == ["system", "user", "assistant"]
    assert "summed" in request.messages[1].text
    assert "2+2?" in request.messages[1].text


# When


CHAT, JSON = dspex.ChatAdapter, dspex.JSONAdapter


@pytest.mark.parametrize(
    ("known", "adapter", "native", "goes"),
    [
        (True, None, None, True),
        (None, None, None, False),
        (False, None, None, False),
        (True, CHAT(), None, False),
        (True, JSON(), None, True),
        (None, CHAT(use_native_function_calling=True), None, True),
        (True, JSON(use_native_function_calling=False), None, False),
        (True, None, False, False),
        (None, None, True, True),
        (None, CHAT(), True, True),
    ],
)
def test_it_goes_natively_where_the_provider_or_the_user_says_so(run, provider, known, adapter, native, goes):
    answer = (adapter or CHAT()).format_fields(ANSWER)
    step = {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}}
    script = provider(DONE if goes else (adapter or CHAT()).format_fields(step), answer, tools=known)
    with dspex.context(adapter=adapter):
        assert outcome(run, script, agent(native=native)).answer == "4"
    assert bool(script.asked[0].tools) is goes


def test_a_conversation_among_the_inputs_is_asked_in_text(run, provider):
    step = {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}}
    script = provider(step, ANSWER, tools=True)
    program = dspex.ReAct("history: dspex.History, question -> answer", tools=[search])
    history = dspex.History(messages=[{"question": "1+1?", "answer": "2"}])
    assert outcome(run, script, program, history=history).answer == "4"
    assert not script.asked[0].tools
    with pytest.raises(dspex.ConfigurationError, match="a History among its inputs"):
        outcome(
            run,
            provider(tools=True),
            dspex.ReAct("history: dspex.History, q -> a", [], native=True),
            history=history,
            q="?",
        )


def test_a_model_without_turns_cannot_be_asked_natively(run, provider):
    with pytest.raises(dspex.ConfigurationError, match="one text without turns"):
        outcome(run, provider(chat=False), agent(native=True))


# What an optimizer sees


def test_the_trace_is_that_of_the_text_form(run, provider):
    script = provider(calls(("c1", "search", '{"query": "x"}')), DONE, ANSWER, tools=True)
    program, trace = agent(), []
    with dspex.context(trace=trace):
        outcome(run, script, program)
    parts_, inputs, made = zip(*trace, strict=True)
    assert parts_ == (program.react, program.react, program.extract.predict)
    assert inputs[1] == {
        "question": "2+2?",
        "trajectory": 'Step 1\n  call: search {"query":"x"}\n  result: pages on x',
    }
    assert made[0].toDict() == {"next_thought": "", "next_tool_name": "search", "next_tool_args": {"query": "x"}}
    assert set(made[0].keys()) == set(program.react.signature.output_fields)


def test_thoughts_go_back_before_the_calls_that_they_led_to(run, provider):
    def thoughtful(number):
        call = calls((f"c{number}", "search", f'{{"query": "{number}"}}'), text="[[ ## next_thought ## ]]\nLook.")
        thoughts = (Thought(f"sealed {number}", "my/model"), Thought(f"signed {number}", "my/model"))
        return msgspec.structs.replace(call, thoughts=thoughts)

    script = provider(thoughtful(1), DONE, ANSWER, tools=True)
    outcome(run, script)
    assert [type(part).__name__ for part in script.asked[1].messages[2].parts] == [
        "Thought",
        "Thought",
        "Text",
        "ToolCall",
    ]
    script = provider(thoughtful(1), calls(("c2", "look_up", '{"word": "x"}')), thoughtful(3), DONE, ANSWER, tools=True)
    found = outcome(run, script)
    told = [thought for number in (1, 3) for thought in thoughtful(number).thoughts]
    assert parts(script.asked[1], Thought) == parts(script.asked[2], Thought) == told[:2]
    assert parts(script.asked[3], Thought) == told
    assert not parts(script.asked[4], Thought)
    assert "sealed" not in str(found.trajectory)


def test_demos_of_the_text_form_become_calls(run, provider):
    script = provider(DONE, ANSWER, tools=True)
    program = agent()
    demo = {"question": "1?", "trajectory": "(no steps yet)", "next_thought": "t"}
    program.react.demos = [dspex.Example(**demo, next_tool_name="search", next_tool_args={"query": "y"})]
    program.react.signature = program.react.signature.with_instructions("Do it well.")
    outcome(run, script, program)
    request = script.asked[0]
    assert roles(request) == ["system", "user", "assistant", "tool", "user"]
    assert [call.arguments for call in parts(request, ToolCall)] == ['{"query":"y"}']
    assert request.messages[1].parts[0].text.startswith("[[ ## question ## ]]\n1?")
    assert "Do it well." in request.messages[0].text


def test_optional_inputs_that_are_not_given_are_not_shown(run, provider):
    script = provider(DONE, ANSWER, tools=True)
    program = dspex.ReAct("question, note: str | None -> answer", tools=[search])
    outcome(run, script, program)
    assert "note ##" not in script.asked[0].messages[1].text


def test_missing_inputs_are_said_before_any_call(run, provider):
    script = provider(DONE, tools=True)
    with pytest.raises(dspex.InputError, match="'question' is missing"), dspex.context(lm=script.lm):
        run(agent())
    assert not script.asked


def test_a_hint_of_refine_reaches_it(run, provider):
    advice = {"discussion": "d", "advice": {"react": "Search first."}}
    better = {"reasoning": "r", "answer": "44"}
    script = provider(DONE, ANSWER, advice, DONE, better, tools=True)
    program = dspex.Refine(agent(), 2, lambda inputs, made: len(made.answer), 2)
    assert outcome(run, script, program).answer == "44"
    assert "Search first." in script.asked[3].messages[1].text


async def test_cancelled_while_calls_run_side_by_side_it_leaves_nothing_running(provider):
    entered, ended = asyncio.Event(), []

    async def waits(name: str) -> str:
        """Waits."""
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            ended.append(name)
        return ""

    script = provider(calls(("1", "waits", '{"name": "a"}'), ("2", "waits", '{"name": "b"}')), tools=True)
    with dspex.context(lm=script.lm):
        task = asyncio.create_task(dspex.ReAct("question -> answer", tools=[waits]).acall(question="?"))
        await entered.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sorted(ended) == ["a", "b"]


def test_a_turn_is_rendered_once_however_long_the_run(run, provider):
    class Counts(dspex.ChatAdapter):
        rendered = 0

        def render(self, *args):
            type(self).rendered += 1
            return super().render(*args)

    def cost(steps):
        said = [calls((f"c{n}", "search", f'{{"query": "{n}"}}'), text=f"Thought {n}.") for n in range(steps)]
        script = provider(*said, DONE, ANSWER, tools=True)
        before = Counts.rendered
        with dspex.context(adapter=Counts(use_native_function_calling=True)):
            outcome(run, script, agent(max_iters=steps + 1))
        assert len(parts(script.asked[-2], ToolCall)) == steps
        return Counts.rendered - before

    assert cost(40) <= 2 * cost(20) + 3


def test_a_turn_costs_the_same_however_many_were_before(provider):
    def cost(turns):
        said = [calls((f"c{turn}", "search", f'{{"query": "{turn}"}}')) for turn in range(turns)]
        script = provider(*said, DONE, ANSWER, tools=True)
        with dspex.context(lm=script.lm, disable_history=True):
            began = time.process_time()
            agent(max_iters=turns + 1)(question="2+2?")
            return (time.process_time() - began) / turns

    few = min(cost(20) for _ in range(5))
    assert any(cost(400) < 2 * few for _ in range(3))
