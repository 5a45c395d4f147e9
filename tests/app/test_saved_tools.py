"""Programs with functions in a file: tools and rewards by the place that they are imported from, where whoever loads allows it."""

import functools
import json
import sys
import textwrap

import pytest
from click.testing import CliRunner

import dspex
from dspex.cli.main import cli
from dspex.testing import DummyLM

TOOLS = '''
from typing import Literal

import dspex

print("imported")

def search(query: str, k: int = 3) -> str:
    """Finds pages."""
    return f"{k} pages on {query}"

async def look_up(word: str) -> str:
    """What a word means."""
    return f"{word} is a word"

@dspex.Tool
def as_tool(n: int) -> int:
    """Doubles."""
    return 2 * n

@dspex.module
async def asks(question: str, then=dspex.Predict("question -> answer")) -> str:
    """Asks."""
    return (await then.acall(question=question)).answer

class Box:
    @staticmethod
    def inside(x: int) -> int:
        return x

    @classmethod
    def of(cls, x: int) -> int:
        return x

    def method(self, x: int) -> int:
        return x

def reward(inputs, made):
    return 1.0

def shorten(text, most):
    return text[:most]

def yes(tool, args):
    return True
'''


@pytest.fixture
def tools(tmp_path, monkeypatch, capsys):
    """A user's module of tools in a package of its own; `forget` makes it as if it was never imported."""
    name = f"tools_{abs(hash(str(tmp_path)))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    file = tmp_path / name / "tools.py"
    file.write_text(TOOLS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = __import__(f"{name}.tools", fromlist=["tools"])
    capsys.readouterr()

    def forget(text=None):
        for one in [one for one in sys.modules if one.startswith(name)]:
            monkeypatch.delitem(sys.modules, one)
        if text is not None:
            file.write_text(textwrap.dedent(text))
        return name

    module.forget = forget
    return module


def react(*tools, **options):
    return dspex.ReAct("question -> answer: int", list(tools), **options)


MADE = {
    "ReAct": lambda t: react(t.search, t.look_up, max_iters=4, max_tool_calls={"search": 2}, native=False),
    "with a summary": lambda t: react(t.search, summarise=t.shorten, max_trajectory=999, max_repeats=None),
    "a tool with options": lambda t: react(
        dspex.Tool(t.search, "find", "Looks.", timeout_s=2.5, max_output_chars=99, confirm=t.yes, idempotent=False)
    ),
    "a tool with arguments of its own": lambda t: react(
        dspex.Tool(t.search, args={"query": {"type": "string", "description": "words"}}, required=["query"])
    ),
    "a tool with words for its arguments": lambda t: react(dspex.Tool(t.search, arg_desc={"query": "words"})),
    "what stands there as a tool": lambda t: react(t.as_tool),
    "functions of a class": lambda t: react(t.Box.inside, t.Box.of),
    "a program": lambda t: react(dspex.Tool(t.asks.acall, "asks", "Asks.")),
    "CodeAct": lambda t: dspex.CodeAct("question -> answer", [t.search], max_iters=2, summarise=t.shorten),
    "RLM": lambda t: dspex.RLM("text -> answer", tools=[t.search], sub_lm=dspex.LM("acme/small", temperature=0.5)),
    "BestOfN": lambda t: dspex.BestOfN(dspex.Predict("question -> answer"), 3, t.reward, 0.5, 1),
    "Refine of an agent": lambda t: dspex.Refine(react(t.search), 2, t.reward, None),
    "BestOfN by a program": lambda t: dspex.BestOfN(dspex.ChainOfThought("q -> a"), 3, t.asks, None),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_program_with_functions_is_made_of_its_file_where_their_module_is_allowed(tools, tmp_path, make):
    program = make(tools)
    for number, predictor in enumerate(program.predictors()):
        predictor.signature = predictor.signature.with_instructions(f"Task {number}.")
    program.save(tmp_path / "p.json", whole=True)
    traits = repr(program._traits())
    name = tools.forget()
    loaded = dspex.load(tmp_path / "p.json", allow=[name])
    assert type(loaded) is type(program)
    assert loaded.dump_state() == program.dump_state()
    assert repr(loaded) == repr(program)
    if "0x" not in traits:
        assert repr(loaded._traits()) == traits
    loaded.save(tmp_path / "q.json", whole=True)
    assert (tmp_path / "q.json").read_text() == (tmp_path / "p.json").read_text()


def test_a_loaded_agent_calls_its_tools_with_what_they_were_given(tools, tmp_path):
    react(dspex.Tool(tools.search, "find", "Looks.", max_output_chars=7)).save(tmp_path / "p.json")
    loaded = dspex.load(tmp_path / "p.json", allow=tools.forget())
    step = {"next_thought": "t", "next_tool_name": "find", "next_tool_args": {"query": "x"}}
    done = {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}}
    with dspex.context(lm=DummyLM([step, done, {"reasoning": "r", "answer": "4"}])):
        found = loaded(question="?")
    assert found.answer == 4
    assert found.trajectory["observation_0"].startswith("3 pages ...")
    assert loaded.tools["find"].desc == "Looks."


@pytest.mark.fault("X07")
def test_no_function_is_imported_that_is_not_allowed(tools, tmp_path, capsys):
    react(tools.search, tools.look_up).save(tmp_path / "p.json")
    name = tools.forget()
    with pytest.raises(dspex.ProgramFileError) as caught:
        dspex.load(tmp_path / "p.json", allow=["other", "dspex"])
    for words in (
        f"{name}.tools:search, {name}.tools:look_up",
        f"allow=['{name}']",
        "functions={'search': ..., 'look_up': ...}",
    ):
        assert words in str(caught.value)
    assert not [one for one in sys.modules if one.startswith(name)]
    assert capsys.readouterr().out == ""


@pytest.mark.fault("X07")
@pytest.mark.parametrize("place", ["os:environ", "os:no_such", "no_such_module:f", "os", ""])
def test_a_place_that_holds_no_function_is_named(tools, tmp_path, place):
    react(tools.search).save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    content["metadata"]["program"]["recipe"]["tools"][0]["function"] = place
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(dspex.ProgramFileError, match=r"p\.json: .*functions=|p\.json: .* is no function"):
        dspex.load(tmp_path / "p.json", allow=["os", "no_such_module"])


@pytest.mark.fault("X07")
@pytest.mark.parametrize("name", ["os.system", "dspex.load", "Literal", "dspex.Tool"])
@pytest.mark.parametrize("word", ["tools", "summarise"])
def test_what_an_allowed_module_has_imported_is_not_allowed(tools, tmp_path, name, word):
    react(tools.search, summarise=tools.shorten).save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    recipe = content["metadata"]["program"]["recipe"]
    (recipe["tools"][0] if word == "tools" else recipe[word])["function"] = f"{tools.__name__}:{name}"
    (tmp_path / "p.json").write_text(json.dumps(content))
    package = tools.forget(TOOLS.replace("import dspex\n", "import dspex, os\n", 1))
    with pytest.raises(dspex.ProgramFileError, match="is no function of"):
        dspex.load(tmp_path / "p.json", allow=[package])


def local():
    def inside(x: int) -> int:
        return x

    return inside


class Callable:
    def __call__(self, x: int) -> int:
        return x


UNNAMED = {
    "a lambda": (lambda: dspex.Tool(lambda x: x, "it"), "it is a lambda; define it with `def` at the top of a module"),
    "a closure": (lambda: dspex.Tool(local(), "it"), "defined inside local, whose variables no file has"),
    "a partial": (lambda: dspex.Tool(functools.partial(max, 1), "it", args={}), "functools.partial"),
    "an object": (lambda: dspex.Tool(Callable(), "it"), "a Callable that can be called"),
    "a method": (lambda: dspex.Tool(Callable().__call__, "it"), "a method of a Callable"),
}


@pytest.mark.parametrize(("make", "why"), UNNAMED.values(), ids=UNNAMED)
def test_what_no_file_can_name_is_refused_with_what_to_do(tmp_path, make, why):
    program = react(make())
    with pytest.raises(dspex.ProgramFileError, match=f"'it' cannot be imported: .*{why}"):
        program.save(tmp_path / "p.json", whole=True)
    assert not (tmp_path / "p.json").exists()
    program.save(tmp_path / "p.json")
    with pytest.raises(dspex.ProgramFileError, match=f"'it' cannot be imported: .*{why}.*functions={{'it': ...}}"):
        dspex.load(tmp_path / "p.json", allow=["tests"])
    assert react(make()).load(tmp_path / "p.json").dump_state() == program.dump_state()
    given = dspex.load(tmp_path / "p.json", functions={"it": make()})
    assert given.tools["it"](x=3) == 3 if "partial" not in why else "it" in given.tools


def test_one_whose_name_means_something_else_now_is_refused(tools, tmp_path):
    old, tools.search = tools.search, tools.look_up
    with pytest.raises(dspex.ProgramFileError, match=r"'search' cannot be imported: .*:search is something else"):
        react(old).save(tmp_path / "p.json", whole=True)


def test_a_reward_that_no_file_can_name_is_given(tmp_path):
    dspex.BestOfN(dspex.Predict("a -> b"), 2, lambda inputs, made: 1.0, None).save(tmp_path / "p.json")
    with pytest.raises(dspex.ProgramFileError, match="'reward_fn' cannot be imported: it is a lambda"):
        dspex.load(tmp_path / "p.json")
    assert dspex.load(tmp_path / "p.json", functions={"reward_fn": max}).reward_fn is max


def test_a_function_that_was_moved_is_guessed_and_can_be_given(tools, tmp_path):
    react(tools.search).save(tmp_path / "p.json")
    name = tools.forget("def serch(query: str, k: int = 3) -> str: ...")
    with pytest.raises(dspex.ProgramFileError, match=r"no more at .*tools:search.*Did you mean 'serch'.*functions="):
        dspex.load(tmp_path / "p.json", allow=[name])
    moved = __import__(f"{name}.tools", fromlist=["tools"]).serch
    assert dspex.load(tmp_path / "p.json", functions={"search": moved}).tools["search"].func is moved


def test_a_module_that_cannot_be_imported_is_named(tools, tmp_path):
    react(tools.search).save(tmp_path / "p.json")
    name = tools.forget("import no_such_thing")
    with pytest.raises(dspex.ProgramFileError, match=r"importing .*tools gave ModuleNotFoundError: .*no_such_thing"):
        dspex.load(tmp_path / "p.json", allow=[name])


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (
            "def search(query: str, k: int): ...",
            r"took \(query: string, k\?: integer\), and here it takes \(query: string, k: integer\)",
        ),
        ("def search(words: list[str], k: int = 3): ...", r".* here it takes \(words: array of string, k\?: integer\)"),
    ],
    ids=["an argument became needed", "another argument"],
)
def test_a_function_that_takes_other_arguments_now_is_warned_of(tools, tmp_path, now, why):
    react(tools.search).save(tmp_path / "p.json")
    name = tools.forget(now)
    with pytest.warns(RuntimeWarning, match=f"tool 'search' {why}"):
        dspex.load(tmp_path / "p.json", allow=[name])


def test_tools_that_differ_are_warned_of_when_a_state_is_loaded_into_a_program(tools, tmp_path):
    class Mine(dspex.Module):
        def __init__(self, *functions):
            self.agent = react(*functions)

    Mine(tools.search).save(tmp_path / "p.json")
    with pytest.warns(RuntimeWarning) as caught:
        Mine(tools.look_up).load(tmp_path / "p.json")
    said = "\n".join(str(one.message) for one in caught)
    assert "tool 'search' of 'agent' was there when it was saved, and is not here" in said
    assert "tool 'look_up' of 'agent' is here, and was not there when it was saved" in said


def test_a_name_that_the_file_has_not_is_an_error(tools, tmp_path):
    react(tools.search).save(tmp_path / "p.json")
    with pytest.raises(dspex.ProgramFileError, match=r"no function 'serch'\. Did you mean 'search'"):
        dspex.load(tmp_path / "p.json", functions={"serch": tools.search})


@pytest.mark.parametrize(
    "change",
    [{"tools": 3}, {"tools": [3]}, {"tools": [{}]}, {"max_iters": -1}, {"no_word": 1}, {"max_tool_calls": {"x": 1}}],
    ids=str,
)
@pytest.mark.fault("P07")
def test_a_damaged_recipe_is_named(tools, tmp_path, change):
    react(tools.search).save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    content["metadata"]["program"]["recipe"].update(change)
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(dspex.ProgramFileError, match=r"p\.json"):
        dspex.load(tmp_path / "p.json", allow=["tools", tools.forget()])


# The command line


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.setenv("DSPEX_PLUGINS", "none")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, list(map(str, arguments)), prog_name="dspex")


def test_show_tells_of_tools_and_imports_them_only_where_it_is_allowed(tools, tmp_path, command):
    react(tools.search, dspex.Tool(lambda x: x, "it")).save(tmp_path / "p.json")
    name = tools.forget()
    told = command("show", "p.json")
    assert told.exit_code == 0, told.output
    for words in (
        "program    ReAct, made from the file and functions",
        f"tool       search(query: string, k?: integer) from {name}.tools:search",
        "tool       it(x: any), which no file can name",
        f"imports    {name}.tools, where --allow says so",
    ):
        assert words in told.stdout
    assert "fits" not in told.stdout
    assert f"{name}.tools" not in sys.modules


def test_show_says_whether_the_tools_fit(tools, tmp_path, command):
    react(tools.search).save(tmp_path / "p.json")
    name = tools.forget()
    assert "fits       yes" in command("show", "p.json", "--allow", name).stdout
    tools.forget("def search(other: str): ...")
    assert (
        "fits       tool 'search' took (query: string, k?: integer)"
        in command("show", "p.json", "--allow", name).stdout
    )


def test_diff_tells_of_tools(tools, tmp_path, command):
    react(tools.search).save(tmp_path / "p.json")
    react(tools.look_up).save(tmp_path / "q.json")
    told = command("diff", "p.json", "q.json").stdout
    assert "tools\n  - search(query: string, k?: integer)\n  + look_up(word: string)" in told


def test_diff_and_show_tell_of_what_a_tool_and_an_agent_were_given(tools, tmp_path, command):
    react(tools.search).save(tmp_path / "p.json")
    react(dspex.Tool(tools.search, desc="Looks it up", timeout_s=3.0), max_iters=3).save(tmp_path / "q.json")
    told = command("diff", "p.json", "q.json")
    assert told.exit_code == 1
    for line in ("+ search.desc Looks it up", "+ search.timeout_s 3.0", "+ max_iters 3"):
        assert f"  {line}\n" in told.stdout
    assert "search.desc='Looks it up', search.timeout_s=3.0, max_iters=3" in command("show", "q.json").stdout


def test_diff_tells_of_a_function_that_was_moved(tools, tmp_path, command):
    react(tools.search).save(tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text()
    (tmp_path / "q.json").write_text(text.replace(":search", ":other"))
    assert ".tools:other\n" in command("diff", "p.json", "q.json").stdout


def test_run_runs_an_agent_whose_tools_are_allowed(tools, tmp_path, command):
    agent = react(tools.search)
    agent.save(tmp_path / "p.json")
    name = tools.forget()
    refused = command("run", "p.json", "--lm", "acme/m", "-i", "question=x")
    assert refused.exit_code != 0
    assert f"allow=['{name}']" in refused.output
    assert "--allow MODULE" in refused.output
    assert "--allow MODULE (it was nothing)" in command("run", "p.json", "--allow", "nothing").output
    step = {"next_thought": "t", "next_tool_name": "search", "next_tool_args": {"query": "x"}}
    done = {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}}
    with dspex.context(lm=DummyLM([step, done, {"reasoning": "r", "answer": "4"}])):
        assert "Inputs are given by --input NAME=TEXT" in command("run", "p.json", "--allow", name).output
        ran = command("run", "p.json", "--allow", name, "-i", "question=x", "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout[ran.stdout.index("{") :])["answer"] == 4
