"""A reflection that sees the pictures of the runs."""

import pytest

import dspex
from dspex.teleprompt.gepa.instruction_proposal import MultiModalInstructionProposer
from dspex.testing import DummyLM

ONE, TWO = (dspex.Image(f"https://example.com/{name}.png") for name in ("one", "two"))


def urls(message):
    parts = message["content"] if isinstance(message["content"], list) else []
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def texts(message):
    return "".join(part.get("text", "") for part in message["content"])


def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
    for _, inputs, _ in trace or ():
        assert inputs["image"] == ONE
    return dspex.Prediction(score=float("Look" in str(pred)), feedback="It is a dog.")


@pytest.fixture
def looking():
    """A model that is asked to reflect, and may be shown pictures."""
    lm = DummyLM([{"new_instruction": f"Look {number} times."} for number in range(20)])
    lm._provider.capabilities = dspex.Capabilities(chat=True, n=True, images=True)
    return lm


def test_a_search_shows_the_pictures_of_the_runs_to_the_model_that_reflects(looking):
    student = dspex.Predict("image: dspex.Image -> label: str")
    example = dspex.Example(image=ONE, label="dog").with_inputs("image")
    lm = DummyLM([{"label": "cat"}] * 30)
    lm._provider.capabilities = dspex.Capabilities(chat=True, n=True, images=True)
    gepa = dspex.GEPA(
        metric,
        max_metric_calls=8,
        reflection_lm=looking,
        instruction_proposer=MultiModalInstructionProposer(),
        track_stats=True,
    )
    with dspex.context(lm=lm):
        gepa.compile(student, trainset=[example], valset=[example])
    asked = looking.history[0]["messages"][-1]
    assert urls(asked) == [ONE.url]
    assert "image: (picture 1)" in texts(asked)
    assert "It is a dog." in texts(asked)


async def test_pictures_are_shown_once_and_named_by_number_in_lists_too(looking):
    records = [
        {"Inputs": {"pages": [ONE, TWO], "text": "t"}, "Generated Outputs": {"label": "x"}, "Feedback": "a"},
        {"Inputs": {"pages": [TWO], "text": "u"}, "Generated Outputs": {"label": "y"}, "Feedback": "b"},
    ]
    with dspex.context(lm=looking):
        given = await MultiModalInstructionProposer()(
            {"a": "Do.", "b": "Do."}, {"a": records, "c": records}, ["a", "b"]
        )
    assert given == {"a": "Look 0 times."}
    asked = looking.history[-1]["messages"][-1]
    assert urls(asked) == [ONE.url, TWO.url, TWO.url]
    assert "(picture 1)" in texts(asked)
    assert "(picture 3)" in texts(asked)


async def test_without_pictures_it_is_an_ordinary_question(looking):
    records = [{"Inputs": {"text": "t"}, "Generated Outputs": "no reply", "Feedback": "a"}]
    with dspex.context(lm=looking):
        given = await MultiModalInstructionProposer()({"a": "Do."}, {"a": records}, ["a"])
    assert given == {"a": "Look 0 times."}
    assert isinstance(looking.history[-1]["messages"][-1]["content"], str)


def test_a_proposer_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchProposer"):
        dspex.teleprompt.gepa.instruction_proposal.NoSuchProposer  # noqa: B018
