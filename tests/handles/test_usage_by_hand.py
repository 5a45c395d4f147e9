"""UsageTracker counts what was paid without an LM of dspex's, beside what dspex counts itself."""

import pytest

import dspex
from dspex.testing import DummyLM

FIRST = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}, "is_byok": True}
SECOND = {"prompt_tokens": 5, "prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": 1}}


class Details:
    """As clients of providers give them: a model that can be dumped."""

    def model_dump(self):
        return {"cached_tokens": 4, "audio_tokens": None}


def test_numbers_are_added_by_model_also_nested_ones_and_a_flag_stays():
    tracker = dspex.UsageTracker()
    for model, said in [("a", FIRST), ("b", FIRST), ("a", SECOND)]:
        tracker.add_usage(model, said)
    assert tracker.get_total_tokens() == {
        "a": {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
            "is_byok": True,
        },
        "b": FIRST,
    }
    assert tracker.usage_data["a"] == [FIRST, SECOND]
    assert tracker.total.input_tokens == 19


def test_models_of_a_client_are_read_as_dictionaries():
    tracker = dspex.UsageTracker()
    for _ in range(2):
        tracker.add_usage("a", {"prompt_tokens_details": Details()})
    assert tracker.get_total_tokens()["a"] == {"prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": None}}


def test_a_program_finds_the_tracker_around_it_and_adds_what_it_paid_elsewhere():
    class Program(dspex.Module):
        def forward(self, question):
            dspex.settings.usage_tracker.add_usage("search", {"prompt_tokens": 7})
            return dspex.Prediction(answer=question)

    assert dspex.settings.usage_tracker is None
    with dspex.track_usage() as outer, dspex.context(usage_tracker=(own := dspex.UsageTracker())):
        assert dspex.settings.usage_tracker is own
        Program()(question="?")
        dspex.Predict("question -> answer")(question="?", lm=DummyLM([{"answer": "a"}]))
    assert own.get_total_tokens()["search"] == {"prompt_tokens": 7}
    assert "search" not in outer.get_total_tokens()
    assert outer.usage_data.keys() == own.usage_data.keys() - {"search"} != set()


def test_a_tracker_keeps_the_last_calls_and_counts_all():
    tracker = dspex.UsageTracker()
    for _ in range(1_200):
        tracker.add_usage("a", {"prompt_tokens": 1})
    assert len(tracker.usage_data["a"]) == 1_000
    assert tracker.get_total_tokens()["a"] == {"prompt_tokens": 1_200}


def test_a_setting_is_read_by_its_name_in_brackets_too():
    with dspex.context(max_errors=3):
        assert dspex.settings["max_errors"] == 3
    assert "max_errors" in dspex.settings
    assert "max_eror" not in dspex.settings
    with pytest.raises(AttributeError, match="no setting 'max_eror'"):
        dspex.settings["max_eror"]
