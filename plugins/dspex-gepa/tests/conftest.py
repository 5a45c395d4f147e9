"""A task that can only be learnt from what is said of runs: which desk a ticket goes to."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse
from dspex.testing.fixtures import a_clean_start

__all__ = ["a_clean_start"]  # for pytest

DESKS = {"refund": "money", "invoice": "money", "parcel": "post", "courier": "post", "login": "help", "crash": "help"}
RULE = re.compile(r"(\w+) goes to (\w+)")


class Clerk:
    """Knows no desk but those that its instructions name; `requests` keeps what it was asked.

    Asked to reflect, it writes the rules that it finds in the comments, at most `most` a time, behind those it has.
    """

    capabilities = Capabilities(chat=True)

    def __init__(self, most: int = 2, before: Any = None) -> None:
        self.most = most
        self.before = before
        self.requests: list[LMRequest] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        self.requests.append(request)
        if self.before is not None:
            await self.before(request)
        system, *_, last = (message.text for message in request.messages)
        reply = self.reflected(last) if "new_instruction" in last else self.answered(system, last)
        return LMResponse.from_text(f"{reply}\n\n[[ ## completed ## ]]", dspex.Usage(len(system) + len(last), 5))

    def answered(self, system: str, last: str) -> str:
        word = next((word for word in DESKS if f"a {word}" in last), "")
        return f"[[ ## desk ## ]]\n{dict(RULE.findall(system)).get(word, 'nobody')}"

    def reflected(self, last: str) -> str:
        known, _, runs = last.partition("# Run 1")
        old = list(dict.fromkeys(RULE.findall(known)))
        new = [rule for rule in dict.fromkeys(RULE.findall(runs)) if rule not in old]
        rules = [*old, *new[: self.most]]
        return "[[ ## new_instruction ## ]]\n" + " ".join(f"{word} goes to {desk}." for word, desk in rules)

    @property
    def reflections(self) -> list[str]:
        """The questions for new instructions."""
        return [text for one in self.requests if "new_instruction" in (text := one.messages[-1].text)]

    @property
    def lm(self) -> dspex.LM:
        """A handle without cache and retries."""
        return dspex.LM("clerk", provider=self, cache=False, num_retries=0)


def tickets(count: int, start: int = 0, words: Any = tuple(DESKS)) -> list[dspex.Example]:
    """Tickets of all kinds in turn."""
    rows = [(number, words[number % len(words)]) for number in range(start, start + count)]
    return [dspex.Example(ticket=f"#{n}: a {word}", desk=DESKS[word]).with_inputs("ticket") for n, word in rows]


def told(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    """The metric: it says where a ticket should have gone."""
    word = gold.ticket.split()[-1]
    score = float(gold.desk == pred.desk)
    return dspex.Prediction(score=score, feedback="right" if score else f"{word} goes to {gold.desk}")


@pytest.fixture
def clerk() -> Clerk:
    """The model of the test, set as the App's."""
    found = Clerk()
    dspex.configure(lm=found.lm)
    return found


@pytest.fixture
def office() -> Any:
    """The task: a student, 12 examples each to train and to validate on, the metric, and what makes more."""
    return SimpleNamespace(
        student=dspex.Predict("ticket -> desk"), data={"trainset": tickets(12), "valset": tickets(12, 100), "holdout": 0},
        metric=told, tickets=tickets, Clerk=Clerk, desks=DESKS,
    )  # fmt: skip
