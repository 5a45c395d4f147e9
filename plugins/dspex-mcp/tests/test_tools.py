"""Tools of an MCP server: what a model sees of them, what a call gives, and what goes wrong."""

import asyncio

import pytest
from mcp import Client, StdioServerParameters

import dspex
from dspex.program.fingerprint import fingerprint
from dspex.testing import DummyLM

FINISH = {"next_thought": "Done.", "next_tool_name": "finish", "next_tool_args": {}}


def step(tool, **args):
    return {"next_thought": "Look.", "next_tool_name": tool, "next_tool_args": args}


async def test_a_tool_has_what_the_server_says_of_it(weather, tool):
    async with weather() as connection:
        forecast = tool(connection, "forecast")
        assert connection.instructions == "Ask for one city at a time."
    assert forecast.desc == "The weather of the next days."
    assert forecast.args["days"] == {"type": "integer", "default": 1}
    assert forecast.definition["parameters"]["required"] == ["city"]
    assert forecast.arg_types["city"] is str


async def test_arguments_are_converted_and_faults_are_found_before_the_server_is_asked(weather, tool):
    async with weather() as connection:
        forecast = tool(connection, "forecast")
        assert await forecast.acall(city="Rome", days="3") == "Rome: sunny for 3 days, 20 C"
        with pytest.raises(dspex.ToolInputError, match=r"'city' is missing; 'town' is unknown.*'unit' should be"):
            await forecast.acall(town="Rome", unit="K")


async def test_a_schema_of_objects_is_inlined_and_checked_by_the_server(weather, tool):
    async with weather() as connection:
        measured = tool(connection, "measured")
        assert measured.args["place"]["properties"]["country"]["default"] == "Italy"
        assert "clear over Rome, Italy" in await measured.acall(place={"city": "Rome"})
        with pytest.raises(dspex.ToolError, match="city"):
            await measured.acall(place={"town": "Rome"})


async def test_structured_content_comes_as_data_where_it_is_asked_for(weather, tool):
    async with weather(result_mode="structured") as connection:
        found = await tool(connection, "measured").acall(place={"city": "Rome"})
        assert found == {"degrees": 20.5, "sky": "clear over Rome, Italy"}
        first, image = await tool(connection, "picture").acall()  # there is none: as without it
    assert first == "The sky now:"
    assert isinstance(image, dspex.Image)


async def test_a_tool_that_fails_says_what_the_server_says(weather, tool):
    async with weather() as connection:
        with pytest.raises(
            dspex.ToolError, match=r"^Tool 'fails' failed: Error executing tool fails: there is no station in Oslo$"
        ):
            await tool(connection, "fails").acall(city="Oslo")


async def test_a_result_is_bounded(weather, tool):
    async with weather(max_output_chars=100) as connection:
        assert (await tool(connection, "long").acall()).endswith("(9900 more characters were cut)")


async def test_a_call_is_bounded_in_time_and_one_that_is_given_up_ends_there_too(weather, tool):
    async with weather(timeout_s=0.2) as connection:
        with pytest.raises(dspex.ToolError, match=r"did not end within 0\.2 s"):
            await tool(connection, "endless").acall()
        task = asyncio.create_task(connection.call_tool("endless"))
        await connection.call_tool("pid")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while (await connection.call_tool("ended")).content[0].text != "2":
            pass


async def test_many_calls_run_side_by_side(weather, tool):
    async with weather() as connection:
        stuck = asyncio.create_task(tool(connection, "endless").acall())
        found = await asyncio.gather(*(tool(connection, "forecast").acall(city=str(n)) for n in range(100)))
        stuck.cancel()
    assert [one.partition(":")[0] for one in found] == [str(n) for n in range(100)]


def test_sync_calls_work_from_any_thread(weather, tool):
    with weather() as connection:
        assert tool(connection, "forecast")(city="Rome").startswith("Rome")
        programs = dspex.Parallel(num_threads=4)(
            [(_Asks(tool(connection, "forecast")), {"city": str(n)}) for n in range(8)]
        )
    assert programs[7].startswith("7: sunny")


class _Asks(dspex.Module):
    def __init__(self, tool):
        self.tool = tool

    def forward(self, city):
        return self.tool(city=city)


async def test_names_are_prefixed_and_chosen(weather):
    async with weather(prefix="sky_", only=["forecast", "pid"]) as connection:
        assert sorted(tool.name for tool in connection.tools) == ["sky_forecast", "sky_pid"]
        assert (await connection.tools[0].acall(city="Rome")).startswith("Rome")
    with pytest.raises(dspex.ConfigurationError, match=r"has no tool 'tides'; it has: die, ended"):
        async with weather(only=["tides"]):
            pass


async def test_what_a_server_calls_harmless_may_be_run_again_and_nothing_else(weather, tool):
    async with weather() as connection:
        assert tool(connection, "forecast").idempotent
        assert not tool(connection, "die").idempotent
    async with weather(idempotent=True) as connection:
        assert tool(connection, "die").idempotent


def test_an_agent_uses_them_and_reads_their_errors(weather):
    script = [step("forecast", town="Rome"), step("fails", city="Oslo"), step("forecast", city="Rome"), FINISH]
    with weather() as connection, dspex.context(lm=DummyLM([*script, {"reasoning": "r", "answer": "sunny"}])):
        found = dspex.ReAct("question -> answer", connection.tools)(question="Rome?")
    assert found.answer == "sunny"
    assert "'city' is missing" in found.trajectory["observation_0"]
    assert found.trajectory["observation_1"].endswith("there is no station in Oslo")
    assert found.trajectory["observation_2"] == "Rome: sunny for 1 days, 20 C"


async def test_a_tool_is_the_same_to_a_journal_in_another_connection(weather, tool):
    async with weather() as one, weather() as other:
        assert fingerprint(tool(one, "forecast")) == fingerprint(tool(other, "forecast"))
        assert fingerprint(tool(one, "forecast")) != fingerprint(tool(one, "pid"))


async def test_a_session_of_the_package_itself_is_fine(command):
    words = command()
    async with Client(StdioServerParameters(command=words[0], args=words[1:])) as client:
        listed = (await client.list_tools()).tools
        tools = [dspex.Tool.from_mcp_tool(client.session, one) for one in listed]
        forecast = next(one for one in tools if one.name == "forecast")
        assert await forecast.acall(city="Rome", days=2) == "Rome: sunny for 2 days, 20 C"
        assert await asyncio.to_thread(forecast, city="Oslo") == "Oslo: sunny for 1 days, 20 C"
