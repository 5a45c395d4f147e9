"""The commands of `dspex` survive any plugin, and say what is wrong with it."""

import json
import time

import pytest
from click import Command, echo

import dspex
from dspex.cli.main import cli
from dspex.plugin import ConfigurationError, LMResponse
from dspex.plugin.catalog import OWN_COMMANDS


class Provider:
    """Answers 4 to everything."""

    def __init__(self, endpoint, http):
        pass

    async def complete(self, request):
        return LMResponse.from_text("[[ ## reasoning ## ]]\nsum\n\n[[ ## answer ## ]]\n4")


def exits():
    raise SystemExit(7)


def one(name="acme", factory=Provider, **options):
    return lambda: [dspex.Spec(name, factory, **options)]


@pytest.fixture
def orchard(plugin, install):
    """One good plugin among all kinds of bad ones."""
    return install(
        plugin("good", lm_providers=one()),
        plugin("exits", load=exits),
        plugin("hangs", load=lambda: time.sleep(1)),
        plugin("hooks", lm_providers=lambda: None),
        plugin("commands-raise", commands=exits),
        plugin("commands-junk", commands=lambda: [print]),
        plugin("commands-hang", commands=lambda: time.sleep(1) or []),
        plugin("commands-good", commands=lambda: [Command("greet", callback=lambda: echo("hi"))]),
        import_limit_s=0.1,
    )


BAD = {"exits", "hangs", "hooks", "commands-raise", "commands-junk", "commands-hang"}


@pytest.mark.fault("G01")
@pytest.mark.fault("G05")
def test_plugins_lists_the_good_and_the_bad(command, orchard):
    listed = command("plugins", "--json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert listed.exit_code == 0
    assert {name for name, row in rows.items() if row["status"] == "broken"} == BAD
    assert all(rows[name]["error"] for name in BAD)
    assert rows["good"]["provides"] == {"lm_providers": ["acme"]}
    assert rows["commands-good"]["provides"] == {"commands": ["greet"]}
    shown = command("plugins").stdout
    assert "LM provider acme" in shown
    assert "hangs: did not load within 0.1 s" in shown


@pytest.mark.fault("G01")
@pytest.mark.fault("G05")
def test_doctor_names_each_bad_plugin_and_what_to_do(command, orchard):
    told = command("doctor")
    assert told.exit_code == 1
    for name in BAD:
        assert f"PROBLEM: {name} ({name}-dist 1.2) is broken" in told.stdout
        assert f"DSPEX_PLUGINS=no:{name}" in told.stdout
    assert f"Problems: {len(BAD)}" in told.stdout


def test_help_lists_the_commands_that_can_be_had(command, orchard):
    told = command("--help")
    assert told.exit_code == 0
    assert [word in told.stdout for word in ("doctor", "plugins", "run", "greet")] == [True] * 4
    assert command("greet").stdout == "hi\n"


def test_an_unknown_command_names_the_package_and_the_broken_plugins(command, orchard):
    told = command("demo")
    assert told.exit_code == 2
    assert 'pip install "dspex[demo]"' in told.stderr
    assert "commands-raise (SystemExit: 7)" in told.stderr


def test_the_names_that_no_plugin_may_take_are_those_of_our_commands():
    assert cli.own.keys() == OWN_COMMANDS
    assert {cli.get_command(None, name).name for name in cli.own} == OWN_COMMANDS


def test_own_commands_load_no_plugin(command, plugin, install):
    asked = []
    install(plugin("a", load=lambda: asked.append(1)))
    assert command("--version").stdout.startswith("dspex ")
    assert command("run", "no-such-file").exit_code == 2
    assert not asked


@pytest.mark.fault("G06")
def test_a_command_of_two_plugins_is_an_error_that_says_how_to_choose(command, plugin, install):
    sources = [
        plugin(name, commands=lambda name=name: [Command("greet", callback=lambda: echo(name))]) for name in "ab"
    ]
    install(*sources)
    assert "'a' (a-dist) and 'b' (b-dist)" in command("greet").stderr
    assert "command 'greet' is offered by" in command("doctor").stdout
    install(*sources, prefer={"greet": "b"})
    assert command("greet").stdout == "b\n"
    assert command("doctor").exit_code == 0


def test_one_of_our_errors_is_shown_without_its_traceback(command, plugin, install, monkeypatch):
    def fail():
        raise ConfigurationError("This is wrong. Do that.")

    install(plugin("a", commands=lambda: [Command("fail", callback=fail)]))
    told = command("fail")
    assert (told.exit_code, told.stdout, told.stderr) == (2, "", "Error: This is wrong. Do that.\n")
    monkeypatch.setenv("DSPEX_DEBUG", "1")
    assert isinstance(command("fail").exception, ConfigurationError)


def test_ctrl_c_ends_a_command_without_a_traceback(command, plugin, install):
    def fail():
        raise KeyboardInterrupt

    install(plugin("a", commands=lambda: [Command("fail", callback=fail)]))
    told = command("fail")
    assert (told.exit_code, told.stderr) == (130, "Interrupted.\n")


@pytest.mark.parametrize("value", ["acme", "no:", "no:a,b", ""], ids=repr)
def test_a_wrong_block_is_refused(command, value, install):
    install()
    assert command("-p", value, "plugins").exit_code == 2


# dspex run


@pytest.fixture
def acme(plugin, install):
    return install(plugin("a", lm_providers=one()))


@pytest.fixture
def saved(tmp_path):
    """Saves a program and gives its path."""

    def save(program):
        program.save(tmp_path / "program.json")
        return str(tmp_path / "program.json")

    return save


@pytest.mark.parametrize(
    "program",
    [
        lambda: dspex.Predict("question -> answer"),
        lambda: dspex.ChainOfThought("question -> answer"),
        lambda: dspex.Predict("question: str, n: int, tags: list[str] = None -> answer: float".replace(" = None", "")),
        lambda: dspex.Predict("question -> answer: Literal['3', '4', 'a.b']"),
    ],
    ids=["Predict", "ChainOfThought", "typed", "Literal"],
)
def test_a_predict_that_was_saved_by_itself_runs_from_its_file(command, acme, saved, program):
    made = program()
    more = ["-i", "n=3", "-i", 'tags:=["x"]'] if "n" in getattr(made, "signature", dspex.Signature).fields else []
    told = command("run", saved(made), "--lm", "acme/m", "--input", "question=2+2?", *more)
    assert told.exit_code == 0, told.output
    assert told.stdout.splitlines()[-1] in ("answer: 4", "answer: 4.0")


def test_the_saved_model_is_used_unless_another_is_named(command, acme, saved):
    program = dspex.Predict("question -> answer")
    path = saved(program)
    told = command("run", path, "-i", "question=2+2?")
    assert told.exit_code == 2
    assert "names no model: add --lm provider/model" in told.stderr
    program.set_lm(dspex.LM("acme/m"))
    assert command("run", saved(program), "-i", "question=2+2?", "--json").stdout == '{\n  "answer": "4"\n}\n'


PROGRAM = """
import dspex

class Two(dspex.Module):
    def __init__(self):
        self.first = dspex.Predict("question -> answer")
        self.then = dspex.Predict("question, answer -> answer2")

    def forward(self, question):
        return self.first(question=question)

class QA(dspex.Signature):
    question: str = dspex.InputField()
    answer: str = dspex.OutputField()

two = Two()
number = 3
raise_system_exit = lambda: exit()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module of programs, to stand in."""
    (tmp_path / "programs_here.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return __import__("programs_here")


@pytest.mark.parametrize("attribute", ["Two", "two"])
def test_a_program_is_named_by_its_class_or_an_instance(command, acme, saved, folder, attribute):
    path = saved(folder.Two())
    told = command("run", path, "--lm", "acme/m", "--program", f"programs_here:{attribute}", "-i", "question=2+2?")
    assert told.stdout == "answer: 4\n"
    refused = command("run", path, "--lm", "acme/m").stderr
    assert "Its program is programs_here:Two, whose module would have to be imported" in refused
    assert "--allow MODULE" in refused
    assert (
        command("run", path, "--lm", "acme/m", "--allow", "programs_here", "-i", "question=2+2?").stdout
        == "answer: 4\n"
    )


@pytest.mark.parametrize("named", ["programs_here:QA", "question -> answer"])
def test_a_signature_names_a_program_too(command, acme, saved, folder, named):
    for program in (dspex.Predict("question -> answer"), dspex.ChainOfThought("question -> answer")):
        told = command("run", saved(program), "--lm", "acme/m", "--program", named, "-i", "question=2+2?")
        assert told.stdout.splitlines()[-1] == "answer: 4", told.output


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("no_such_module:x", "ModuleNotFoundError"),
        ("programs_here:nothing", "AttributeError"),
        ("programs_here:number", "is a int, no dspex.Module"),
        ("programs_here", "Write package.module:attribute"),
        ("question -> -> answer", "There can be only one arrow"),
        ("question -> reply", "does not fit"),
    ],
)
def test_a_program_that_cannot_be_named_so_is_one_line(command, acme, saved, folder, named, why):
    path = saved(dspex.Predict("question -> answer"))
    told = command("run", path, "--lm", "acme/m", "--program", named, "-i", "question=2+2?")
    assert told.exit_code == 2
    assert why in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.fault("X07")
@pytest.mark.parametrize(
    "kind", ["antigravity.X", "os.PathLike", "list[antigravity.X]", "Annotated[str, antigravity.X]"]
)
def test_a_file_makes_nothing_import(command, acme, saved, tmp_path, kind):
    path = saved(dspex.Predict("question -> answer"))
    content = json.loads((tmp_path / "program.json").read_text())
    del content["metadata"]["program"]  # as files were before they had a recipe
    text = json.dumps(content).replace('"type": "str"', f'"type": "{kind}"')
    (tmp_path / "program.json").write_text(text)
    told = command("run", path, "--lm", "acme/m", "-i", "question=2+2?")
    assert told.exit_code == 2
    assert "which would have to be imported" in told.stderr


@pytest.mark.fault("P07")
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"predict": 3}', b'{"signature": 3}', b"[" * 5_000]
)
def test_a_damaged_file_is_one_line(command, acme, tmp_path, content):
    (tmp_path / "p.json").write_bytes(content)
    told = command("run", str(tmp_path / "p.json"), "--lm", "acme/m")
    assert told.exit_code == 2
    assert "p.json" in told.stderr
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["-i", "question"], "write NAME=TEXT or NAME:=JSON"),
        (["-i", "n=three", "-i", "question=x"], "--input 'n=three'"),
        (["-i", "n:=[", "-i", "question=x"], "--input 'n:=['"),
        (["-i", "n=3"], "'question' is missing"),
        (["-i", "n=3", "-i", "question=x", "-i", "more=1"], "'more' is unknown"),
    ],
)
def test_a_wrong_input_is_one_line(command, acme, saved, given, why):
    told = command("run", saved(dspex.Predict("question, n: int -> answer")), "--lm", "acme/m", *given)
    assert told.exit_code == 2
    assert why in told.stderr


def test_what_a_plugin_prints_at_its_import_is_not_in_what_is_asked_for(command, plugin, install):
    install(plugin("loud", load=lambda: echo("hello from a plugin") or object()))
    told = command("plugins", "--json")
    assert [row["name"] for row in json.loads(told.stdout)] == ["loud"]
    assert told.stderr == "hello from a plugin\n"
