"""Programs saved by DSPy 3.4.1: their demos with pictures, sounds and files, which stand there as marked texts."""

import json

import pytest

import dspex
from dspex.testing import DummyLM

pydantic = pytest.importorskip("pydantic")

PNG = "data:image/png;base64,iVBORw0KGgo="
TEXT = "data:text/plain;base64,aGk="


def marked(part):
    return f"<<CUSTOM-TYPE-START-IDENTIFIER>>{json.dumps([part])}<<CUSTOM-TYPE-END-IDENTIFIER>>"


IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}
FILE = {"type": "file", "file": {"file_data": TEXT, "filename": "n.txt"}}


class Page(pydantic.BaseModel):
    """A model with a picture in it."""

    picture: dspex.Image
    title: str


KINDS = [
    ("dspex.Image", marked(IMAGE), [IMAGE]),
    ("dspex.Image", marked(IMAGE).replace('"', "'"), [IMAGE]),
    ("list[dspex.Image]", [marked(IMAGE)] * 2, [IMAGE, IMAGE]),
    ("Page", {"picture": marked(IMAGE), "title": "t"}, [IMAGE]),
    ("dspex.Audio", marked(SOUND), [SOUND]),
    ("dspex.File", marked(FILE), [FILE]),
    ("dspex.Image | None", marked(IMAGE), [IMAGE]),
]


def saved(tmp_path, demo):
    """A file as DSPy writes it."""
    fields = [{"prefix": f"{name.capitalize()}:", "description": f"${{{name}}}"} for name in demo]
    state = {"traces": [], "train": [], "demos": [demo], "lm": None}
    state |= {"signature": {"instructions": "Say what it is.", "fields": fields}}
    state |= {"metadata": {"dependency_versions": {"python": "3.11", "dspy": "3.4.1", "cloudpickle": "3.1"}}}
    (tmp_path / "program.json").write_text(json.dumps(state))
    return tmp_path / "program.json"


def shown(program, **inputs):
    """The parts of the demo's question, as the model gets them."""
    lm = DummyLM([{"answer": "x"}])
    program(**inputs, lm=lm)
    content = lm.history[-1]["messages"][1]["content"]
    return [part for part in content if part["type"] != "text"] if isinstance(content, list) else content


@pytest.mark.parametrize(("kind", "value", "parts"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_what_a_demo_shows_goes_to_the_model_as_it_is(tmp_path, kind, value, parts):
    path = saved(tmp_path, {"seen": value, "answer": "a"})
    program = dspex.Predict(f"seen: {kind} -> answer").load(path)
    with dspex.context(warn_on_type_mismatch=False):
        assert shown(program, seen=None) == parts
        program.save(path)  # and as well out of a file of ours
        assert shown(dspex.Predict(f"seen: {kind} -> answer").load(path), seen=None) == parts


@pytest.mark.parametrize("text", [marked(IMAGE), marked({"type": "text"}), marked(IMAGE)[:-1]])
def test_a_text_field_keeps_its_text(tmp_path, text):
    program = dspex.Predict("seen -> answer").load(saved(tmp_path, {"seen": text, "answer": "a"}))
    assert shown(program, seen="?") == f"[[ ## seen ## ]]\n{text}"


@pytest.mark.parametrize("text", ["no picture", marked({"type": "image_url"}), marked(IMAGE).replace("[", "{", 1)])
def test_what_is_no_part_stays_what_it_is(tmp_path, text):
    program = dspex.Predict("seen: dspex.Image -> answer").load(saved(tmp_path, {"seen": text, "answer": "a"}))
    assert program.demos[0]["seen"] == text
