"""Tool.from_mcp_tool with sessions as either version of the package `mcp` has them; the real ones are dspex-mcp's tests."""

import asyncio
import threading
from types import SimpleNamespace as Thing

import pytest

import dspex
from dspex.testing import DummyLM

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "title": "City"},
        "days": {"type": "integer", "default": 1},
        "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
        "unit": {"enum": ["C", "F"], "type": "string", "default": "C"},
    },
    "required": ["city"],
    "$defs": {"Place": {"type": "object", "properties": {"name": {"type": "string"}}}},
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PICTURE = Thing(type="image", data=PIXEL, mimeType="image/png")


def text(words):
    return Thing(type="text", text=words)


class Session:
    """Answers each call with the same result."""

    def __init__(self, *content, **more):
        self.result = Thing(content=list(content), **{"isError": False, "structuredContent": None, **more})
        self.calls = []

    async def call_tool(self, name, arguments):
        self.calls.append((name, arguments))
        await asyncio.sleep(0)
        return self.result


def tool(session, schema=SCHEMA, annotations=None, **options):
    named = Thing(name="forecast", description="The weather.", inputSchema=schema, annotations=annotations)
    return dspex.Tool.from_mcp_tool(session, named, **options)


async def test_a_schema_becomes_arguments_that_are_checked():
    session = Session(text("sunny"))
    made = tool(session)
    assert made.args["places"]["items"] == {"type": "object", "properties": {"name": {"type": "string"}}}
    assert made.definition["parameters"]["required"] == ["city"]
    assert await made.acall(city="Rome", days="2", places=[{"name": "x"}]) == "sunny"
    assert session.calls == [("forecast", {"city": "Rome", "days": 2, "places": [{"name": "x"}]})]
    with pytest.raises(dspex.ToolInputError, match=r"'town' is unknown.*'days' should be int.*'unit' should be"):
        await made.acall(city="Rome", town="x", days="many", unit="K")
    assert len(session.calls) == 1


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        ({}, {"anything": 1}),
        ({**SCHEMA, "additionalProperties": True}, {"city": "x", "more": 1}),
        ({"properties": {"a-b": {}}}, {"a-b": 1}),
    ],
    ids=["no schema", "open", "a name that is no word"],
)
async def test_a_schema_may_be_open(schema, given):
    session = Session(text("x"))
    await tool(session, schema).acall(**given)
    assert session.calls == [("forecast", given)]


@pytest.mark.parametrize(
    ("session", "mode", "value"),
    [
        (Session(text("one")), "text", "one"),
        (Session(text("one"), text("two")), "text", ["one", "two"]),
        (Session(), "text", ""),
        (Session(structuredContent={"x": 1}), "text", {"x": 1}),
        (Session(text('{"x": 1}'), structuredContent={"x": 1}), "text", '{"x": 1}'),
        (Session(text('{"x": 1}'), structuredContent={"x": 1}), "structured", {"x": 1}),
        (Session(text("no data")), "structured", "no data"),
        (Session(PICTURE), "text", dspex.Image(f"data:image/png;base64,{PIXEL}")),
        (Session(Thing(type="audio", data="AAAA", mimeType="audio/wav")), "text", dspex.Audio("AAAA", "wav")),
        (Session(Thing(type="resource", resource=Thing(text="a page"))), "text", "a page"),
        (
            Session(Thing(type="resource", resource=Thing(blob="AAAA", mimeType="application/pdf"))),
            "text",
            dspex.File("data:application/pdf;base64,AAAA"),
        ),
        (
            Session(Thing(type="resource_link", name="log", description=None, uri="file:///log")),
            "text",
            "log (file:///log)",
        ),
    ],
    ids=[
        "text",
        "texts",
        "nothing",
        "only data",
        "both",
        "data",
        "no data",
        "picture",
        "sound",
        "page",
        "file",
        "link",
    ],
)
async def test_a_result_is_what_the_server_gave(session, mode, value):
    assert await tool(session, result_mode=mode).acall(city="x") == value


async def test_a_failure_is_a_tool_error_in_the_servers_words():
    with pytest.raises(dspex.ToolError, match=r"^Tool 'forecast' failed: no such city$"):
        await tool(Session(text("no such city"), isError=True)).acall(city="x")
    with pytest.raises(dspex.ToolError, match="does not say why"):
        await tool(Session(isError=True)).acall(city="x")


@pytest.mark.parametrize(
    ("hints", "wanted", "is_idempotent"),
    [
        (None, None, False),
        (Thing(readOnlyHint=True, idempotentHint=None), None, True),
        (Thing(readOnlyHint=False, idempotentHint=True), None, True),
        (Thing(readOnlyHint=None, idempotentHint=None), None, False),
        (None, True, True),
        (Thing(readOnlyHint=True, idempotentHint=None), False, False),
    ],
)
def test_it_may_be_run_twice_where_the_server_or_the_user_says_so(hints, wanted, is_idempotent):
    assert tool(Session(), annotations=hints, idempotent=wanted).idempotent is is_idempotent


def test_what_is_no_session_or_mode_is_refused():
    with pytest.raises(dspex.ConfigurationError, match="has no call_tool"):
        tool(object())
    with pytest.raises(dspex.ConfigurationError, match="'text' or 'structured'"):
        tool(Session(), result_mode="json")


async def test_a_sync_call_runs_on_the_loop_of_the_session():
    session, threads = Session(text("x")), []

    async def call_tool(name, arguments):
        threads.append(threading.current_thread())
        return session.result

    made = tool(Thing(call_tool=call_tool))
    assert await asyncio.to_thread(made, city="x") == "x"
    assert threads == [threading.current_thread()]


async def test_a_sync_call_that_blocks_that_loop_is_an_error_and_no_deadlock(monkeypatch):
    monkeypatch.setattr("dspex.program.types.mcp_tool.LOOP_GRACE_S", 0.1)
    made = tool(Session(text("x")))
    with pytest.raises(dspex.ToolError, match="closed or blocked"):
        made(city="x")


def test_a_session_whose_loop_has_ended_is_an_error():
    async def make():
        return tool(Session(text("x")))

    made = asyncio.run(make())
    with pytest.raises(dspex.ToolError, match="closed or blocked"):
        made(city="x")


# Pictures in an agent


def steps(answer="seen"):
    call = {"next_thought": "t", "next_tool_name": "forecast", "next_tool_args": {"city": "x"}}
    return [call, {**call, "next_tool_name": "finish", "next_tool_args": {}}, {"reasoning": "r", "answer": answer}]


@pytest.mark.parametrize("sees", [True, False, None])
@pytest.mark.parametrize("natively", [True, False])
async def test_a_picture_of_a_tool_is_shown_to_a_model_that_sees(sees, natively):
    from dspex.core.messages import Choice, Image, LMResponse, ToolCall

    asked, form = [], dspex.ChatAdapter().format_fields
    script = [
        LMResponse((Choice("", (ToolCall("1", "forecast", '{"city": "x"}'),), "tool_calls"),))
        if natively
        else form(steps()[0]),
        LMResponse((Choice("", (ToolCall("2", "finish", "{}"),), "tool_calls"),)) if natively else form(steps()[1]),
        form(steps()[2]),
    ]

    class Provider:
        capabilities = dspex.Capabilities(chat=True, images=sees, tools=natively)

        async def complete(self, request):
            asked.append(request)
            reply = script.pop(0)
            return LMResponse.from_text(reply) if isinstance(reply, str) else reply

    agent = dspex.ReAct("question -> answer", [tool(Session(text("The sky:"), PICTURE))])
    with dspex.context(lm=dspex.LM("my/model", provider=Provider(), cache=False), trace=(traced := [])):
        found = await agent.acall(question="What is to be seen?")
    assert found.answer == "seen"
    assert len(traced) == 3
    assert all(isinstance(inputs["trajectory"], str) for _, inputs, _ in traced)  # a demo is of texts
    for request in asked[1:]:  # the next step, and the answer
        shown = [part for message in request.messages for part in message.parts if isinstance(part, Image)]
        assert len(shown) == (1 if sees else 0)
    assert not any(PIXEL in message.text for request in asked for message in request.messages)
    assert found.trajectory["observation_0"][1] == dspex.Image(f"data:image/png;base64,{PIXEL}")


def test_a_picture_is_one_again_in_a_run_that_goes_on(tmp_path):
    agent = dspex.ReAct("question -> answer", [tool(Session(text("The sky:"), PICTURE))])
    with dspex.context(lm=DummyLM(steps())):
        first = agent(question="?", run_dir=tmp_path / "run")
    with dspex.context(lm=DummyLM([])):
        again = agent(question="?", run_dir=tmp_path / "run")
    assert again.trajectory == first.trajectory


async def test_a_text_that_is_cut_keeps_its_picture():
    first, image = await tool(Session(text("x" * 100), PICTURE), max_output_chars=10).acall(city="x")
    assert first.startswith("x" * 10 + " ... (")
    assert isinstance(image, dspex.Image)
