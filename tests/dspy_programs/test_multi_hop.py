"""A program as a DSPy user writes it: questions that need several searches, with a model of its own for the last step."""

import dspex
from dspex.testing import DummyLM

CORPUS = {
    "Lake Turkana": "Lake Turkana lies in the Kenyan Rift Valley.",
    "Kenya": "Kenya's capital is Nairobi.",
    "Nairobi": "Nairobi was founded in 1899.",
}


def search(query, k=1):
    """Passages whose title is in the query."""
    return [text for title, text in CORPUS.items() if title.lower() in query.lower()][:k]


class NextQuery(dspex.Signature):
    """Write a search query that finds what the notes still lack."""

    question = dspex.InputField()
    notes: list[str] = dspex.InputField(desc="what is known so far")
    query = dspex.OutputField()


class Hop(dspex.Module):
    def __init__(self):
        self.write = dspex.ChainOfThought(NextQuery)

    def forward(self, question, notes):
        query = self.write(question=question, notes=notes).query
        return notes + [passage for passage in search(query) if passage not in notes]


class MultiHop(dspex.Module):
    def __init__(self, hops=3):
        super().__init__()
        self.hops = [Hop() for _ in range(hops)]
        self.answer = dspex.Predict("question, notes: list[str] -> answer: str, confidence: float")

    def forward(self, question, judge=None):
        notes = []
        for hop in self.hops:
            notes = hop(question=question, notes=notes)
        with dspex.context(lm=judge or dspex.settings.lm):
            found = self.answer(question=question, notes=notes)
        return dspex.Prediction(notes=notes, **found)


QUERIES = [
    {"reasoning": "Where is it?", "query": "Lake Turkana"},
    {"reasoning": "Which capital?", "query": "capital of Kenya"},
    {"reasoning": "Again.", "query": "the capital of Kenya"},
]


def test_notes_grow_from_hop_to_hop_and_the_answer_comes_from_the_judge():
    lm, judge = DummyLM(QUERIES), DummyLM([{"answer": "Nairobi", "confidence": "0.9"}])
    dspex.settings.configure(lm=lm)
    result = MultiHop()(question="What is the capital of the country of Lake Turkana?", judge=judge)
    assert (result.answer, result.confidence) == ("Nairobi", 0.9)
    assert result.notes == [CORPUS["Lake Turkana"], CORPUS["Kenya"]]
    assert (len(lm.history), len(judge.history)) == (3, 1)
    assert CORPUS["Lake Turkana"] in lm.history[1]["messages"][-1]["content"]
    assert dspex.settings.lm is lm


def test_predictors_are_named_by_their_place_and_take_a_model():
    program = MultiHop(hops=2)
    names = [name for name, _ in program.named_predictors()]
    assert sorted(names) == ["answer", "hops[0].write.predict", "hops[1].write.predict"]
    lm = DummyLM([*QUERIES[:2], {"answer": "x", "confidence": "1"}])
    program.set_lm(lm)
    assert program.get_lm() is lm
    assert program(question="q").answer == "x"
