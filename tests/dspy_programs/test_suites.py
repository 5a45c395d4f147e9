"""What programs written for DSPy, and tests of such programs, do beside calling modules."""

import copy
import logging

import pytest

import dspex
from dspex.testing import DummyLM


def test_a_list_given_as_the_prompt_is_the_messages():
    lm = DummyLM([{"answer": "yes"}])
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Well?"}]
    assert lm(turns) == ["[[ ## answer ## ]]\nyes"]
    assert lm.history[-1]["messages"] == turns


def test_an_optimizer_of_one_s_own_has_its_settings_by_name():
    class Twice(dspex.teleprompt.Teleprompter):
        def __init__(self, times, metric):
            super().__init__()
            self.times, self.metric = times, metric

        def compile(self, student, *, trainset):
            return student

    optimizer = Twice(2, None)
    assert optimizer.get_params() == {"times": 2, "metric": None}
    program = dspex.Predict("question -> answer")
    assert optimizer.compile(program, trainset=[]) is program


def test_one_script_of_a_dummy_serves_several_signatures():
    lm = DummyLM([{"reasoning": "r", "answer": "four", "score": 4, "note": "n"}] * 4)
    with dspex.context(lm=lm):
        assert dspex.Predict("question -> answer")(question="?").toDict() == {"answer": "four"}
        assert dspex.Predict("question -> score: int")(question="?").score == 4
        assert dspex.ChainOfThought("answer -> note")(answer="?").toDict() == {"reasoning": "r", "note": "n"}
    assert "note" in lm("A prompt of the user's own.")[0]
    assert len(lm.history) == 4


def test_what_an_mcp_or_other_tool_raises_is_a_runtime_error_too():
    with pytest.raises(RuntimeError, match="no such city"):
        raise dspex.ToolError("no such city")


def test_what_threads_of_a_parallel_pay_counts_for_the_tracker_around_it():
    def paid(tokens):
        dspex.settings.usage_tracker.add_usage("search", {"prompt_tokens": tokens})

    with dspex.track_usage() as usage:
        dspex.Parallel(num_threads=2)([(paid, {"tokens": 50}), (paid, {"tokens": 80})])
    assert usage.get_total_tokens() == {"search": {"prompt_tokens": 130}}


def test_a_suite_begins_each_test_with_the_settings_as_they_were_at_first():
    from dspex.dsp.utils.settings import DEFAULT_CONFIG

    dspex.configure(lm=DummyLM([]), track_usage=True, num_threads=3, prices={"m": 1}, adapter=dspex.JSONAdapter())
    dspex.configure(**copy.deepcopy(DEFAULT_CONFIG), inherit_config=False)
    assert dspex.settings.config == DEFAULT_CONFIG
    assert dspex.settings.lm is None


class Heard(dspex.ChatAdapter):
    """Counts calls and looks into their arguments by name, as DSPy gives them."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __call__(self, lm, **given):
        self.asked.append((given["lm_kwargs"], given["inputs"]))
        return super().__call__(lm, **given)


def test_an_adapters_own_call_is_given_its_arguments_by_name():
    adapter = Heard()
    dspex.configure(lm=DummyLM([{"answer": "yes"}]), adapter=adapter)
    assert dspex.Predict("question -> answer", temperature=0.5)(question="?").answer == "yes"
    assert adapter.asked == [({"temperature": 0.5}, {"question": "?"})]


def test_litellms_log_is_turned_off_and_on():
    log = logging.getLogger("LiteLLM")
    dspex.disable_litellm_logging()
    assert log.level == logging.ERROR
    dspex.enable_litellm_logging()
    assert log.level == logging.DEBUG
    log.setLevel(logging.NOTSET)
