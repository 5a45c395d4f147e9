"""`dspex show` and `dspex diff`: what stands in a program's file, and what two differ in; nothing is imported."""

import json

import pytest
from click.testing import CliRunner

import dspex
from dspex.cli.main import cli
from dspex.core.evidence import Evidence


@pytest.fixture
def command(install):
    install()
    return lambda *arguments: CliRunner().invoke(cli, list(map(str, arguments)), prog_name="dspex")


@pytest.fixture
def program():
    made = dspex.ChainOfThought("question, n: int -> answer: float")
    made.predict.demos = [
        {"question": f"{number}?", "n": number, "reasoning": "first\nthen", "answer": 1.5, "augmented": True}
        for number in range(5)
    ]
    made.set_lm(dspex.LM("acme/m", temperature=0.3))
    made.predict.config = {"max_tokens": 9}
    made.evidence = Evidence(
        "better", "held", kept=True, stopped="done", n=40, baseline=0.5, score=0.75, optimizer="COPRO"
    )
    return made


@pytest.fixture
def save(tmp_path):
    def save(program, name="p.json"):
        program.save(tmp_path / name)
        return tmp_path / name

    return save


def test_a_file_is_told_in_words(command, program, save):
    told = command("show", save(program))
    assert told.exit_code == 0, told.output
    for words in (
        "program    ChainOfThought, made from the file",
        f"versions   dspex {dspex.__version__}",
        "score: 50.0 before, 75.0 after, per cent",
        "predict\n  model       acme/m ",
        "temperature=0.3",
        "parameters  max_tokens=9",
        "    n (input int)",
        "    answer (output float)",
        "    reasoning (output str): step by step, before the answer",
        "    Given the fields `question`, `n`",
        "  demos       5",
        "1. question: 0?; n: 0; reasoning: first then; answer: 1.5",
        "and 2 more: --demos",
        "fits       yes",
    ):
        assert words in told.stdout
    assert (
        "5. question: 4?; n: 4; reasoning: first\nthen; answer: 1.5" in command("show", save(program), "--demos").stdout
    )


def test_it_is_told_as_json(command, program, save):
    said = json.loads(command("show", save(program), "--json").stdout)
    assert said["place"].endswith("ChainOfThought")
    assert said["is_whole"]
    assert said["evidence"]["score"] == 0.75
    [part] = said["parts"]
    assert part["path"] == "predict"
    assert len(part["demos"]) == 5


def test_a_file_of_dspy_is_told_too(command, tmp_path):
    fields = [{"prefix": "Question:", "description": "${question}"}, {"prefix": "Answer:", "description": "short"}]
    state = {
        "traces": [], "train": [], "demos": [{"question": "1?", "answer": "1"}], "lm": None,
        "signature": {"instructions": "Be brief.", "fields": fields},
        "metadata": {"dependency_versions": {"python": "3.11", "dspy": "3.4.1"}},
    }  # fmt: skip
    (tmp_path / "p.json").write_text(json.dumps(state))
    told = command("show", tmp_path / "p.json").stdout
    assert "program    unknown: the file does not say" in told
    assert "versions   python 3.11, dspy 3.4.1" in told
    assert "    Answer: short" in told
    assert "evidence   none" in told


PROGRAM = """
import dspex

print("imported")

class Two(dspex.Module):
    def __init__(self):
        self.first = dspex.Predict("question -> answer: TYPE")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module in the folder one stands in, whose field is of another type by now."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"mine_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(PROGRAM.replace("TYPE", "int"))
    __import__(name).Two().save(tmp_path / "p.json")
    (tmp_path / f"{name}.py").write_text(PROGRAM.replace("TYPE", "float"))
    import sys

    monkeypatch.delitem(sys.modules, name)
    import importlib

    importlib.invalidate_caches()
    return name


@pytest.mark.fault("X07")
def test_nothing_is_imported_unless_it_is_allowed_and_then_mismatches_are_told(command, mine, tmp_path, capsys):
    capsys.readouterr()
    told = command("show", "p.json").stdout
    assert f"program    {mine}:Two, which has to be imported" in told
    assert "fits" not in told
    assert "imported\n" not in told.replace("be imported", "")
    told = command("show", "p.json", "--allow", mine).stdout
    assert "fits       predictor 'first' was saved for `question: str -> answer: int`, and here" in told
    assert "answer: float" in told


def test_other_versions_are_told(command, program, save):
    path = save(program)
    content = json.loads(path.read_text())
    content["metadata"]["versions"] = {"dspex": "9.9", "dspex-gone": "1.0"}
    path.write_text(json.dumps(content))
    told = command("show", path).stdout
    assert f"other      dspex 9.9, here {dspex.__version__}" in told
    assert "other      dspex-gone 1.0, here not installed" in told


@pytest.mark.fault("P07")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"predict": 3}',
        b'{"demos": [], "signature": 3}',
        b'{"a": {"signature": {}}}',
        b'{"metadata": 3}',
    ],
)
@pytest.mark.parametrize("verb", ["show", "diff"])
def test_a_damaged_file_is_one_line(command, tmp_path, content, verb):
    (tmp_path / "p.json").write_bytes(content)
    told = command(verb, tmp_path / "p.json", *([tmp_path / "p.json"] if verb == "diff" else []))
    assert told.exit_code == 2
    assert "p.json" in told.stderr
    assert len(told.stderr.splitlines()) == 1


# diff


def test_equal_programs_do_not_differ(command, program, save):
    told = command("diff", save(program), save(program.deepcopy(), "q.json"))
    assert (told.exit_code, told.stdout) == (0, "They do not differ.\n")


def changed(program, **how):
    twin = program.deepcopy()
    predict = twin.predict
    if "instructions" in how:
        predict.signature = predict.signature.with_instructions(how["instructions"])
    if "demos" in how:
        predict.demos = how["demos"](predict.demos)
    if "desc" in how:
        predict.signature = predict.signature.with_updated_fields("answer", desc=how["desc"])
    if "lm" in how:
        twin.set_lm(how["lm"])
    if "config" in how:
        predict.config = how["config"]
    if "evidence" in how:
        twin.evidence = how["evidence"]
    return twin


CHANGES = {
    "instructions": ({"instructions": "Add.\nBriefly."}, ["instructions", "- Given the fields", "+ Add.", "+ Briefly."]),
    "a demo": (
        {"demos": lambda demos: [*demos[1:], {"question": "new", "answer": 2}]},
        ["demos: 5 before, 5 after", "- question: 0?", "+ question: new; answer: 2"],
    ),
    "their order": ({"demos": lambda demos: demos[::-1]}, ["demos: the same 5 in another order"]),
    "a description": ({"desc": "in metres"}, ["fields", "- answer (output float)", "+ answer (output float): in metres"]),
    "the model": ({"lm": None}, ["model", "- acme/m", "+ that of the settings"]),
    "parameters": ({"config": {"temperature": 1}}, ["parameters", "- max_tokens 9", "+ temperature 1"]),
    "evidence": ({"evidence": None}, ["evidence", "+ none"]),
}  # fmt: skip


@pytest.mark.parametrize(("how", "words"), CHANGES.values(), ids=CHANGES)
def test_a_difference_is_shown_and_nothing_else(command, program, save, how, words):
    told = command("diff", save(program), save(changed(program, **how), "q.json"))
    assert told.exit_code == 1
    lines = [line.strip() for line in told.stdout.splitlines()]
    for one in words:
        assert any(line.startswith(one) for line in lines), told.stdout
    said = json.loads(command("diff", "--json", save(program), save(changed(program, **how), "q.json")).stdout)
    assert len(said) == 1


def test_predictors_of_one_only_are_named(command, program, save):
    told = command("diff", save(program), save(dspex.Predict("a -> b"), "q.json"))
    assert told.exit_code == 1
    assert "program\n  - ChainOfThought, made from the file\n  + Predict, made from the file" in told.stdout
    assert "predict\n  predictor\n    - it is in the first only" in told.stdout
    assert "self\n  predictor\n    + it is in the second only" in told.stdout
