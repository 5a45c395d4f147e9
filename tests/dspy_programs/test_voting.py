"""A program as a DSPy user writes it: signatures built at run time, several completions, a vote, callbacks and usage."""

import collections

import dspex
from dspex.testing import BaseCallback, DummyLM


class Vote(dspex.Module):
    """Asks several times, in a signature made for the question, and takes the answer that comes most."""

    def __init__(self, subject, answer_type, count=3):
        super().__init__()
        signature = dspex.make_signature(
            {"question": dspex.InputField(desc=f"about {subject}"), "answer": dspex.OutputField()},
            f"Answer about {subject}.",
        )
        signature = signature.with_updated_fields("answer", type_=answer_type, desc="as short as possible")
        signature = signature.prepend("thought", dspex.OutputField(desc="think first"), str)
        signature = signature.insert(0, "language", dspex.InputField(), type_=str)
        signature = signature.append("doubt", dspex.OutputField(), bool).delete("never_there")
        self.ask = dspex.Predict(signature, n=count)

    def forward(self, question, language="English"):
        candidates = self.ask(question=question, language=language).completions
        counts = collections.Counter(candidates.answer)
        winner = counts.most_common(1)[0][0]
        first = next(candidate for candidate in candidates if candidate.answer == winner)
        return dspex.Prediction(answer=winner, thought=first.thought, votes=dict(counts))


def answers(*values):
    return [{"thought": f"It is {value}.", "answer": str(value), "doubt": "False"} for value in values]


def test_the_signature_is_what_the_changes_made_of_it():
    signature = Vote("sums", int).ask.signature
    assert list(signature.input_fields) == ["language", "question"]
    assert list(signature.output_fields) == ["thought", "answer", "doubt"]
    assert signature.output_fields["answer"].annotation is int
    assert signature.instructions == "Answer about sums."
    assert signature.signature == "language, question -> thought, answer, doubt"
    assert signature.input_fields["question"].json_schema_extra["desc"] == "about sums"


def test_the_answer_that_comes_most_wins():
    dspex.configure(lm=DummyLM(answers(4, 5, 4)))
    result = Vote("sums", int)(question="2+2?")
    assert (result.answer, result.thought, result.votes) == (4, "It is 4.", {4: 2, 5: 1})


def test_a_signature_may_be_given_with_the_call():
    dspex.configure(lm=DummyLM([{"answer": "0.5"}]))
    predict = dspex.Predict("question -> answer")
    signature = dspex.Signature("question: str, hint: str | None -> answer: float", "Divide.")
    assert predict(question="1/2?", hint=None, signature=signature).answer == 0.5


class Seen(BaseCallback):
    def __init__(self):
        self.events = []

    def on_module_start(self, call_id, instance, inputs):
        self.events.append(("module", type(instance).__name__, inputs))

    def on_module_end(self, call_id, outputs, exception=None):
        self.events.append(("module ends", outputs.answer if outputs else None, exception))

    def on_lm_start(self, call_id, instance, inputs):
        self.events.append(("lm", instance.model, None))


def test_callbacks_see_modules_and_calls():
    seen = Seen()
    with dspex.context(lm=DummyLM(answers(1, 1, 1)), callbacks=[seen]):
        Vote("sums", int)(question="1?")
    assert [event[:2] for event in seen.events] == [
        ("module", "Vote"),
        ("module", "Predict"),
        ("lm", "dummy"),
        ("module ends", 1),
        ("module ends", 1),
    ]


def test_usage_is_told_by_model():
    with dspex.context(lm=DummyLM(answers(1, 2, 1)), track_usage=True):
        assert isinstance(Vote("sums", int)(question="1?").get_lm_usage(), dict)
    with dspex.context(lm=DummyLM(answers(1, 2, 1))), dspex.track_usage() as tracker:
        Vote("sums", int)(question="1?")
    assert isinstance(tracker.get_total_tokens(), dict)
