"""Examples on the embedded model, whose replies are played from cassettes; server, tools and sandbox are real.

To ask the model again (dspex-llamacpp), delete a cassette and run this with CASSETTES=auto.
"""

import importlib.util
import os
from pathlib import Path

import pytest

import dspex

HERE = Path(__file__).parent
MODE = os.environ.get("CASSETTES", "replay")


@pytest.fixture
def example(request):
    """One example's module, and its model on a cassette."""
    name = request.param
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with dspex.cassette(HERE / "cassettes" / f"{name}.jsonl", mode=MODE):
        yield module


@pytest.mark.parametrize("example", ["mcp_agent"], indirect=True)
def test_an_agent_uses_the_tools_of_a_server_that_runs(example):
    copies, author = example.main(dspex.LM("llamacpp/gemma-3-270m", max_tokens=60, cache=False), example.QUESTIONS)
    assert copies.answer == "3"
    assert copies.trajectory["tool_name_0"] == "copies"
    assert copies.trajectory["observation_0"] == "3 copies"
    assert author.answer == "Joyce"
    assert author.termination_reason == "finish"


@pytest.mark.parametrize("example", ["code_sandbox"], indirect=True)
def test_a_program_of_the_models_is_run_in_the_sandbox(example):
    answers = example.main(dspex.LM("llamacpp/gemma-3-270m", max_tokens=90, cache=False), example.QUESTIONS)
    assert answers == [48 * 37, 12 * 24 * 60]
