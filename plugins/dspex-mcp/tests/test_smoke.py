"""It installs, is found, and a real server's tool answers."""

import subprocess
import sys

from dspex_mcp import connect


def test_a_tool_of_a_server_answers(real_command, tool):
    with connect(real_command()) as connection:
        assert tool(connection, "forecast")(city="Rome") == "Rome: sunny for 1 days, 20 C"


def test_declaring_it_imports_nothing_heavy():
    code = "import dspex_mcp, sys; assert not {'mcp', 'pydantic', 'aiohttp', 'click', 'uvicorn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_is_there(command):
    shown = subprocess.run(
        [sys.executable, "-m", "dspex", "mcp", "tools", "--", *command()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "forecast(city, days, unit): The weather of the next days." in shown.stdout
