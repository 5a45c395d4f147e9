"""Which sandbox runs a model's code, and that none does without one."""

import pytest

import dspex
from dspex.plugin import Output, hookimpl
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.testing import SandboxBehaviour

CODE = {"reasoning": "r", "generated_code": "6 * 7"}
ANSWER = {"reasoning": "r", "answer": "42"}


class TestInProcess(SandboxBehaviour):
    """The double of these tests behaves as a sandbox."""

    @pytest.fixture(autouse=True)
    def _make(self, in_process):
        self.make = in_process


class Named:
    """A plugin's sandbox: says its name, and whether it was closed."""

    def __init__(self, name, closed):
        self.name = name
        self.closed = closed

    async def run(self, code, *, files=None, tools=None, limits=None):
        return Output(value=self.name)

    async def aclose(self):
        self.closed.append(self.name)


def offering(*names, closed=None):
    """A manager whose one plugin offers sandboxes of these names."""

    class Plugin:
        @staticmethod
        @hookimpl
        def dspex_sandboxes():
            return [dspex.Spec(name, lambda options, name=name: Named(name, closed)) for name in names]

    return PluginManager(lambda: [Source("mine", lambda: Plugin, "mine", "1")], environ={})


@pytest.mark.parametrize(
    ("names", "given", "configured", "used"),
    [
        (["other", "bwrap", "monty"], None, None, "monty"),
        (["other", "bwrap"], None, None, "bwrap"),
        (["b", "a"], None, None, "a"),
        (["bwrap", "monty"], None, "bwrap", "bwrap"),
        (["bwrap", "monty", "other"], "other", "bwrap", "other"),
    ],
)
async def test_the_one_that_is_asked_for_or_configured_or_installed(provider, names, given, configured, used):
    script = provider(CODE, ANSWER)
    closed = []
    async with dspex.App(lm=script.lm, sandbox=configured, plugins=offering(*names, closed=closed)):
        await dspex.ProgramOfThought("question -> answer", sandbox=given).acall(question="?")
    assert f"## code_output ## ]]\n{used}" in script.asked[-1].messages[-1].text
    assert closed == [used]


def programs():
    return [
        dspex.ProgramOfThought("question -> answer"),
        dspex.CodeAct("question -> answer", []),
        dspex.RLM("question -> answer"),
    ]


@pytest.mark.fault("X10")
@pytest.mark.parametrize("program", programs(), ids=lambda program: type(program).__name__)
def test_without_a_sandbox_nothing_is_run_and_nothing_is_paid(run, provider, program):
    script = provider(CODE)
    with dspex.context(lm=script.lm), pytest.raises(dspex.SandboxError, match='pip install "dspex-monty"'):
        run(program, question="?")
    assert not script.asked


@pytest.mark.parametrize(
    ("name", "words"),
    [("monty", 'Install it: pip install "dspex-monty"'), ("montyy", "No sandbox 'montyy'"), ("bwrap", "dspex-bwrap")],
)
def test_one_that_is_not_there_is_named_with_what_to_do(run, provider, name, words):
    program = dspex.ProgramOfThought("question -> answer", sandbox=name)
    with dspex.context(lm=provider().lm), pytest.raises(dspex.SandboxError, match=words):
        run(program, question="?")


def test_what_cannot_run_code_is_no_sandbox(run, provider):
    program = dspex.ProgramOfThought("question -> answer", sandbox=object())
    with dspex.context(lm=provider().lm), pytest.raises(dspex.ConfigurationError, match="a sandbox is a plugin's name"):
        run(program, question="?")


@pytest.mark.parametrize("program", programs()[1:], ids=lambda program: type(program).__name__)
def test_code_in_pieces_needs_sessions(run, provider, program):
    program.sandbox = Named("plain", [])
    with dspex.context(lm=provider().lm), pytest.raises(dspex.SandboxError, match="offers no `session`"):
        run(program, question="?")


@pytest.mark.parametrize("limit", ["seconds", "memory", "output", "processes", "calls"])
def test_a_limit_is_more_than_nothing(limit):
    with pytest.raises(dspex.ConfigurationError, match=f"{limit}=0"):
        dspex.SandboxLimits(**{limit: 0})
