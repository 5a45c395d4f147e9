"""What a run learns of how the model weighed the labels of an output."""

from typing import Literal

import dspex


class Review(dspex.Signature):
    """Tell whether the review is positive or negative."""

    review: str = dspex.InputField()
    tone: Literal["positive", "negative"] = dspex.OutputField()


class Weighed(dspex.Optimizer):
    """Runs the student with a bias of nothing, and with one that no reply can stand against."""

    async def run(self, ctx):
        biases = ({"positive": 0.0, "negative": 0.0}, {"positive": -99.0})
        made = [ctx.student.with_params({"self": {"choice_bias": {"tone": bias}}}) for bias in biases]
        self._plain, self._biased = await ctx.evaluate_all([(one, ctx.train) for one in made], trace=True)
        return ctx.student


async def test_both_labels_are_weighed_and_a_bias_is_laid_on_the_same_replies(tmp_path):
    rows = [dspex.Example(review=text).with_inputs("review") for text in ("I loved it.", "A waste of time.")]
    student, optimizer = dspex.Predict(Review, max_tokens=8), Weighed()
    student.demos = [{"review": "Great fun.", "tone": "positive"}, {"review": "Very bad.", "tone": "negative"}]
    async with dspex.App(lm=dspex.LM("llamacpp/gemma-3-270m", context=512, cache=False)):
        program = await optimizer.acompile(student, trainset=rows, run_dir=tmp_path / "run")
    scores = [row.trace[0].scores["tone"] for row in optimizer._plain]
    assert all(set(one) == {"positive", "negative"} and max(one.values()) <= 1e-6 for one in scores)
    assert scores[0]["positive"] - scores[0]["negative"] > scores[1]["positive"] - scores[1]["negative"]
    assert [row.outputs["tone"] for row in optimizer._biased] == ["negative", "negative"]
    assert program.ledger.paid == 2
