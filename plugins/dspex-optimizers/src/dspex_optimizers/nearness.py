"""Which examples are like an input: found out without a call, where the answers tell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dspex import CharacterVectorizer, Example, WordVectorizer

LOOKED_AT, NEIGHBOURS = 200, 4
TELLS = 0.25  # of the way from chance to always, by which neighbours share an answer
SHORT = 80  # letters: longer texts have no form that could be shared

# As a saved program names them (`NearestDemos.from_state`).
KINDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "words": MappingProxyType({"words": {"max_words": 4096}}),
        "characters": MappingProxyType({"characters": {"max_length": 512, "n_gram": 3}}),
        "shapes": MappingProxyType({"characters": {"max_length": 512, "n_gram": 3, "shapes": True}}),
    }
)
_MADE = MappingProxyType({"words": WordVectorizer, "characters": CharacterVectorizer})


def texts_of(examples: Sequence[Example]) -> list[str]:
    """The inputs of the first examples, as they are looked for."""
    return [" | ".join(map(str, one.inputs().values())) for one in examples[:LOOKED_AT]]


def answers_of(examples: Sequence[Example]) -> list[str]:
    """The answers of the same examples."""
    return [str(sorted(one.labels().items())) for one in examples[:LOOKED_AT]]


def kinds_for(texts: Sequence[str], answers: Sequence[str] | None) -> list[str]:
    """The kinds of nearness worth a try, best first; `answers` are given where they are labels.

    Then it is the kind whose nearest neighbours most often share the answer, alone, and none where they hardly do so more
    often than any two texts. Free answers tell nothing: short texts may be alike in form, all in their words.
    """
    if answers is None:
        return ["shapes", "words"] if sum(map(len, texts)) < SHORT * len(texts) else ["words", "characters"]
    agreement = {kind: shared(kind, texts, answers) for kind in KINDS}
    best = max(KINDS, key=lambda kind: agreement[kind])
    chance = by_chance(answers)
    return [best] if agreement[best] - chance >= TELLS * (1 - chance) else []


def by_chance(answers: Sequence[str]) -> float:
    """How often two of them are equal."""
    pairs = len(answers) * (len(answers) - 1)
    return sum(count * (count - 1) for count in Counter(answers).values()) / pairs if pairs else 1.0


def shared(kind: str, texts: Sequence[str], answers: Sequence[str]) -> float:
    """How many neighbours, of the nearest of each text, have its answer: 0 to 1."""
    [(name, options)] = KINDS[kind].items()
    vectorizer = _MADE[name](**options)
    rows = (vectorizer.fitted(texts) if name == "words" else vectorizer)(texts)
    found = pairs = 0
    for at, row in enumerate(rows):
        likeness = [sum(map(float.__mul__, row, other)) for other in rows]
        nearest = sorted((place for place in range(len(rows)) if place != at), key=lambda place: -likeness[place])
        found += sum(answers[place] == answers[at] for place in nearest[:NEIGHBOURS])
        pairs += len(nearest[:NEIGHBOURS])
    return found / max(1, pairs)
