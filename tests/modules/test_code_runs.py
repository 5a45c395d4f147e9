"""Runs of CodeAct and RLM in a folder: one that was stopped or killed goes on; nobody is asked or called a second time."""

import json
import signal
from pathlib import Path

import pytest

import dspex

BUSY = dspex.RateLimited("busy")
ANSWER = {"reasoning": "r", "answer": "4"}

pytestmark = pytest.mark.usefixtures("sandbox")


class Shop:
    """Tools that remember their calls."""

    def __init__(self):
        self.calls = []

    def price(self, item: str) -> float:
        """What an item costs."""
        self.calls.append(item)
        if item == "nothing":
            raise ValueError("there is no nothing")
        return {"pen": 1.5, "ink": 4.0}[item]

    def act(self, **options):
        return dspex.CodeAct("question -> answer", [self.price], **options)

    def read(self, **options):
        return dspex.RLM("text, question -> answer: int", tools=[self.price], **options)


def code(text, finished=False):
    return {"generated_code": text, "finished": finished}


def piece(text):
    return {"reasoning": "r", "code": text}


def asked(run, script, program, folder, **inputs):
    with dspex.context(lm=script.lm):
        return run(program, **{"question": "?", "run_dir": folder, **inputs})


def test_what_was_defined_before_is_there_and_no_tool_is_called_again(run, provider, tmp_path):
    shop = Shop()
    script = provider(code("costs = [price('pen'), price('ink')]"), code("total = sum(costs)\ntotal"), BUSY)
    with pytest.raises(dspex.RateLimited):
        asked(run, script, shop.act(), tmp_path / "run")
    script = provider(code("print(total * 2, price('pen'))", finished=True), ANSWER)
    found = asked(run, script, shop.act(), tmp_path / "run")
    assert found.answer == "4"
    assert [found.trajectory[f"code_output_{place}"] for place in (1, 2)] == ["5.5", "11.0 1.5"]
    assert shop.calls == ["pen", "ink", "pen"]
    assert len(script.asked) == 2


def test_a_run_that_has_ended_asks_runs_and_calls_nothing(run, provider, tmp_path, sandbox):
    shop = Shop()
    script = provider(code("price('pen')", finished=True), ANSWER)
    first = asked(run, script, shop.act(), tmp_path / "run")
    with dspex.context(sandbox=Refuses()):
        again = asked(run, provider(), shop.act(), tmp_path / "run")
    assert again.toDict() == first.toDict()
    assert shop.calls == ["pen"]


class Refuses:
    """A sandbox that cannot begin a session."""

    async def run(self, code, *, files=None, tools=None, limits=None):
        raise dspex.SandboxError("not now")

    def session(self, *, files=None, tools=None, limits=None):
        raise dspex.SandboxError("not now")


def test_failures_come_again_as_they_were(run, provider, tmp_path):
    shop = Shop()
    said = [
        code("before = 1\nprice('nothing')"),
        code("1 / 0"),
        code("```python\n```"),
        code("try:\n    price('nothing')\nexcept Exception as error:\n    said = str(error)"),
        BUSY,
    ]
    with pytest.raises(dspex.RateLimited):
        asked(run, provider(*said), shop.act(max_iters=9), tmp_path / "run")
    found = asked(
        run, provider(code("print(before, said)", finished=True), ANSWER), shop.act(max_iters=9), tmp_path / "run"
    )
    assert "there is no nothing" in found.trajectory["observation_0"]
    assert "ZeroDivisionError" in found.trajectory["observation_1"]
    assert "cannot be read" in found.trajectory["observation_2"]
    assert found.trajectory["code_output_4"].startswith("1 Tool 'price' failed")
    assert shop.calls == ["nothing", "nothing"]


def test_code_that_does_something_else_the_second_time_calls_no_tool(run, provider, tmp_path):
    shop = Shop()
    said = code(
        "import os, pathlib\nmark = pathlib.Path(PLACE)\nprice('ink' if mark.exists() else 'pen')\nmark.touch()"
    )
    said["generated_code"] = said["generated_code"].replace("PLACE", repr(str(tmp_path / "mark")))
    with pytest.raises(dspex.RateLimited):
        asked(run, provider(said, BUSY), shop.act(), tmp_path / "run")
    found = asked(run, provider(code("print(1)", finished=True), ANSWER), shop.act(), tmp_path / "run")
    assert found.answer == "4"
    assert shop.calls == ["pen"]


@pytest.mark.parametrize("other", ["inputs", "tools", "limits"])
def test_a_folder_of_another_run_is_refused(run, provider, tmp_path, other):
    shop = Shop()
    asked(run, provider(code("1", finished=True), ANSWER), shop.act(), tmp_path / "run")
    program = {
        "tools": lambda: dspex.CodeAct("question -> answer", []),
        "limits": lambda: shop.act(limits=dspex.SandboxLimits(seconds=1)),
        "inputs": shop.act,
    }[other]()
    with pytest.raises(dspex.JournalError, match="is of another run"):
        asked(run, provider(), program, tmp_path / "run", **({"question": "else?"} if other == "inputs" else {}))


def test_a_reader_goes_on_with_its_queries_answered_and_counted(run, provider, tmp_path):
    shop = Shop()
    first = [
        piece(
            "failed = llm_query_batched(['z'])\nfound = llm_query('a part')\nmore = llm_query_batched(['b', 'b'])\nprice('pen')"
        ),
        BUSY,
        "of a",
        "of b",
        "of b again",
        BUSY,
    ]
    with pytest.raises(dspex.RateLimited):
        asked(run, provider(*first), shop.read(max_llm_calls=5), tmp_path / "run", text="long")
    said = piece("print(failed, found, more, text)\nllm_query('c')\nllm_query('one too many')")
    script = provider(said, "of c", piece("SUBMIT(len(more) * 2)"))
    found = asked(run, script, shop.read(max_llm_calls=5), tmp_path / "run", text="long")
    assert found.answer == 4
    assert "At most 5 calls of models" in found.trajectory[1]["output"]
    assert found.trajectory[1]["output"].startswith("['[ERROR]")
    assert len(script.asked) == 3
    assert shop.calls == ["pen"]
    again = asked(run, provider(), shop.read(max_llm_calls=5), tmp_path / "run", text="long")
    assert again.toDict() == found.toDict()


def test_what_a_reader_says_at_the_end_is_kept(run, provider, tmp_path):
    program = Shop().read(max_iters=1)
    first = asked(run, provider(piece("len(text)"), {"answer": "4"}), program, tmp_path / "run", text="long")
    again = asked(run, provider(), Shop().read(max_iters=1), tmp_path / "run", text="long")
    assert again.toDict() == first.toDict()
    assert again.answer == 4


KILLED = """
import asyncio, contextlib, json, os, pathlib, signal, sys
sys.path.insert(0, sys.argv[3])
import dspex
from dspex.testing import DummyLM
from in_process import InProcess

folder, dies = pathlib.Path(sys.argv[1]), sys.argv[2]

def done(what):
    with open(folder / "done", "a") as file:
        file.write(what + "\\n")
    if what == dies:
        os.kill(os.getpid(), signal.SIGKILL)

def look(place: str) -> str:
    "Looks."
    done(f"look {place}")
    return place

def pay(amount: int) -> str:
    "Pays."
    done(f"pay {amount}")
    return "paid"

pieces = ["first = look('a')", "try:\\n    paid = pay(1)\\nexcept Exception as error:\\n    paid = str(error)", "print(first, paid, look('b'))"]
if sys.argv[4] == "CodeAct":
    steps = [{"generated_code": one, "finished": one == pieces[-1]} for one in pieces] + [{"reasoning": "r", "answer": "4"}]
    make = dspex.CodeAct
else:
    steps = [{"reasoning": "r", "code": one} for one in [*pieces, "SUBMIT('4')"]]
    make = dspex.RLM
asked = folder / "asked"
before = int(asked.read_text()) if asked.exists() else 0
lm = DummyLM(steps[before:])
complete = lm._provider.complete

async def counted(request):
    asked.write_text(str(int(asked.read_text()) + 1 if asked.exists() else 1))
    return await complete(request)

lm._provider.complete = counted
program = make("question -> answer", tools=[look, dspex.Tool(pay, idempotent=False)], sandbox=InProcess())
with dspex.context(lm=lm):
    found = program(question="?", run_dir=folder / "run")
trajectory = found.trajectory
print(json.dumps([found.answer, trajectory["code_output_2"] if isinstance(trajectory, dict) else trajectory[2]["output"]]))
"""


@pytest.mark.parametrize("made", ["CodeAct", "RLM"])
@pytest.mark.parametrize("dies", ["look a", "pay 1", "look b"])
def test_a_killed_run_goes_on_and_pays_nothing_twice(warm, tmp_path, dies, made):
    def life(dies):
        return warm.run("-c", KILLED, tmp_path, dies, Path(__file__).parent, made, cwd=tmp_path)

    assert life(dies).returncode == -signal.SIGKILL
    second = life("nothing")
    assert second.returncode == 0, second.stderr
    answer, output = json.loads(second.stdout)
    assert answer == "4"
    done = (tmp_path / "done").read_text().splitlines()
    # Where it was cut off, a tool that may be run again is run again.
    again = {"look a": ["look a", "look a", "pay 1", "look b"], "look b": ["look a", "pay 1", "look b", "look b"]}
    assert done == again.get(dies, ["look a", "pay 1", "look b"])
    assert ("may or may not have had its effect" in output) is (dies == "pay 1")
    assert (tmp_path / "asked").read_text() == "4"
