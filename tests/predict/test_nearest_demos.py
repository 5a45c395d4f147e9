"""Demos chosen anew for each call, the nearest last; and majority, which chooses among answers."""

import pytest

import dspex
from dspex.program.majority import majority
from dspex.program.nearest_demos import NearestDemos
from dspex.testing import DummyLM, DummyVectorizer

WORDS = ["a red apple", "a red cherry", "a grey stone", "a grey rock", "a blue sea"]
DEMOS = [{"text": text, "answer": text.split()[1]} for text in WORDS]


async def vectors(texts):
    return DummyVectorizer()(texts)


def predictor(selector):
    made = dspex.Predict("text -> answer")
    made.demos, made.demo_selector = list(DEMOS), selector
    return made


def shown(program, text="a red plum", **given):
    lm = DummyLM([{"answer": "red"}])
    with dspex.context(lm=lm):
        program(text=text, **given)
    asked = [message["content"] for message in lm.history[-1]["messages"] if message["role"] == "user"]
    return [next(word for word in [*WORDS, text] if word in one) for one in asked[:-1]]


@pytest.mark.parametrize(
    "vectorizer",
    [None, DummyVectorizer(), dspex.Embedder(DummyVectorizer()), vectors],
    ids=["none", "DummyVectorizer", "Embedder", "function"],
)
def test_the_nearest_demos_are_shown_and_the_nearest_of_them_last(vectorizer):
    assert shown(predictor(NearestDemos(2, vectorizer)), "a red apples") == ["a red cherry", "a red apple"]


def test_with_shapes_texts_of_one_form_are_near_whatever_they_say():
    program = dspex.Predict("text -> answer")
    program.demos = [{"text": text, "answer": "?"} for text in ("12.05.2001", "May 12, 2001", "12 May")]
    program.demo_selector = NearestDemos(1, dspex.CharacterVectorizer(512, 3, shapes=True))
    lm = DummyLM([{"answer": "red"}] * 2)
    with dspex.context(lm=lm):
        program(text="Oct 30, 1999")
        program(text="30.10.1999")
    shown = [call["messages"][1]["content"] for call in lm.history]
    assert "May 12, 2001" in shown[0]
    assert "12.05.2001" in shown[1]


def test_words_that_all_demos_have_make_none_of_them_near():
    texts = ["the the the wheat", "the wheat and its oil", "the oil price"]
    program = dspex.Predict("text -> answer")
    program.demos = [{"text": text, "answer": "?"} for text in texts]
    program.demo_selector = NearestDemos(1, dspex.WordVectorizer())
    lm = DummyLM([{"answer": "red"}])
    with dspex.context(lm=lm):
        program(text="the the the oil")
    assert texts[2] in lm.history[-1]["messages"][1]["content"]


def test_a_vectorizer_of_words_that_knows_none_says_how_it_gets_to_know_them():
    with pytest.raises(dspex.ConfigurationError, match="fitted"):
        dspex.WordVectorizer()(["a"])


def test_a_demo_of_the_same_inputs_is_left_out():
    assert "a grey rock" not in shown(predictor(NearestDemos(2)), "a grey rock")


def test_runs_and_labelled_demos_have_a_limit_each():
    program = predictor(NearestDemos(4, None, max_bootstrapped_demos=1, max_labeled_demos=2))
    runs = [{**demo, "augmented": True, "answer": f"run {demo['answer']}"} for demo in DEMOS[:3]]
    program.demos = [*DEMOS, *runs]
    lm = DummyLM([{"answer": "red"}])
    with dspex.context(lm=lm):
        program(text="a red plum")
    answers = [message["content"] for message in lm.history[-1]["messages"] if message["role"] == "assistant"]
    assert [("run" in answer) for answer in answers] == [False, True]


def test_demos_that_are_changed_are_read_again():
    program = predictor(NearestDemos(1))
    assert shown(program) == ["a red apple"] or shown(program) == ["a red cherry"]
    program.demos.append({"text": "a red plumb", "answer": "red"})
    program.demos = [{"text": "a blue sea", "answer": "blue"}]
    assert shown(program) == ["a blue sea"]


@pytest.mark.parametrize(
    "vectorizer",
    [None, DummyVectorizer(50, 3, shapes=True), dspex.WordVectorizer(9), dspex.Embedder("openai/small", batch_size=9)],
)
def test_a_saved_selector_is_there_again_after_loading(tmp_path, vectorizer):
    selector = NearestDemos(2, vectorizer, 1, 2)
    predictor(selector).save(tmp_path / "p.json")
    loaded = dspex.Predict("text -> answer").load(tmp_path / "p.json")
    assert loaded.demo_selector.dump_state() == selector.dump_state()
    assert len(loaded.demos) == 5


def test_a_function_that_no_file_holds_is_asked_for_and_a_predictor_that_has_it_loads(tmp_path):
    predictor(NearestDemos(2, vectors)).save(tmp_path / "p.json")
    fresh = dspex.Predict("text -> answer")
    with pytest.raises(dspex.ProgramFileError, match=r"vectors, which no file can hold.*NearestDemos\(2, vectorizer\)"):
        fresh.load(tmp_path / "p.json")
    assert fresh.demos == []
    fresh.demo_selector = NearestDemos(2, vectors)
    assert shown(fresh.load(tmp_path / "p.json"), "a red apples")[-1] == "a red apple"


def test_a_reset_copy_chooses_no_more():
    assert predictor(NearestDemos(2)).reset_copy().demo_selector is None


def test_less_than_one_demo_is_refused():
    with pytest.raises(dspex.ConfigurationError, match="at least one demo"):
        NearestDemos(0)


# majority


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        (["Paris", "Rome", "paris."], "Paris"),
        (["A", "B", "A"], "A"),
        (["B", "A"], "B"),
        (["1.5", "15", "15"], "15"),
        ([3, 4, 4], 4),
        (["", "x", ""], "x"),
        (["", ""], ""),
    ],
)
def test_the_answer_that_most_share_wins_and_of_equals_the_first(answers, chosen):
    assert majority([dspex.Prediction(why="w", answer=answer) for answer in answers]).answer == chosen


def test_completions_vote_on_the_last_output_or_a_field_of_ones_choice():
    made = dspex.Prediction.from_completions({"kind": ["x", "y", "y"], "answer": ["1", "1", "2"]})
    assert (majority(made).answer, majority(made.completions, field="kind").answer) == ("1", "1")
    assert majority(made, normalize=None).kind == "x"
    assert majority(dspex.Prediction(answer="alone")).answer == "alone"
    with pytest.raises(dspex.ConfigurationError, match="at least one"):
        majority([])


@pytest.mark.parametrize("field", ["kind", None])
def test_a_vote_on_a_field_that_is_not_there_is_an_error(field):
    with pytest.raises(dspex.ConfigurationError, match="does not have"):
        majority([{"answer": "1"} if field else {}, {}], field=field)
