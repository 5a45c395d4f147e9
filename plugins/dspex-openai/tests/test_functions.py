"""Tools of a program as functions on the wire, from Predict to the socket and back."""

import pytest

import dspex


def add(x: int, y: int) -> int:
    """Adds."""
    return x + y


ASKS = dspex.Signature(
    "question, history: dspex.History, tools: list[dspex.Tool] -> thought, tool_calls: dspex.ToolCalls"
)


@pytest.fixture
def predict(server, lm):
    """One prediction by way of the scripted server, which calls the tool twice."""

    async def predict(adapter, turns=(), **message):
        calls = [
            {"id": f"c{x}", "type": "function", "function": {"name": "add", "arguments": f'{{"x": {x}, "y": 1}}'}}
            for x in (1, 2)
        ]
        answer = {"role": "assistant", "content": None, "tool_calls": calls, **message}
        server.then(200, json={"choices": [{"message": answer, "finish_reason": "tool_calls"}]})
        with dspex.context(lm=lm(), adapter=adapter):
            return await dspex.Predict(ASKS).acall(
                question="1+1, 2+1?", history=dspex.History(turns), tools=[dspex.Tool(add)]
            )

    return predict


async def test_tools_go_out_as_functions_and_come_back_as_calls(server, predict):
    found = await predict(dspex.ChatAdapter(use_native_function_calling=True, parallel_tool_calls=True))
    assert [one.value for one in await found.tool_calls.aexecute([add])] == [2, 3]
    body = server.requests[0].json
    assert body["parallel_tool_calls"] is True
    parameters = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
        "required": ["x", "y"],
    }
    function = {"name": "add", "description": "Adds.", "parameters": parameters}
    assert body["tools"] == [{"type": "function", "function": function}]


async def test_the_turns_of_a_history_are_sent_with_their_calls_and_results(server, predict):
    adapter = dspex.ChatAdapter(use_native_function_calling=True)
    called = (await predict(adapter)).tool_calls
    turns = [{"question": "1+1, 2+1?", "tool_calls": called, "tool_call_results": await called.aexecute([add])}]
    await predict(adapter, turns)
    _, asked, said, *told, last = server.requests[1].json["messages"]
    assert [asked["role"], said["role"], last["role"]] == ["user", "assistant", "user"]
    assert said["content"] is None
    assert [call["id"] for call in said["tool_calls"]] == ["c1", "c2"]
    assert told == [
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {"role": "tool", "tool_call_id": "c2", "content": "3"},
    ]


async def test_a_server_that_is_not_known_to_call_functions_is_asked_in_text(server, predict):
    reply = '{"thought": "sum", "tool_calls": {"tool_calls": [{"name": "add", "args": {"x": 1, "y": 1}}]}}'
    found = await predict(dspex.JSONAdapter(), content=reply, tool_calls=None)
    assert found.tool_calls.execute([add]).tool_call_results[0].value == 2
    assert "tools" not in server.requests[0].json
