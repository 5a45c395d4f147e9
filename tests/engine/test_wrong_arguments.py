"""What cannot be meant is refused by a compile before anything is made or paid."""

import pytest

import dspex


class Wrong(dspex.Optimizer):
    """Made with what cannot be meant."""

    def __init__(self, **given):
        vars(self).update(given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"metric_threshold": "half"}, "metric_threshold='half': a number"),
        ({"failure_score": "none"}, "failure_score='none': a number"),
        ({"teacher_settings": 3}, "teacher_settings=3: settings by name"),
        ({"teacher_settings": {"adaptr": None}}, "no setting 'adaptr'. Did you mean 'adapter'"),
    ],
    ids=str,
)
async def test_what_an_optimizer_is_made_with_is_looked_at_before_anything_is_paid(lab, app, given, says):
    class Outer(lab.Search):
        async def run(self, ctx):
            await ctx.compile(Wrong(**given), ctx.student, label="inner")

    for optimizer in (Wrong(**given), Outer()):
        model = lab.Model()
        with pytest.raises(dspex.ConfigurationError, match=says):
            await lab.compiled(model, optimizer=optimizer)
        assert model.prompts == []


@pytest.mark.parametrize("value", [float("nan"), "\ud800", object()], ids=["nan", "half a letter", "object"])
def test_an_example_that_no_journal_can_tell_from_others_is_named(lab, app, value):
    odd = dspex.Example(question=value, answer="1").with_inputs("question")
    with pytest.raises(dspex.ConfigurationError, match=r"Example 1 of the valset: Field .*question"):
        lab.Search().start(
            dspex.Predict("question -> answer"), trainset=lab.examples(3), valset=[*lab.examples(1, 50), odd]
        )


@pytest.mark.parametrize("student", [dspex.Predict, None, "question -> answer"], ids=str)
def test_a_student_is_a_program(lab, app, student):
    with pytest.raises(dspex.ConfigurationError, match="needs a program with at least one predictor"):
        lab.Search().start(student, **lab.DATA)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trainset": []}, "trainset is empty"),
        (
            {"trainset": [dspex.Example(question="n=1")]},
            r"Example 0 of the trainset declares no inputs: call \.with_inputs",
        ),
        (
            {"trainset": [dspex.Example(question="n=1", seen=float("nan")).with_inputs("question")]},
            r"Field 'seen' of Example\(question='n=1', seen=nan\).* cannot be kept.*: nan has no JSON form",
        ),
        (
            {"valset": [dspex.Example(question="n=\ud800", answer=1).with_inputs("question")]},
            r"Field 'question' of Example\(question='n=.ud800', answer=1\).* cannot be kept.*surrogates not allowed",
        ),
        ({"setz": 3}, "no argument 'setz'. Did you mean 'sets'"),
        ({"holdout": 2}, "holdout=2"),
        ({"executor": "dask"}, "executor"),
    ],
    ids=["empty", "no inputs", "not kept", "not text", "misspelt", "holdout", "executor"],
)
async def test_wrong_arguments_are_refused_before_anything_is_made(lab, app, tmp_path, options, says):
    with pytest.raises(dspex.DspexError, match=says):
        await lab.compiled(lab.Model(), run_dir=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
