"""Programs without a model, and examples for them."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from dspex.app.app import App, default_app
from dspex.core.example import Example, Prediction
from dspex.evaluate.evaluate import Evaluate, EvaluationResult


@pytest.fixture(autouse=True)
def own_app() -> Iterator[App]:
    """A default App that ends with the test."""
    app = App(cache=False)
    before = default_app.replace(app)
    yield app
    default_app.replace(before)
    app.close()


class Echo:
    """Answers with its question, after as many turns of the loop as it is told; counts what runs."""

    def __init__(self, turns: int = 0, failing: frozenset[int] = frozenset()) -> None:
        self.turns, self.failing = turns, failing
        self.started = self.running = self.most = 0

    async def acall(self, question: str) -> Prediction:
        self.started += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            if int(question) in self.failing:
                raise RuntimeError(f"question {question} is too hard")
        finally:
            self.running -= 1
        return Prediction(answer=question)


@pytest.fixture
def echo() -> type[Echo]:
    return Echo


@pytest.fixture
def questions() -> Callable[..., list[Example]]:
    """n examples; the first `wrong` of them cannot be answered rightly."""

    def made(n: int, wrong: int = 0) -> list[Example]:
        return [Example(question=str(i), answer="?" if i < wrong else str(i)).with_inputs("question") for i in range(n)]

    return made


@pytest.fixture(params=["sync", "async"])
def run(request) -> Callable[..., EvaluationResult]:
    """Calls an Evaluate in both forms."""

    def called(evaluate: Evaluate, *args: object, **kwargs: object) -> EvaluationResult:
        if request.param == "sync":
            return evaluate(*args, **kwargs)
        return asyncio.run(evaluate.acall(*args, **kwargs))

    return called


def exact(example: Example, prediction: Prediction) -> bool:
    return example.answer == prediction.answer


@pytest.fixture(name="exact")
def exact_metric() -> Callable[[Example, Prediction], bool]:
    return exact
