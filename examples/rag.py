"""A whole program: answers out of documents, found by their words and by their meaning, on the embedded models.

python examples/rag.py
"""

import dspex
from dspex_hybrid import fused

HANDBOOK = (
    "The meeting room Aurora is on the third floor and seats twelve people.",
    "The meeting room Basalt is in the basement and seats four people.",
    "Parental leave at our company lasts sixteen weeks, fully paid.",
    "New laptops are ordered from Mirela in the purchasing department.",
    "The canteen serves lunch between half past eleven and two o'clock.",
    "Travel expenses are repaid within ten days after the form was sent.",
    "The office in Lisbon was opened in 2019 by our founder Tomas Brandt.",
    "The office in Oslo was opened in 2014 and has a sauna.",
    "Error E-4711 means that the printer has run out of toner.",
    "Error E-1138 means that the door badge has expired.",
    "Holidays must be requested four weeks ahead, from your team lead.",
    "Bicycles may be parked in the garage, next to the yellow gate.",
    "The fire alarm is tested on the first Monday of each month at noon.",
    "Visitors get a green badge from the reception and wear it all day.",
)
# A question, its answer, and which entry of the handbook holds it.
QUESTIONS = (
    ("How many people fit into Aurora?", "twelve", 0),
    ("How long can I stay at home with my newborn?", "sixteen weeks", 2),
    ("Who gets me a new computer?", "Mirela", 3),
    ("When can I eat?", "between half past eleven and two o'clock", 4),
    ("What does E-4711 mean?", "the printer has run out of toner", 8),
    ("How soon do I get the money for my trip back?", "within ten days", 5),
    ("Where do I leave my bike?", "in the garage, next to the yellow gate", 11),
    ("Who started the office in Lisbon?", "Tomas Brandt", 6),
    ("What does E-1138 mean?", "the door badge has expired", 9),
    ("Which colour is a guest's badge?", "green", 13),
)
SHOWN = 5  # questions that are shown to the model with their answers; the others are asked


class FromContext(dspex.Signature):
    """Answer the question with words of the context."""

    context: str = dspex.InputField()
    question: str = dspex.InputField()
    answer: str = dspex.OutputField()


class Rag(dspex.Module):
    """Finds the best entry for a question, and lets the model read the answer out of it."""

    def __init__(self, retriever: dspex.Retriever) -> None:
        super().__init__()
        self.retriever = retriever
        self.read = dspex.Predict(FromContext, max_tokens=16)
        self.read.demos = [
            dspex.Example(context=HANDBOOK[place], question=question, answer=answer)
            for question, answer, place in QUESTIONS[:SHOWN]
        ]

    async def aforward(self, question: str) -> dspex.Prediction:
        [best] = await self.retriever.acall(question, 1)
        read = await self.read.acall(context=best.text, question=question)
        return dspex.Prediction(answer=read.answer, entry=int(best.id))


def index() -> dict[str, dspex.Retriever]:
    """The handbook, by its words, by its meaning, and by both."""
    passages = [dspex.Passage(text, id=str(place)) for place, text in enumerate(HANDBOOK)]
    by_words = dspex.Retriever("bm25", collection="handbook")
    by_meaning = dspex.Retriever("vectors", embedder="minilm/all-MiniLM-L6-v2", collection="handbook")
    both = fused(by_words, by_meaning)
    both.add(passages)
    return {"words": by_words, "meaning": by_meaning, "both": both}


def found(retriever: dspex.Retriever) -> int:
    """For how many questions the first entry is the right one."""
    best = retriever([question for question, _, _ in QUESTIONS], 1)
    return sum(
        entry[:1] != [] and entry[0].id == str(place) for entry, (_, _, place) in zip(best, QUESTIONS, strict=True)
    )


def main() -> dict[str, object]:
    """Build the index, see how well it finds, and answer the questions that are no demos."""
    retrievers = index()
    counts = {name: found(retriever) for name, retriever in retrievers.items()}
    print(f"The right entry comes first, of {len(QUESTIONS)} questions: {counts}")
    program = Rag(retrievers[max(counts, key=lambda name: counts[name])])
    with dspex.context(lm=dspex.LM("llamacpp/gemma-3-270m", temperature=0.0)), dspex.budget(calls=20):
        answers = [(question, program(question=question)) for question, _, _ in QUESTIONS[SHOWN:]]
    for question, given in answers:
        print(f"{question}\n  {given.answer}   (entry {given.entry})")
    wanted = [answer for _, answer, _ in QUESTIONS[SHOWN:]]
    right = sum(given.answer in one or one in given.answer for (_, given), one in zip(answers, wanted, strict=True))
    print(f"{right} of {len(answers)} answers hold what was asked for: it is a base model of 270 million weights.")
    return {"found": counts, "answers": {question: given.answer for question, given in answers}, "right": right}


if __name__ == "__main__":
    main()
