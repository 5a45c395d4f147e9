"""Programs that bring parts of their own: an LM that says what it can do, callbacks added later, passages as records."""

import pytest

import dspex
from dspex.dsp.utils import deduplicate, dotdict
from dspex.testing import BaseCallback, DummyLM

THOUGHT = {"content": "[[ ## answer ## ]]\nParis", "reasoning_content": "It is the capital."}


class Answer(dspex.Signature):
    """Answer."""

    question: str = dspex.InputField()
    reasoning: dspex.Reasoning = dspex.OutputField()
    answer: str = dspex.OutputField()


class Thinker(dspex.BaseLM):
    """Says of itself that it thinks, by an attribute that it has only later."""

    def __init__(self, thinks):
        super().__init__("own/thinker")
        self.thinks, self.prompts = thinks, []

    @property
    def supports_reasoning(self):
        return self.thinks or super().supports_reasoning

    def forward(self, prompt=None, messages=None, **kwargs):
        self.prompts.append(messages[0]["content"])
        message = THOUGHT if self.thinks else {"content": f"[[ ## reasoning ## ]]\nBy heart.\n\n{THOUGHT['content']}"}
        return {"choices": [{"message": message, "finish_reason": "stop"}]}


@pytest.mark.parametrize(("thinks", "thought"), [(True, "It is the capital."), (False, "By heart.")])
def test_an_lm_that_says_that_it_thinks_is_not_asked_for_its_thoughts_in_text(thinks, thought):
    lm = Thinker(thinks)
    prediction = dspex.Predict(Answer)(question="Capital of France?", lm=lm)
    assert (prediction.reasoning, prediction.answer) == (thought, "Paris")
    assert ("[[ ## reasoning ## ]]" in lm.prompts[0]) is not thinks
    assert (lm.supports_reasoning, lm.copy().supports_reasoning) == (thinks, thinks)


def test_a_double_that_says_what_it_can_do_is_handed_tools_and_a_schema():
    class Able(DummyLM):
        supports_function_calling = True
        supports_response_schema = True

    lm = Able([{"answer": "4"}] * 2)
    assert (lm.capabilities.tools, lm.capabilities.json_schema, lm.capabilities.reasoning) == (True, True, None)
    assert DummyLM([]).capabilities.tools is not True
    assert not dspex.Fallback(lm, DummyLM([])).supports_function_calling


class Counting(BaseCallback):
    def __init__(self):
        self.modules = 0

    def on_module_start(self, call_id, instance, inputs):
        self.modules += 1


def test_callbacks_are_added_to_those_that_are_set():
    first, second, third = Counting(), Counting(), Counting()
    assert dspex.settings.callbacks == []
    dspex.settings.callbacks.append(first)
    dspex.configure(lm=DummyLM([{"answer": "4"}] * 2), callbacks=dspex.settings.callbacks + [second])  # noqa: RUF005  as programs have it
    dspex.Predict("question -> answer")(question="2+2?")
    with dspex.context(callbacks=[*dspex.settings.callbacks, third]):
        dspex.Predict("question -> answer")(question="2+2?")
    assert (first.modules, second.modules, third.modules) == (2, 2, 1)


def test_callbacks_that_were_added_are_of_their_app_only():
    dspex.settings.callbacks.append(Counting())
    other = dspex.App()
    assert (other.settings.callbacks, len(dspex.settings.callbacks)) == ([], 1)
    assert "callbacks" not in repr(other.settings)


def test_passages_that_are_records_with_a_long_text_are_found_and_kept_once():
    dspex.configure(rm=lambda query, k: [dotdict(long_text=f"{query} {n}", score=1.0) for n in range(k)])
    passages = []
    for query in ("tides", "harbours", "tides"):
        passages = deduplicate(passages + dspex.Retrieve(k=2)(query).passages)
    assert passages == ["tides 0", "tides 1", "harbours 0", "harbours 1"]


def test_an_lm_comes_back_from_its_state():
    lm = dspex.LM.load_state(dspex.LM("acme/m", "text", temperature=0.5, cache=False).dump_state())
    assert (lm.model, lm.model_type, lm.kwargs["temperature"], lm.cache) == ("acme/m", "text", 0.5, False)


def test_a_call_in_the_history_says_of_what_type_its_model_is():
    lm = DummyLM([{"answer": "4"}])
    dspex.Predict("question -> answer")(question="2+2?", lm=lm)
    assert lm.history[-1]["model_type"] == "chat"
