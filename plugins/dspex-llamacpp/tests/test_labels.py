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


REVIEW = "Tell whether the review is positive or negative.\n\nReview: I could not stop laughing.\nTone:"


def grammar(*labels):
    choices = " | ".join(f'"{label}"' for label in labels)
    return f'root ::= " " ({choices}) "\\n"'


async def test_a_label_and_the_blank_before_it_are_one_token(model, ask):
    """With no demonstration the blank alone is likelier, and what comes after it says nothing of the review."""
    reply = await model.complete(ask(REVIEW, grammar=grammar("positive", "negative"), max_tokens=8, logprobs=1))
    first = reply.choices[0].logprobs["content"][0]["token"]
    assert first in {" positive", " negative"}


async def test_labels_that_no_token_has_with_a_blank_are_given_all_the_same(model, ask):
    reply = await model.complete(ask(REVIEW, grammar=grammar("1", "2"), max_tokens=8, stop=["\n"]))
    assert reply.choices[0].text in {" 1", " 2"}


async def test_biases_of_the_users_own_are_honoured_beside(model, ask):
    bias = {" positive": -100.0}
    made = grammar("positive", "negative")
    reply = await model.complete(ask(REVIEW, grammar=made, logit_bias=bias, max_tokens=8, stop=["\n"]))
    assert reply.choices[0].text == " negative"
