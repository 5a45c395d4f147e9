"""What differs from DSPy on purpose, as docs/differences.md says it; the rest of its rows are tested where they belong."""

import json

import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.testing import DummyLM

REFUSED = {
    "a field twice": (lambda: dspex.Signature("a, a -> b"), dspex.SignatureError),
    "a default": (lambda: dspex.Signature("a: int = 3 -> b"), dspex.SignatureError),
    "a star": (lambda: dspex.Signature("*a -> b"), dspex.SignatureError),
    "no output": (lambda: dspex.Signature("a ->"), dspex.SignatureError),
    "a reserved name": (lambda: dspex.Signature("config -> b"), dspex.SignatureError),
    "an unknown setting": (lambda: dspex.configure(max_trace_size=3), dspex.ConfigurationError),
    "an unknown argument": (lambda: dspex.Evaluate(devset=[], devsets=[]), TypeError),
    "no provider": (lambda: dspex.LM("gpt-4o"), dspex.ConfigurationError),
    "ragged completions": (lambda: dspex.Prediction.from_completions([{"a": 1}, {"b": 2}]), ValueError),
    "an unknown input": (lambda: dspex.Predict("a -> b")(a="x", c="y"), dspex.InputError),
    "a missing input": (dspex.Predict("a -> b"), dspex.InputError),
    "predicted outputs": (lambda: dspex.Predict("a -> b")(a="x", prediction={"type": "content"}), dspex.InputError),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused(what):
    act, error = REFUSED[what]
    with dspex.context(lm=DummyLM([{"b": "x"}])), pytest.raises(error):
        act()


def test_predicted_outputs_go_with_the_parameters():
    lm = DummyLM([{"b": "x"}])
    with dspex.context(lm=lm):
        dspex.Predict("a -> b")(a="x", config={"prediction": {"type": "content", "content": "x"}})
    assert lm.history[-1]["kwargs"]["prediction"] == {"type": "content", "content": "x"}


@pytest.mark.parametrize("key", ["api_base", "base_url", "api_key", "headers", "model_list"])
def test_no_endpoint_is_taken_from_a_file(tmp_path, key):
    program = dspex.Predict("a -> b")
    program.lm = dspex.LM("openai/x", temperature=0.5)
    program.save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    content["lm"][key] = {"x": "http://elsewhere"} if key == "headers" else "http://elsewhere"
    (tmp_path / "p.json").write_text(json.dumps(content))
    lm = dspex.Predict("a -> b").load(tmp_path / "p.json").lm
    assert lm.kwargs["temperature"] == 0.5
    assert "elsewhere" not in repr([vars(lm), lm._connection])


def test_a_predict_does_not_go_by_an_lms_own_call():
    class Provider:
        capabilities = dspex.Capabilities(chat=True)

        async def complete(self, request):
            return LMResponse.from_text("[[ ## b ## ]]\nfrom the provider")

    class Own(dspex.LM):
        def __call__(self, *args, **kwargs):
            return ["[[ ## b ## ]]\nfrom the call"]

    assert dspex.Predict("a -> b")(a="x", lm=Own("x/y", provider=Provider())).b == "from the provider"


def test_a_picture_at_a_url_is_not_fetched_unasked():
    url = "http://127.0.0.1:9/private.png"
    assert dspex.Image.from_url(url).url == url
    with pytest.raises(dspex.InputError):
        dspex.Image.from_url(url, download=True)


def test_nothing_is_traced_or_kept_by_modules_unasked():
    predict, trace = dspex.Predict("a -> b"), []
    with dspex.context(lm=DummyLM([{"b": "x"}] * 2)):
        predict(a="x")
        assert not dspex.settings.trace
        with dspex.context(trace=trace):
            predict(a="y")
    assert [(one, inputs, made.b) for one, inputs, made in trace] == [(predict, {"a": "y"}, "x")]
    assert not hasattr(predict, "history")


def test_names_types_and_scores_count():
    class Task(dspex.Signature):
        """Do it."""

        a: str = dspex.InputField()
        b: int = dspex.OutputField()

    assert Task.with_instructions("Now.").__name__ == "Task"
    assert not Task.equals(Task.with_updated_fields("b", str))
    assert not dspex.Prediction(score=0)
    example = dspex.Example()
    example.keys = 3
    assert example["keys"] == 3


def test_a_compiled_part_is_found_and_saved():
    outer = dspex.Module()
    outer.part = dspex.Predict("a -> b")
    outer.part._compiled = True
    outer.part.demos = [{"a": "x", "b": "y"}]
    assert outer.dump_state()["part"]["demos"] == outer.part.demos
