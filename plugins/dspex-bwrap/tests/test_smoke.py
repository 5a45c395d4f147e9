"""The plugin as its users meet it, on every supported Python."""

import subprocess
import sys

import dspex
from dspex.testing import DummyLM

CODE = {"reasoning": "r", "generated_code": "import statistics\nSUBMIT({'answer': statistics.mean([40, 50])})"}
ANSWER = {"reasoning": "r", "answer": "45"}


def look(word: str) -> str:
    """Looks a word up."""
    return word * 2


async def test_it_is_found_by_name_and_runs_a_program():
    async with dspex.App(lm=DummyLM([CODE, ANSWER])):
        assert (await dspex.ProgramOfThought("question -> answer", sandbox="bwrap").acall(question="?")).answer == "45"


async def test_it_runs_pieces_of_code_with_tools():
    steps = [
        {"generated_code": "found = list(map(look, 'ab'))", "finished": False},
        {"generated_code": "print(found)", "finished": True},
        ANSWER,
    ]
    async with dspex.App(lm=DummyLM(steps)):
        found = await dspex.CodeAct("question -> answer", [look], sandbox="bwrap").acall(question="?")
    assert found.trajectory["code_output_1"] == "['aa', 'bb']"


async def test_it_reads_what_is_too_long_for_a_prompt():
    steps = [{"reasoning": "r", "code": "SUBMIT(int(text[text.find('key'):].split()[-1]))"}]
    async with dspex.App(lm=DummyLM(steps)):
        rlm = dspex.RLM("text -> number: int", sandbox="bwrap")
        assert (await rlm.acall(text="x " * 100_000 + "key 42")).number == 42


def test_importing_the_plugin_loads_nothing_heavy():
    program = (
        "import sys, dspex.plugin; before = set(sys.modules); import dspex_bwrap; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"asyncio", "subprocess"} & set(done.stdout.split())
