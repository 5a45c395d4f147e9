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
    "an LM that is none": (lambda: dspex.ChatAdapter()(str, {}, dspex.Signature("a -> b"), [], {"a": "x"}), ValueError),
    "entries of a cache": (lambda: dspex.configure_cache(memory_max_entries=9), dspex.ConfigurationError),
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
    assert not hasattr(predict, "inspect_history")


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


class Talking(dspex.BaseLM):
    """Thinks, and has log-probabilities; `asked` has the parameters of its calls."""

    supports_reasoning = True

    def __init__(self):
        super().__init__("x/y")
        self.asked = []

    def forward(self, prompt=None, messages=None, **kwargs):
        self.asked.append(kwargs)
        message = {"content": "[[ ## b ## ]]\nyes", "reasoning_content": "So it is."}
        return {"choices": [{"message": message, "logprobs": {"tokens": ["yes"]}}]}


def test_thoughts_are_taken_and_not_asked_for_and_log_probabilities_stand_in_the_history():
    lm = Talking()
    prediction = dspex.Predict("a -> thoughts: dspex.Reasoning, b")(a="x", lm=lm)
    assert ({**prediction}, lm.asked) == ({"thoughts": "So it is.", "b": "yes"}, [{}])
    assert lm.history[-1]["outputs"][0]["logprobs"] == {"tokens": ["yes"]}


def test_tools_among_the_parameters_are_sent_though_calls_are_asked_for_in_text():
    lm, tools = Talking(), [{"type": "function", "function": {"name": "look"}}]
    dspex.Predict("a -> b")(a="x", lm=lm, config={"tools": tools, "tool_choice": "none"})
    assert lm.asked == [{"tools": tools, "tool_choice": "none"}]


class Failing(dspex.BaseLM):
    """Raises an error of its own."""

    def forward(self, prompt=None, messages=None, **kwargs):
        raise KeyError("mine")


def test_an_own_lms_own_error_is_the_cause_of_ours():
    with dspex.context(lm=Failing("x/y", num_retries=0)), pytest.raises(dspex.PluginError, match="mine") as caught:
        dspex.Predict("a -> b")(a="x")
    assert type(caught.value.__cause__) is KeyError


class Replies:
    """An LM that gives these texts, one a call, and can call functions."""

    capabilities = dspex.Capabilities(chat=True, tools=True)

    def __init__(self, *texts):
        self.texts = list(texts)

    async def complete(self, request):
        return LMResponse.from_text(self.texts.pop(0))


BROKEN = '[[ ## b ## ]]\n[{"x": 1]'


@pytest.mark.parametrize(
    ("adapter", "texts", "wanted"),
    [
        (dspex.ChatAdapter(), [BROKEN, '{"b": [{"x": 2}]}'], [{"x": 2}]),
        (dspex.ChatAdapter(use_json_adapter_fallback=False), [BROKEN, '[[ ## b ## ]]\n[{"x": 3}]'], [{"x": 3}]),
    ],
)
def test_json_that_ends_badly_is_asked_for_again(adapter, texts, wanted):
    lm = dspex.LM("x/y", provider=Replies(*texts))
    with dspex.context(lm=lm, adapter=adapter):
        assert dspex.Predict("a -> b: list[dict[str, int]]")(a="x").b == wanted


def test_no_calls_are_an_empty_list_of_them():
    signature = dspex.Signature("tools: list[dspex.Tool], a -> b, tool_calls: dspex.ToolCalls")
    adapter = dspex.JSONAdapter(use_native_function_calling=True)
    lm = dspex.LM("x/y", provider=Replies('{"b": "done"}'))
    [found] = adapter(lm, {}, signature, [], {"tools": [dspex.Tool(len, name="count")], "a": "x"})
    assert (found["b"], len(found["tool_calls"])) == ("done", 0)


def test_a_part_of_an_agent_is_a_predict():
    agent = dspex.ReAct("a -> b", tools=[])
    agent.react = lambda **inputs: dspex.Prediction()
    with pytest.raises(AttributeError, match="signature"):
        agent(a="x")


def test_an_example_prints_as_it_is_typed():
    assert repr(dspex.Example(a=1).with_inputs("a")) == "Example(a=1) (inputs: a)"


def test_a_value_in_tags_is_read_as_it_stands():
    text = "a &amp; b < c &lt; d"
    assert dspex.XMLAdapter().parse(dspex.Signature("a -> b"), f"<b>{text}</b>") == {"b": text}
