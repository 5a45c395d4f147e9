"""Each defect of DSPy's that is listed in defects.toml has tests, which are there; and those that belong nowhere else."""

import ast
import functools
import inspect
import tomllib
from pathlib import Path

import pytest

import dspex
from dspex.evaluate.judges import CompleteAndGrounded, SemanticF1
from dspex.testing import DummyLM

ROOT = Path(__file__).parents[2]
DEFECTS = tomllib.loads((Path(__file__).parent / "defects.toml").read_text())


@functools.cache
def names_in(file):
    return {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_has_tests_that_are_there(defect):
    row = DEFECTS[defect]
    assert row.keys() == {"was", "tests"}
    assert row["tests"]
    for test in row["tests"]:
        file, _, name = test.partition("::")
        assert name in names_in(file), f"{defect}: {test} is not there"


CALLED = [
    *(dspex.Predict, dspex.ChainOfThought, dspex.ReAct, dspex.ProgramOfThought, dspex.CodeAct, dspex.RLM),
    *(dspex.MultiChainComparison, dspex.BestOfN, dspex.Refine, dspex.Parallel, dspex.KNN, dspex.Retrieve),
    *(dspex.Embeddings, dspex.Evaluate, dspex.Embedder, dspex.Retriever, dspex.Tool, dspex.LM, SemanticF1),
    *(CompleteAndGrounded, dspex.Module),
]


@pytest.mark.parametrize("kind", CALLED, ids=lambda kind: kind.__name__)
def test_everything_that_is_called_has_an_async_form(kind):
    assert callable(kind.__call__)
    acall = inspect.unwrap(kind.acall)
    assert inspect.iscoroutinefunction(acall) or "Awaitable" in str(inspect.signature(acall).return_annotation)


def search(query: str) -> str:
    """Finds pages."""
    return f"pages on {query}"


def test_no_tool_takes_the_place_of_another():
    with pytest.raises(dspex.ConfigurationError, match="cannot be called 'finish'"):
        dspex.ReAct("question -> answer", [search, dspex.Tool(search, name="finish")])
    with pytest.raises(dspex.ConfigurationError, match="Two tools bear the name 'search'"):
        dspex.ReAct("question -> answer", [search, dspex.Tool(lambda query: query, name="search")])


def test_an_agent_leaves_the_history_that_it_is_given():
    given = dspex.History([{"question": "1+1?", "answer": "2"}])
    step = {"next_thought": "t", "next_tool_name": "search", "next_tool_args": {"query": "x"}}
    done = {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}}
    agent = dspex.ReActV2("history: dspex.History, question -> answer", [search])
    with dspex.context(lm=DummyLM([step, done, {"reasoning": "r", "answer": "4"}])):
        assert agent(history=given, question="2+2?").answer == "4"
    assert given.messages == [{"question": "1+1?", "answer": "2"}]
