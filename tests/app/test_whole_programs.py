"""dspex.load: a program made of its file alone, or of a class that the caller allows; and what a file says of itself."""

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass
from typing import Literal

import pytest

import dspex
from dspex.testing import DummyLM


@dataclass
class Place:
    city: str
    country: str = "Italy"


class Sort(dspex.Signature):
    """Sort a letter."""

    letter: str = dspex.InputField(desc="all of it")
    places: list[Place] = dspex.InputField(default_factory=list)
    tray: Literal["bills", "rest"] = dspex.OutputField()
    weight: float | None = dspex.OutputField()


def look(query: str) -> str:
    return query


WHOLE = {
    "Predict": lambda: dspex.Predict("question, n: int -> answer: float, tags: list[str]"),
    "Predict of a class": lambda: dspex.Predict(Sort),
    "ChainOfThought": lambda: dspex.ChainOfThought(Sort),
    "ChainOfThought with its own field": lambda: dspex.ChainOfThought(
        "question -> answer", rationale_field=dspex.OutputField(desc="in verse")
    ),
    "MultiChainComparison": lambda: dspex.MultiChainComparison("question -> answer", M=2),
    "ProgramOfThought": lambda: dspex.ProgramOfThought("question -> answer: int", max_iters=2, sandbox="monty"),
    "CodeAct": lambda: dspex.CodeAct("question -> answer: int", [], max_iters=4),
    "RLM": lambda: dspex.RLM("text, question -> answer: int", max_llm_calls=7, max_output_chars=99),
}


@pytest.fixture(params=WHOLE)
def whole(request):
    return WHOLE[request.param]()


def with_state(program):
    for number, predictor in enumerate(program.predictors()):
        predictor.signature = predictor.signature.with_instructions(f"Task {number}.")
        predictor.demos = [dict.fromkeys(predictor.signature.fields, "x")]
        predictor.config = {"temperature": 0.5}
    return program


def test_one_of_our_own_modules_is_made_of_its_file(whole, tmp_path):
    with_state(whole).save(tmp_path / "p.json")
    loaded = dspex.load(tmp_path / "p.json")
    assert type(loaded) is type(whole)
    assert loaded.dump_state() == whole.dump_state()
    assert repr(loaded) == repr(whole)
    for (_, made), (_, before) in zip(loaded.named_predictors(), whole.named_predictors(), strict=True):
        assert made.signature.instructions == before.signature.instructions
        assert list(made.signature.fields) == list(before.signature.fields)
    traits = [part._traits() for part in (loaded, whole)]
    assert traits[0] == traits[1]
    loaded.save(tmp_path / "q.json")
    assert (tmp_path / "q.json").read_text() == (tmp_path / "p.json").read_text()


def test_it_runs_in_a_process_that_has_none_of_its_classes(tmp_path):
    dspex.Predict(Sort).save(tmp_path / "p.json")
    code = (
        "import dspex, sys; from dspex.testing import DummyLM\n"
        "program = dspex.load(sys.argv[1])\n"
        "with dspex.context(lm=DummyLM([{'tray': 'bills', 'weight': '2'}])):\n"
        "    print(program(letter='x', places=[{'city': 'Rome'}]))\n"
        "assert 'tests' not in sys.modules and 'pydantic' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "p.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "tray='bills'" in done.stdout
    assert "weight=2.0" in done.stdout


PROGRAM = """
import dspex

print("imported")

class Two(dspex.Module):
    def __init__(self):
        self.first = dspex.Predict("question -> query")
        self.then = dspex.ChainOfThought("question, query -> answer")

    def forward(self, question):
        return self.then(question=question, query=self.first(question=question).query)

class Needs(Two):
    def __init__(self, size):
        super().__init__()

class Mine(dspex.Predict):
    def __init__(self):
        super().__init__("question -> answer")

@dspex.module
def asks(question, then=dspex.ChainOfThought("question -> answer")):
    return then(question=question)

class Outer:
    class Inner(Mine):
        pass

number = 3
"""


@pytest.fixture
def package(tmp_path, monkeypatch, capsys):
    """A user's package, imported to save its programs, and then no more."""
    name = f"package_{abs(hash(str(tmp_path)))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "programs.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(f"{name}.programs", fromlist=["programs"])
    capsys.readouterr()

    def forget():
        for one in [one for one in sys.modules if one.startswith(name)]:
            monkeypatch.delitem(sys.modules, one)
        return name

    module.forget = forget
    return module


MADE = {
    "a class": lambda module: module.Two(),
    "a subclass of ours": lambda module: module.Mine(),
    "a function": lambda module: module.asks.deepcopy(),
    "a class in a class": lambda module: module.Outer.Inner(),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
@pytest.mark.parametrize("allow", ["package", "module", "text"])
def test_a_users_program_is_made_where_its_module_is_allowed(package, tmp_path, make, allow):
    program = with_state(make(package))
    program.save(tmp_path / "p.json")
    name = package.forget()
    allowed = {"package": [name], "module": [f"{name}.programs"], "text": name}[allow]
    loaded = dspex.load(tmp_path / "p.json", allow=allowed)
    assert loaded.dump_state() == program.dump_state()
    assert type(loaded).__name__ == type(program).__name__


@pytest.mark.fault("X07")
@pytest.mark.parametrize("allow", [[], ["other"], ["package"], ["programs"]], ids=str)
def test_nothing_is_imported_that_is_not_allowed(package, tmp_path, capsys, allow):
    package.Two().save(tmp_path / "p.json")
    name = package.forget()
    with pytest.raises(dspex.ProgramFileError, match=rf"{name}\.programs:Two, whose module would have to be imported"):
        dspex.load(tmp_path / "p.json", allow=allow)
    assert not [one for one in sys.modules if one.startswith(name)]
    assert capsys.readouterr().out == ""
    with pytest.raises(dspex.ProgramFileError, match=rf"allow=\['{name}'\]"):
        dspex.load(tmp_path / "p.json")


@pytest.mark.fault("X07")
@pytest.mark.parametrize(
    "place", ["os:system", "os:path.join", "subprocess:Popen", "builtins:exit", "dspex:LM", "x", ""]
)
def test_a_place_that_holds_no_program_is_refused_and_not_called(tmp_path, place):
    dspex.Predict("a -> b").save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    content["metadata"]["program"] = {"class": place}
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(dspex.ProgramFileError, match=r"p\.json"):
        dspex.load(tmp_path / "p.json", allow=["os", "subprocess", "builtins", "dspex", "x"])


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("needs", "cannot be made: TypeError"),
        ("gone", "cannot be made: AttributeError"),
        ("no module", "cannot be made: ModuleNotFoundError"),
        ("number", "is a int, and no dspex.Module"),
    ],
)
def test_a_class_that_cannot_be_had_is_named_with_what_to_do(package, tmp_path, what, why):
    package.Two().save(tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text()
    place = f"{package.__name__}:Two"
    new = {"needs": "Needs", "gone": "Gone", "number": "number"}.get(what)
    (tmp_path / "p.json").write_text(
        text.replace(place, "no_such_module:X" if new is None else f"{package.__name__}:{new}")
    )
    with pytest.raises(dspex.ProgramFileError, match=why):
        dspex.load(tmp_path / "p.json", allow=[package.__name__, "no_such_module"])


RECIPES = {
    "another kind": ({"kind": "Evil"}, "Its recipe is of a 'Evil'"),
    "no signature": ({"kind": "Predict"}, "recipe is damaged"),
    "a signature of another form": (
        {"kind": "Predict", "signature": {"x-dspex-version": 9}},
        "no document of a signature",
    ),
    "no limits": ({"kind": "RLM"}, "recipe is damaged"),
    "words that it has not": ({"kind": "RLM", "verbos": True, "limits": {}}, "recipe is damaged"),
    "a limit": ({"kind": "ProgramOfThought", "max_iters": 0, "limits": {}}, "recipe is damaged"),
}


@pytest.mark.fault("P07")
@pytest.mark.parametrize(("change", "why"), RECIPES.values(), ids=RECIPES)
def test_a_damaged_recipe_is_named(tmp_path, change, why):
    dspex.Predict("a -> b").save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    recipe = content["metadata"]["program"]["recipe"]
    content["metadata"]["program"]["recipe"] = (
        change if why == "recipe is damaged" and len(change) == 1 else {**recipe, **change}
    )
    if change == {"kind": "Predict"}:
        content["metadata"]["program"]["recipe"] = change
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(dspex.ProgramFileError, match=why):
        dspex.load(tmp_path / "p.json")


def test_what_was_made_with_more_than_a_file_can_hold_is_loaded_into_what_has_it(tmp_path):
    class Own:
        pass

    def make():
        return dspex.CodeAct("question -> answer", [look], sandbox=Own())

    make().save(tmp_path / "p.json")
    for allow in ((), ("tests", "dspex")):
        with pytest.raises(dspex.ProgramFileError, match="make the program yourself and load the file into it"):
            dspex.load(tmp_path / "p.json", allow=allow)
    with pytest.raises(dspex.ProgramFileError, match=r"was not written, as dspex\.load could not make the program"):
        make().save(tmp_path / "q.json", whole=True)
    assert not (tmp_path / "q.json").exists()
    assert make().load(tmp_path / "p.json").dump_state() == make().dump_state()


def test_a_pydantic_field_is_given_again_by_its_class(tmp_path):
    pydantic = pytest.importorskip("pydantic")

    class Order(pydantic.BaseModel):
        item: str

    signature = dspex.Signature("text -> order: Order", custom_types={"Order": Order})
    dspex.Predict(signature).save(tmp_path / "p.json")
    with pytest.raises(dspex.ProgramFileError, match="'Order'"):
        dspex.load(tmp_path / "p.json")
    loaded = dspex.load(tmp_path / "p.json", custom_types={"Order": Order})
    assert loaded(text="x", lm=DummyLM([{"order": {"item": "pen"}}])).order == Order(item="pen")


def test_a_file_from_before_recipes_is_made_of_its_fields_and_one_of_dspy_needs_its_program(tmp_path):
    dspex.ChainOfThought("question -> answer: int").save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    content["metadata"] = {"version": 1, "dependency_versions": {"dspex": "0.0.1"}}
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert repr(dspex.load(tmp_path / "p.json")) == repr(dspex.ChainOfThought("question -> answer: int"))
    for row in content["predict"]["signature"]["fields"]:
        for name in ("name", "role", "type"):
            del row[name]
    content["metadata"] = {"dependency_versions": {"python": "3.11", "dspy": "3.4.1", "cloudpickle": "3.1"}}
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(dspex.ProgramFileError, match="does not say what its program is"):
        dspex.load(tmp_path / "p.json")
    dspex.ChainOfThought("question -> answer: int").load(tmp_path / "p.json")


# What a file says of itself


def test_a_file_says_what_its_program_is_of_which_versions_and_signatures(tmp_path):
    dspex.ReAct(Sort, [look]).save(tmp_path / "p.json")
    said = json.loads((tmp_path / "p.json").read_text())["metadata"]
    assert said["program"]["class"] == "dspex.program.react:ReAct"
    assert said["program"]["recipe"]["kind"] == "ReAct"
    assert said["tools"] == {"self": {"look": "query: string"}}
    assert said["versions"]["dspex"]
    assert said["dependency_versions"].keys() == {"python"}  # DSPy knows no other name of these, and loads the file
    assert set(said["signatures"]) == {"react", "extract.predict"}
    assert "letter: str" in said["signatures"]["extract.predict"]["fields"]
    assert len(said["signatures"]["react"]["hash"]) == 16


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (
            "question -> answer: float",
            r"saved for `question: str -> answer: int`, and here it is `question: str -> answer: float`",
        ),
        (
            dspex.Signature("question -> answer: int").with_updated_fields("answer", ge=0),
            "with other bounds or defaults",
        ),
    ],
    ids=["a type", "a bound"],
)
def test_other_types_of_the_same_fields_are_warned_of(tmp_path, other, why):
    dspex.Predict("question -> answer: int").save(tmp_path / "p.json")
    with pytest.warns(RuntimeWarning, match=why):
        dspex.Predict(other).load(tmp_path / "p.json")


def test_what_an_optimizer_changes_is_no_mismatch(tmp_path):
    program = with_state(dspex.Predict(Sort))
    program.signature = program.signature.with_updated_fields("letter", desc="Else.", prefix="A letter:")
    program.save(tmp_path / "p.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dspex.Predict(Sort).load(tmp_path / "p.json").demos == program.demos
