"""Programs on disk: what is saved comes back, whole or not at all."""

import json
import os
import stat
import subprocess
import sys

import pytest

import dspex
from dspex.core.evidence import Evidence
from dspex.testing import DummyLM


class Two(dspex.Module):
    def __init__(self):
        self.first = dspex.ChainOfThought("question -> answer: int")
        self.parts = [dspex.Predict("answer: int -> text, tags: list[str]")]


def optimised():
    """A program with state in each part."""
    program = Two()
    program.first.predict.demos = [
        dspex.Example(question="1+1?", reasoning="sum", answer=2),
        {"question": "é\u2028", "answer": 3},
    ]
    program.first.predict.signature = program.first.predict.signature.with_instructions("Add.\n\nCarefully.")
    program.parts[0].config = {"temperature": 0.5, "stop": ["x"]}
    program.parts[0].lm = dspex.LM("acme/m", temperature=0.3, max_tokens=9)
    return program


def test_what_was_saved_comes_back(tmp_path):
    optimised().save(tmp_path / "p.json")
    program = Two().load(tmp_path / "p.json")
    assert program.dump_state() == optimised().dump_state()
    assert program.first.predict.signature.instructions == "Add.\n\nCarefully."
    assert program.first.predict.demos[0]["answer"] == 2
    assert repr(program.parts[0].lm) == "dspex.LM('acme/m')"
    assert program.parts[0].lm.kwargs["max_tokens"] == 9


def test_a_demos_value_keeps_its_order_and_so_its_prompt(tmp_path):
    program = dspex.Predict("shelf: dict[str, int] -> answer")
    program.demos = [{"shelf": {"pears": 1, "apples": 2}, "answer": "two"}]
    program.save(tmp_path / "p.json")
    loaded = dspex.Predict("shelf: dict[str, int] -> answer").load(tmp_path / "p.json")
    prompts = [dspex.ChatAdapter().format(one.signature, one.demos, {"shelf": {}}) for one in (program, loaded)]
    assert prompts[0] == prompts[1]


class Keyed(dspex.Module):
    def __init__(self):
        self.by = {1: dspex.Predict("a -> b"), "1": dspex.Predict("a -> c"), 2: dspex.Predict("a -> d")}


def test_of_two_keys_that_read_alike_none_is_lost(tmp_path):
    program = Keyed()
    assert [path for path, _ in program.named_predictors()] == ["by[1]", "by['1']", "by['2']"]
    program.by[1].demos, program.by["1"].demos = [{"a": "x", "b": "y"}], [{"a": "x", "c": "z"}]
    program.save(tmp_path / "p.json")
    assert Keyed().load(tmp_path / "p.json").dump_state() == program.dump_state()


def test_a_predictor_in_the_place_of_the_files_own_words_is_refused(tmp_path):
    program = dspex.Module()
    program.metadata = dspex.Predict("a -> b")
    with pytest.raises(dspex.ProgramFileError, match="Call that attribute otherwise"):
        program.save(tmp_path / "p.json")
    assert not (tmp_path / "p.json").exists()


def test_equal_programs_are_equal_files(tmp_path):
    for name in ("a", "b"):
        optimised().save(tmp_path / name)
    Two().load(tmp_path / "a").save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_a_file_has_dspys_keys(tmp_path):
    optimised().save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    assert set(content) == {"first.predict", "parts[0]", "metadata"}
    assert set(content["first.predict"]) >= {"traces", "train", "demos", "signature", "lm"}
    assert set(content["first.predict"]["signature"]) == {"instructions", "fields"}
    dspex.Predict("a -> b").save(tmp_path / "q.json")
    assert set(json.loads((tmp_path / "q.json").read_text())) >= {"demos", "signature", "lm", "metadata"}


def test_a_file_of_dspy_is_read(tmp_path):
    fields = [{"prefix": "Question:", "description": "${question}"}, {"prefix": "Answer:", "description": "short"}]
    state = {
        "traces": [],
        "train": [],
        "demos": [{"augmented": True, "question": "1+1?", "answer": "2"}],
        "signature": {"instructions": "Be brief.", "fields": fields},
        "lm": None,
        "metadata": {"dependency_versions": {"python": "3.11", "dspy": "3.0.1", "cloudpickle": "3.1"}},
    }
    (tmp_path / "p.json").write_text(json.dumps(state))
    predict = dspex.Predict("question -> answer").load(tmp_path / "p.json")
    assert predict.signature.instructions == "Be brief."
    assert predict.signature.output_fields["answer"].desc == "short"
    assert predict.demos[0]["answer"] == "2"


def test_evidence_comes_back_too(tmp_path):
    program = optimised()
    program.evidence = Evidence("better", "held", kept=True, stopped="done", n=40, baseline=50.0, score=75.0)
    program.save(tmp_path / "p.json")
    assert Two().load(tmp_path / "p.json").evidence == program.evidence


def test_a_saved_program_is_the_users_alone(tmp_path):
    before = os.umask(0)
    try:
        optimised().save(tmp_path / "new" / "p.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "p.json").stat().st_mode) == 0o600


# Loading is all or nothing


def without(state, *path):
    *parents, last = path
    for key in parents:
        state = state[key]
    del state[last]


def put(state, value, *path):
    *parents, last = path
    for key in parents:
        state = state[key]
    state[last] = value


MISFITS = {
    "no predictor": lambda state: without(state, "parts[0]"),
    "no signature": lambda state: without(state, "parts[0]", "signature"),
    "a field more": lambda state: state["parts[0]"]["signature"]["fields"].append({"prefix": "", "description": ""}),
    "a field renamed": lambda state: put(state, "other", "parts[0]", "signature", "fields", 1, "name"),
    "demos no list": lambda state: put(state, {"a": 1}, "parts[0]", "demos"),
    "a demo no object": lambda state: put(state, [3], "parts[0]", "demos"),
    "a predictor no object": lambda state: put(state, 3, "parts[0]"),
    "config no object": lambda state: put(state, 3, "parts[0]", "config"),
    "an lm no object": lambda state: put(state, 3, "parts[0]", "lm"),
    "an lm without provider": lambda state: put(state, {"model": "m"}, "parts[0]", "lm"),
    "instructions no text": lambda state: put(state, None, "parts[0]", "signature", "instructions"),
}


@pytest.mark.fault("P07")
@pytest.mark.parametrize("change", MISFITS.values(), ids=MISFITS)
def test_a_state_that_does_not_fit_changes_nothing(tmp_path, change):
    optimised().save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    content["first.predict"]["demos"] = []
    change(content)
    (tmp_path / "p.json").write_text(json.dumps(content))
    program = optimised()
    with pytest.raises(dspex.ProgramFileError, match=r"p\.json") as caught:
        program.load(tmp_path / "p.json")
    assert "'parts[0]'" in str(caught.value)
    assert program.dump_state() == optimised().dump_state()


class Clerk(dspex.BaseLM):
    def forward(self, prompt=None, messages=None, **kwargs):
        return ["[[ ## answer ## ]]\n4"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Clerk("clerk"),
        lambda: Clerk("acme/clerk"),
        lambda: DummyLM([{"answer": "4"}]),
        lambda: dspex.LM("acme/m", provider=object()),
    ],
    ids=["class", "class with a provider's name", "dummy", "provider object"],
)
def test_an_lm_that_code_makes_stays_where_the_program_has_it(tmp_path, make):
    program = dspex.Predict("question -> answer")
    program.set_lm(make())
    program.save(tmp_path / "p.json")
    other, lm = dspex.Predict("question -> answer"), make()
    other.set_lm(lm)
    assert other.load(tmp_path / "p.json").lm is lm


def test_an_lm_that_code_makes_is_asked_for_where_the_program_has_none(tmp_path):
    program = dspex.Predict("question -> answer")
    program.set_lm(Clerk("clerk"))
    program.save(tmp_path / "p.json")
    with pytest.raises(
        dspex.ProgramFileError, match=r"its LM 'clerk' is named without .* before you load, program\.set_lm\("
    ):
        dspex.Predict("question -> answer").load(tmp_path / "p.json")


@pytest.mark.parametrize("own", [lambda: dspex.LM("acme/n", temperature=0.5), lambda: dspex.Fallback(dspex.LM("x/y"))])
def test_an_lm_that_a_file_can_name_is_the_files(tmp_path, own):
    program = dspex.Predict("question -> answer")
    program.set_lm(dspex.LM("acme/m"))
    program.save(tmp_path / "p.json")
    other = dspex.Predict("question -> answer")
    other.set_lm(own())
    assert other.load(tmp_path / "p.json").lm.model == "acme/m"


def test_a_missing_predictor_is_a_key_error_too(tmp_path):
    dspex.Predict("a -> b").save(tmp_path / "p.json")
    with pytest.raises(dspex.MissingPredictor, match=r"no predictor 'first.predict', 'parts\[0\]'") as caught:
        Two().load(tmp_path / "p.json")
    assert isinstance(caught.value, KeyError)
    with pytest.raises(KeyError):
        Two().load_state({})


@pytest.mark.parametrize("state", [None, 5, ["demos"], "p.json"])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(dspex.ProgramFileError, match="A state is what dump_state gives"):
        Two().load_state(state)


def test_a_file_that_is_not_there_is_a_file_not_found_error_too(tmp_path):
    for load in (dspex.Predict("a -> b").load, dspex.load):
        with pytest.raises(dspex.ProgramFileMissing, match="No such file") as caught:
            load(tmp_path / "p.json")
        assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.fault("P07")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        (b"", "is no saved program"),
        (b'{"demos": [', "is no saved program"),
        (b"[1, 2]", "it holds a list, not an object"),
        (b"\x80\x04\x95 pickle", "is no saved program"),
        (b'{"a": "\xff\xfe"}', "is no saved program"),
        (b'{"a": ' + b"[" * 100_000, "is no saved program"),
        (b'{"metadata": {"version": 99}}', "this dspex reads format 1"),
        (b'{"metadata": 3}', "format"),
        (b"{}", "has no predictor"),
    ],
    ids=["absent", "empty", "cut", "list", "binary", "no UTF-8", "nested", "newer", "alien", "no program"],
)
def test_a_damaged_or_alien_file_is_named_with_its_cause(tmp_path, content, why):
    path = tmp_path / "p.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(dspex.ProgramFileError, match=why) as caught:
        dspex.Predict("question -> answer").load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.slow
@pytest.mark.fault("P07")
def test_a_file_cut_anywhere_is_refused(tmp_path):
    program = dspex.Predict("question -> answer")
    program.save(tmp_path / "whole.json")
    whole = (tmp_path / "whole.json").read_bytes().rstrip()
    for cut in range(len(whole)):
        (tmp_path / "p.json").write_bytes(whole[:cut])
        with pytest.raises(dspex.ProgramFileError):
            program.load(tmp_path / "p.json")


@pytest.mark.fault("X07")
def test_loading_imports_nothing_and_runs_nothing(tmp_path):
    optimised().save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    evil = {"model": "acme/m", "provider": "os:system", "_dspy_lm_class": "os.system", "callbacks": ["os.system"]}
    content["parts[0]"]["lm"] = evil | {"api_base": "http://evil", "api_key": "canary", "headers": {"x": "canary"}}
    content["parts[0]"]["demos"] = [{"__reduce__": "os.system", "answer": "!!python/object:os.system"}]
    (tmp_path / "p.json").write_text(json.dumps(content))
    before = set(sys.modules)
    program = Two().load(tmp_path / "p.json")
    assert not {name for name in set(sys.modules) - before if not name.startswith("dspex.")}
    lm = program.parts[0].lm
    assert lm._provider is None
    assert lm._connection.base_url is None
    assert "canary" not in repr(vars(lm))


def test_a_key_that_is_no_state_does_nothing(tmp_path):
    optimised().save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    content["parts[0]"] |= {"forward": "x", "acall": None, "_steps": 1, "note": 1}
    content["other"] = {"demos": []}
    (tmp_path / "p.json").write_text(json.dumps(content))
    program = Two().load(tmp_path / "p.json")
    assert vars(program.parts[0]).keys() == vars(Two().parts[0]).keys()
    assert program.dump_state() == optimised().dump_state()


# Saving is all or nothing

FULL = """
import resource, sys, dspex
program = dspex.Predict("question -> answer")
program.demos = [{"question": "x" * 100_000, "answer": "y"}]
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    program.save(sys.argv[1])
except dspex.ProgramFileError as error:
    print(error)
"""


@pytest.mark.fault("P04")
def test_on_a_full_disk_the_old_file_stays(tmp_path):
    dspex.Predict("question -> answer").save(tmp_path / "p.json")
    old = (tmp_path / "p.json").read_bytes()
    command = [sys.executable, "-c", FULL, tmp_path / "p.json"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert "p.json cannot be written: [Errno 27] File too large. The old file, if any, is unchanged." in done.stdout
    assert (tmp_path / "p.json").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


@pytest.mark.fault("P04")
@pytest.mark.parametrize("place", ["file/p.json", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("")
    with pytest.raises(dspex.ProgramFileError, match="cannot be written"):
        dspex.Predict("question -> answer").save(tmp_path / place)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "kept"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    program = dspex.Predict("question -> answer")
    program.save(tmp_path / "p.json")
    reader = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        program.save(tmp_path / "pipe")
        assert os.read(reader, 65_536) == (tmp_path / "p.json").read_bytes()
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    "value",
    [object(), float("nan"), [float("inf")], {"a": object()}, "\ud800"],
    ids=["object", "nan", "inf", "deep", "surrogate"],
)
def test_a_demo_without_a_form_in_json_leaves_the_old_file(tmp_path, value):
    program = dspex.Predict("question -> answer")
    program.save(tmp_path / "p.json")
    old = (tmp_path / "p.json").read_bytes()
    program.demos = [{"question": value, "answer": "4"}]
    with pytest.raises(dspex.ProgramFileError, match="has no form in JSON"):
        program.save(tmp_path / "p.json")
    assert (tmp_path / "p.json").read_bytes() == old


@pytest.mark.fault("X08")
def test_a_save_over_a_link_leaves_what_it_points_to(tmp_path):
    (tmp_path / "other").write_text("precious")
    (tmp_path / "p.json").symlink_to(tmp_path / "other")
    dspex.Predict("question -> answer").save(tmp_path / "p.json")
    assert (tmp_path / "other").read_text() == "precious"
    assert not (tmp_path / "p.json").is_symlink()


def test_a_loaded_program_runs(tmp_path):
    dspex.Predict("question -> answer: int").save(tmp_path / "p.json")
    predict = dspex.Predict("question -> answer: int").load(tmp_path / "p.json")
    assert predict(question="2+2?", lm=DummyLM([{"answer": 4}])).answer == 4
