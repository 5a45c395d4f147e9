"""DummyLM and its company behave as test suites of programs rely on."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import dspex
from dspex.testing import DummyLM, DummyVectorizer, reset


def test_answers_of_a_list_are_given_in_order_and_once():
    dspex.configure(lm=DummyLM([{"answer": "one"}, {"answer": "two"}]))
    predict = dspex.Predict("question -> answer")
    assert [predict(question="same").answer for _ in range(3)] == ["one", "two", "No more responses"]


def test_the_first_key_in_the_last_message_picks_the_answer():
    lm = DummyLM({"capital": {"answer": "Paris"}, "city": {"answer": "Lyon"}})
    with dspex.context(lm=lm):
        assert dspex.Predict("question -> answer")(question="the capital city?").answer == "Paris"
    assert lm("nothing known") == ["No more responses"]


@pytest.mark.parametrize(
    ("adapter", "text"),
    [
        (dspex.ChatAdapter(), "[[ ## answer ## ]]\nParis\n\n[[ ## n ## ]]\n1"),
        (dspex.JSONAdapter(), '{\n  "answer": "Paris",\n  "n": 1\n}'),
    ],
    ids=["chat", "json"],
)
def test_an_answer_has_its_adapters_form(adapter, text):
    assert DummyLM([{"answer": "Paris", "n": 1}], adapter=adapter)("?") == [text]


def test_n_takes_that_many_answers():
    with dspex.context(lm=DummyLM([{"answer": "a"}, {"answer": "b"}])):
        assert dspex.Predict("question -> answer", n=2)(question="?").completions.answer == ["a", "b"]


def test_a_demo_with_the_same_input_is_repeated():
    predict = dspex.Predict("question -> answer")
    predict.demos = [{"question": "one?", "answer": "1"}, {"question": "two?", "answer": "2"}]
    with dspex.context(lm=DummyLM([{"answer": "new"}], follow_examples=True)):
        assert [predict(question=text).answer for text in ("two?", "three?")] == ["2", "new"]


def test_threads_draw_from_one_list_each_answer_once():
    predict = dspex.Predict("question -> answer")
    predict.lm = DummyLM([{"answer": str(index)} for index in range(40)])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda index: predict(question=str(index)).answer, range(40)))
    assert sorted(map(int, answers)) == list(range(40))


def test_history_and_conversation_tell_what_was_sent():
    lm = DummyLM([{"answer": "Paris"}])
    with dspex.context(lm=lm):
        dspex.Predict("question -> answer")(question="capital?")
    [entry] = lm.history
    assert {"prompt", "messages", "kwargs", "outputs", "usage", "cost", "timestamp", "uuid", "model"} <= entry.keys()
    messages, outputs = lm.get_convo(0)
    assert "capital?" in messages[-1]["content"]
    assert outputs == entry["outputs"] == ["[[ ## answer ## ]]\nParis"]


def test_a_reply_that_does_not_parse_takes_a_second_answer():
    with dspex.context(lm=DummyLM([{"other": "x"}, {"other": "y"}, {"answer": "never asked for"}])):
        predict = dspex.Predict("question -> answer: int")
        with pytest.raises(dspex.AdapterParseError):
            predict(question="?")


def test_near_texts_have_near_vectors():
    near, like, far = DummyVectorizer()(["the red house", "the red horse", "0123456789"])

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert dot(near, like) > 0.5 > dot(near, far)


def test_reset_puts_every_setting_back():
    dspex.configure(lm=DummyLM([]), num_threads=3, track_usage=True)
    reset()
    assert (dspex.settings.lm, dspex.settings.num_threads, dspex.settings.track_usage) == (None, 64, False)


def test_a_copy_of_the_settings_restores_them():
    before = dspex.settings.copy()
    dspex.configure(num_threads=3)
    dspex.configure(**before)
    assert dspex.settings.num_threads == 64


def test_tracked_usage_is_on_the_outermost_prediction():
    class Outer(dspex.Module):
        def __init__(self):
            self.inner = dspex.Predict("question -> answer")

        def forward(self, question):
            return self.inner(question=question)

    dspex.configure(lm=DummyLM([{"answer": "a"}, {"answer": "b"}]), track_usage=True)
    for program in (Outer(), Outer().inner):
        usage = program(question="?").get_lm_usage()
        assert [row["total_tokens"] for row in usage.values()] == [0]


def test_an_input_of_another_type_is_warned_of_where_wanted():
    predict = dspex.Predict("n: int -> answer")
    dspex.configure(lm=DummyLM([{"answer": "a"}, {"answer": "b"}]))
    with pytest.warns(RuntimeWarning, match="'n': "):
        predict(n="three")
    with dspex.context(warn_on_type_mismatch=False):
        assert predict(n="three").answer == "b"
