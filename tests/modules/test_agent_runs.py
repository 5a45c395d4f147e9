"""An agent's run in a folder: one that was stopped or killed goes on, and does nothing a second time."""

import json
import re
import shutil
import signal
from contextlib import closing

import msgspec
import pytest

import dspex
from dspex.core.messages import Thought, ToolCall
from dspex.plugin import Choice
from dspex.runtime.journal import Journal
from dspex.runtime.records import Step

ANSWER = {"reasoning": "r", "answer": 4}
FINISH = {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}}
BUSY = dspex.RateLimited("busy")
OF_THOUGHTS = re.compile(rb',"thoughts":\[.*?\]')


class Pages:
    """Tools that remember their calls."""

    def __init__(self):
        self.calls = []

    def search(self, query: str) -> dict[str, str]:
        """Finds pages."""
        self.calls.append(query)
        return {"page": query}

    def agent(self, **options):
        return dspex.ReAct("question -> answer: int", tools=[self.search], **options)


def asked(run, script, program, folder, **inputs):
    with dspex.context(lm=script.lm):
        return run(program, **{"question": "?", "run_dir": folder, **inputs})


def test_what_was_done_is_not_done_again(run, provider, step, tmp_path):
    pages = Pages()
    script = provider(step("a", "search", query="a"), step("b", "search", query="b"), BUSY)
    with pytest.raises(dspex.RateLimited):
        asked(run, script, pages.agent(), tmp_path / "run")
    script = provider(FINISH, ANSWER)
    found = asked(run, script, pages.agent(), tmp_path / "run")
    assert found.answer == 4
    assert pages.calls == ["a", "b"]
    assert [found.trajectory[f"observation_{place}"] for place in range(2)] == [{"page": "a"}, {"page": "b"}]
    assert len(script.asked) == 2
    assert 'result: {"page":"b"}' in script.asked[0].messages[-1].text


@pytest.mark.parametrize("kept", [float("nan"), {"most": float("inf")}, [1.0, float("-inf")]], ids=str)
def test_a_tool_may_hold_numbers_that_json_has_no_form_for(run, provider, step, tmp_path, kept):
    def agent(held):
        def search(query: str) -> str:
            """Finds pages."""
            return f"{query} {held}"

        return dspex.ReAct("question -> answer: int", tools=[search])

    script = provider(step("a", "search", query="a"), BUSY)
    with pytest.raises(dspex.RateLimited):
        asked(run, script, agent(kept), tmp_path / "run")
    with pytest.raises(dspex.JournalError, match="of another run"):
        asked(run, provider(FINISH, ANSWER), agent(1.0), tmp_path / "run")
    assert asked(run, provider(FINISH, ANSWER), agent(kept), tmp_path / "run").answer == 4


class Wordless:
    def __repr__(self):
        raise LookupError("no words")


class Odd(Pages):
    """Tools that give what has no form of its own on disk."""

    def half(self) -> str:
        self.calls.append("half")
        return "file \udcff.txt"

    def wordless(self) -> object:
        self.calls.append("wordless")
        return Wordless()

    def endless(self) -> list[object]:
        self.calls.append("endless")
        made: list[object] = []
        made.append(made)
        return made


@pytest.mark.parametrize(
    ("name", "seen"),
    [("half", "file ?.txt"), ("wordless", "(a Wordless without a text: LookupError)"), ("endless", "[[...]]")],
)
@pytest.mark.parametrize("native", [True, False], ids=["natively", "in text"])
def test_whatever_a_tool_gives_the_run_goes_on(run, provider, step, tmp_path, name, seen, native):
    odd = Odd()
    agent = dspex.ReAct("question -> answer: int", tools=[getattr(odd, name)], native=native)
    call = Choice("", tool_calls=(ToolCall("1", name, "{}"),)) if native else step("a", name)
    end = Choice("", tool_calls=(ToolCall("2", "finish", "{}"),)) if native else FINISH
    with pytest.raises(dspex.RateLimited):
        asked(run, provider(call, BUSY), agent, tmp_path / "run")
    script = provider(end, ANSWER)
    found = asked(run, script, agent, tmp_path / "run")
    assert found.trajectory["observation_0"] == seen
    assert seen in str(script.asked[0].messages)
    assert odd.calls == [name]


@pytest.mark.parametrize("name", ["half", "wordless", "endless"])
def test_the_model_reads_it_as_text_that_can_be_sent(run, provider, step, name):
    script = provider(step("a", name), FINISH, ANSWER)
    agent = dspex.ReAct("question -> answer: int", tools=[getattr(Odd(), name)])
    with dspex.context(lm=script.lm):
        run(agent, question="?")
    assert all(message.text.encode() for request in script.asked for message in request.messages)


def test_a_run_that_has_ended_is_read_back_typed(run, provider, step, tmp_path):
    pages = Pages()
    first = asked(run, provider(step("a", "search", query="a"), FINISH, ANSWER), pages.agent(), tmp_path / "run")
    script = provider()
    again = asked(run, script, pages.agent(), tmp_path / "run")
    assert again.toDict() == first.toDict()
    assert again.answer == 4
    assert not script.asked


def test_a_run_without_a_folder_keeps_nothing(run, provider, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked(run, provider(FINISH, ANSWER), Pages().agent(), None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", ["inputs", "tools", "instructions"])
def test_a_folder_of_another_run_is_refused(run, provider, tmp_path, other):
    asked(run, provider(FINISH, ANSWER), Pages().agent(), tmp_path / "run")
    program = Pages().agent()
    if other == "tools":
        program = dspex.ReAct("question -> answer: int", tools=[dspex.Tool(lambda query: query, name="search")])
    if other == "instructions":
        program.react.signature = program.react.signature.with_instructions("Else.")
    inputs = {"question": "another?"} if other == "inputs" else {}
    with pytest.raises(dspex.JournalError, match="is of another run"):
        asked(run, provider(), program, tmp_path / "run", **inputs)
    assert asked(run, provider(), Pages().agent(), tmp_path / "run").answer == 4


def test_unreadable_replies_and_refused_calls_come_again_as_they_were(run, provider, step, tmp_path):
    pages = Pages()
    bad = step("t", "serch")
    said = [bad, bad, step("a", "search", query="a"), step("a", "search", query="a")]
    with pytest.raises(dspex.RateLimited):
        asked(run, provider(*said, BUSY), pages.agent(max_repeats=1), tmp_path / "run")
    found = asked(run, provider(FINISH, ANSWER), pages.agent(max_repeats=1), tmp_path / "run")
    assert "could not be read" in found.trajectory["observation_0"]
    assert "This very call" in found.trajectory["observation_2"]
    assert pages.calls == ["a"]


def test_a_summary_is_paid_for_once(run, provider, step, tmp_path):
    def program():
        return dspex.ReAct("question -> answer: int", tools=[fetch], max_trajectory=1_400)

    def fetch(page: int) -> str:
        """Reads a page."""
        return "x" * 300

    steps = [step("t", "fetch", page=page) for page in range(4)]
    with pytest.raises(dspex.RateLimited):
        asked(run, provider(*steps, {"summary": "Dull."}, BUSY), program(), tmp_path / "run")
    script = provider(FINISH, ANSWER)
    asked(run, script, program(), tmp_path / "run")
    assert "Dull.\nStep 4" in script.asked[0].messages[-1].text


def test_native_calls_are_turns_again(run, provider, tmp_path):
    pages = Pages()
    calls = Choice("", tuple(ToolCall(one, "search", f'{{"query": "{one}"}}') for one in "ab"), "tool_calls")
    with pytest.raises(dspex.RateLimited):
        asked(run, provider(calls, BUSY, tools=True), pages.agent(), tmp_path / "run")
    script = provider(Choice("", (ToolCall("f", "finish", "{}"),), "tool_calls"), ANSWER, tools=True)
    assert asked(run, script, pages.agent(), tmp_path / "run").answer == 4
    shown = [part for message in script.asked[0].messages for part in message.parts if isinstance(part, ToolCall)]
    assert [call.id for call in shown] == ["a", "b"]
    assert sorted(pages.calls) == ["a", "b"]


@pytest.mark.parametrize("is_old", [False, True], ids=["with its thoughts", "of a time without"])
def test_a_native_run_goes_on_with_what_the_model_thought(run, provider, tmp_path, is_old):
    pages = Pages()
    thought = Thought("sealed", "my/model")
    calls = Choice("", (ToolCall("a", "search", '{"query": "a"}'),), "tool_calls", thoughts=(thought,))
    with pytest.raises(dspex.RateLimited):
        asked(run, provider(calls, BUSY, tools=True), pages.agent(), tmp_path / "run")
    if is_old:
        without_thoughts(tmp_path / "run")
    script = provider(Choice("", (ToolCall("f", "finish", "{}"),), "tool_calls"), ANSWER, tools=True)
    assert asked(run, script, pages.agent(), tmp_path / "run").answer == 4
    kept = [part for message in script.asked[0].messages for part in message.parts if isinstance(part, Thought)]
    assert kept == ([] if is_old else [thought])
    assert pages.calls == ["a"]


def without_thoughts(folder):
    """The journal as it was written before turns had thoughts."""
    journal = Journal(folder)
    records = [
        msgspec.structs.replace(record, value=msgspec.Raw(OF_THOUGHTS.sub(b"", bytes(record.value))))
        if isinstance(record, Step)
        else record
        for record in journal.records
    ]
    journal.close()
    shutil.rmtree(folder)
    with closing(Journal(folder)) as anew:
        for record in records:
            anew.append(record)
    assert b"thoughts" not in b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


KILLED = """
import os, pathlib, signal, sys
import dspex
from dspex.testing import DummyLM

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

def step(tool, **args):
    return {"next_thought": "t", "next_tool_name": tool, "next_tool_args": args}

steps = [step("look", place="a"), step("pay", amount=1), step("look", place="b"), step("finish"), {"reasoning": "r", "answer": "4"}]
asked = folder / "asked"
before = int(asked.read_text()) if asked.exists() else 0
lm = DummyLM(steps[before:])
complete = lm._provider.complete

async def counted(request):
    asked.write_text(str(int(asked.read_text()) + 1 if asked.exists() else 1))
    return await complete(request)

lm._provider.complete = counted
agent = dspex.ReAct("question -> answer", tools=[look, dspex.Tool(pay, idempotent=False)])
with dspex.context(lm=lm):
    found = agent(question="?", run_dir=folder / "run")
import json
print(json.dumps([found.answer, [found.trajectory[f"observation_{n}"] for n in range(4)]]))
"""


@pytest.mark.parametrize("dies", ["pay 1", "look b"])
def test_a_killed_agent_goes_on_and_pays_nothing_twice(warm, tmp_path, dies):
    def life(dies):
        return warm.run("-c", KILLED, tmp_path, dies, cwd=tmp_path)

    assert life(dies).returncode == -signal.SIGKILL
    second = life("nothing")
    assert second.returncode == 0, second.stderr
    answer, observations = json.loads(second.stdout)
    assert answer == "4"
    done = (tmp_path / "done").read_text().splitlines()
    # Where it was cut off, a tool that may be run again is run again.
    assert done == ["look a", "pay 1", "look b", *(["look b"] if dies == "look b" else [])]
    assert ("may or may not have had its effect" in observations[1]) is (dies == "pay 1")
    assert (tmp_path / "asked").read_text() == "5"
