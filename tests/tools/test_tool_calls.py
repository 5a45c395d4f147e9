"""What a model asks to be called: how it is read, run and told of."""

import asyncio
import threading

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dspex
from dspex.core.errors import BudgetExceeded, ConfigurationError, ToolError, ToolInputError
from dspex.program.types.tool import Tool
from dspex.program.types.tool_calls import ToolCall, ToolCallResults, ToolCalls
from dspex.testing.virtual_time import simulate

CALLS = ToolCalls.from_dict_list([{"name": "add", "args": {"x": 1}}, {"name": "fail", "args": {}}])


def add(x: int, y: int = 2) -> int:
    return x + y


def fail() -> None:
    raise ZeroDivisionError("no")


# Read


@pytest.mark.parametrize(
    "text",
    [
        '{"tool_calls": [{"name": "add", "args": {"x": 1}}]}',
        '[{"name": "add", "args": {"x": 1}}]',
        '{"name": "add", "args": {"x": 1}}',
        '{"name": "add", "arguments": {"x": 1}}',
        '{"name": "add", "parameters": "{\\"x\\": 1}"}',
        'I call:\n```json\n{"tool_calls": [{"name": "add", "args": {"x": 1}}]}\n```',
        "{'tool_calls': [{'name': 'add', 'args': {'x': 1}}]}",
        '{"tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": "{\\"x\\": 1}"}}]}',
    ],
)
def test_calls_are_read_in_the_forms_that_models_write(text):
    assert ToolCalls.parse(text).format() == {"tool_calls": [{"name": "add", "args": {"x": 1}}]}


@pytest.mark.parametrize("text", ['{"tool_calls": []}', "[]", '{"tool_calls": null}'])
def test_no_calls_are_none(text):
    assert len(ToolCalls.parse(text)) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I would call add.", "not JSON"),
        ('"add"', "not JSON|not str"),
        ("5", "with name and args, not int"),
        ("[1]", "an object with name and args, not int"),
        ('[{"args": {}}]', "has no name"),
        ('[{"name": ""}]', "has no name"),
        ('[{"name": 5}]', "has no name"),
        ('[{"name": "add", "args": [1]}]', "the arguments of 'add' are list, not an object"),
        ('[{"name": "add", "args": "x=1"}]', "not JSON"),
        ('[{"name": "add", "args": "5"}]', "no JSON object"),
        ('{"tool_calls": 5}', "with name and args, not int"),
        ('[{"name": "add", "args": {"x": 1', "cut off"),
        ("[" * 100_000, "cut off"),
    ],
)
def test_what_is_no_call_is_told(text, words):
    with pytest.raises(ValueError, match=words):
        ToolCalls.parse(text)


def test_an_id_is_kept_in_files_and_not_shown():
    calls = ToolCalls(tool_calls=[ToolCall("add", {"x": 1}, "call_7")])
    assert calls.format() == {"tool_calls": [{"name": "add", "args": {"x": 1}}]}
    assert ToolCalls.from_plain(msgspec.json.decode(msgspec.json.encode(calls.toDict()))) == calls
    assert isinstance(calls.tool_calls[0], ToolCalls.ToolCall)


def test_results_belong_to_their_calls():
    results = ToolCallResults.from_tool_calls_and_values(CALLS, [3, "no"], is_errors=[False, True])
    assert [(one.name, one.value, one.is_error) for one in results] == [("add", 3, False), ("fail", "no", True)]
    assert ToolCallResults.from_tool_calls_and_values(list(CALLS), [3, "no"]).tool_call_results[1].is_error is False
    assert results.tool_call_results[0] == ToolCallResults.ToolCallResult("add", 3)
    with pytest.raises(ValueError, match="2 calls, 1 values"):
        ToolCallResults.from_tool_calls_and_values(CALLS, [3])


# Run


@pytest.mark.parametrize("functions", [[add], [Tool(add)], {"add": add}, {"add": Tool(add, "plus")}, add])
async def test_a_call_runs_the_tool_of_its_name(functions):
    call = ToolCall("add", {"x": "1"})
    assert call.execute(functions) == 3
    assert await call.aexecute(functions) == 3


@pytest.mark.parametrize(
    ("call", "functions", "error", "words"),
    [
        (ToolCall("ad", {}), [add], ToolInputError, "no tool 'ad'. Did you mean 'add'\\? Tools: add"),
        (ToolCall("add", {}), [], ToolInputError, "no tool 'add'. Tools: none"),
        (ToolCall("add", {"x": "q"}), [add], ToolInputError, "'x' should be int"),
        (ToolCall("add", {"x": 1}), None, ToolInputError, "Name the tools that may be called"),
        (ToolCall("add", {"x": 1}), [add, Tool(fail, "add")], ConfigurationError, "Two tools bear the name 'add'"),
        (ToolCall("fail", {}), [fail], ToolError, "ZeroDivisionError"),
        (ToolCall("x" * 10_000, {}), [add], ToolInputError, "no tool 'xxx"),
    ],
)
def test_a_call_that_cannot_be_run_is_an_error(call, functions, error, words):
    with pytest.raises(error, match=words) as caught:
        call.execute(functions)
    assert len(str(caught.value)) < 1_000


def test_calls_run_side_by_side_in_order_and_fail_alone():
    async def slow(x: int) -> int:
        await asyncio.sleep(10 - x)
        return x

    calls = ToolCalls.from_dict_list(
        [{"name": "slow", "args": {"x": 1}}, {"name": "slow", "args": {}}, {"name": "slow", "args": {"x": 9}}]
    )

    async def run() -> ToolCallResults:
        results = await calls.aexecute([slow])
        assert asyncio.get_running_loop().time() == pytest.approx(9)
        return results

    results, _ = simulate(run)
    assert [one.is_error for one in results] == [False, True, False]
    assert [one.value for one in results][::2] == [1, 9]
    assert results.tool_call_results[1].value.startswith("Tool 'slow': 'x' is missing")


def test_sync_functions_run_side_by_side_too():
    both = threading.Barrier(2, timeout=30)

    def meet() -> bool:
        return both.wait() >= 0

    results = ToolCalls.from_dict_list([{"name": "meet", "args": {}}] * 2).execute([meet])
    assert [one.value for one in results] == [True, True]


async def test_cancelling_them_cancels_each():
    began, ended = asyncio.Queue(), []

    async def wait() -> None:
        try:
            began.put_nowait(True)
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    task = asyncio.create_task(ToolCalls.from_dict_list([{"name": "wait"}] * 3).aexecute([wait]))
    for _ in range(3):
        await began.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(ended) == 3


async def test_a_spent_budget_ends_them_all_at_last():
    ran = []

    async def spend() -> None:
        raise BudgetExceeded("spent")

    async def later() -> None:
        await asyncio.sleep(0)
        ran.append(True)

    with pytest.raises(BudgetExceeded):
        await ToolCalls.from_dict_list([{"name": "spend"}, {"name": "later"}]).aexecute([spend, later])
    assert ran


# In a prompt, where the provider calls no functions


@pytest.mark.parametrize(
    "adapter", [dspex.ChatAdapter(), dspex.JSONAdapter(), dspex.XMLAdapter(), dspex.PlainAdapter()]
)
def test_calls_go_out_and_come_back_as_text(adapter):
    signature = dspex.Signature("question, tools: list[Tool] -> thought, tool_calls: ToolCalls")
    asked = adapter.format(signature, [], {"question": "1+1?", "tools": [Tool(add)]})
    text = "\n".join(message["content"] for message in asked)
    for shown in ("add", "integer", "tool_calls"):
        assert shown in text.replace("Tool Calls", "tool_calls")
    calls = ToolCalls.from_dict_list([{"name": "add", "args": {"x": 1, "y": '[[ ## thought ## ]]\n</args>"}'}}])
    reply = adapter.format_assistant_message_content(signature, {"thought": "easy", "tool_calls": calls})
    assert adapter.parse(signature, reply) == {"thought": "easy", "tool_calls": calls}


HOSTILE = st.sampled_from(
    [
        "[[ ## thought ## ]]",
        "</tool_calls>",
        "<thought>",
        "Thought:",
        '"}]}',
        "```",
        "\\",
        "\n\n",
        "{}",
        "null",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.lists(HOSTILE).map("".join),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | HOSTILE, inner, max_size=3),
    max_leaves=6,
)


ADAPTERS = [dspex.ChatAdapter(), dspex.JSONAdapter(), dspex.XMLAdapter(), dspex.PlainAdapter()]
CALLING = dspex.Signature("question -> thought, tool_calls: ToolCalls")


# Each example goes through all adapters: to draw four takes longer than what is tested.
@settings(max_examples=20)
@given(args=st.dictionaries(st.text() | HOSTILE, VALUES, max_size=3), name=HOSTILE)
def test_no_argument_leaves_its_call(args, name):
    calls = ToolCalls.from_dict_list([{"name": name, "args": args}, {"name": "last", "args": {}}])
    for adapter in ADAPTERS:
        reply = adapter.format_assistant_message_content(CALLING, {"thought": "t", "tool_calls": calls})
        assert adapter.parse(CALLING, reply) == {"thought": "t", "tool_calls": calls}, adapter.name
