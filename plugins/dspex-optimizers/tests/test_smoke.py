"""What a user sees first, in seconds; the matrix runs this on every Python."""

import pytest

import dspex
from dspex.plugin import Capabilities, LMResponse, Usage


class Doubler:
    """Answers right for even numbers, or whenever it is shown an even demo's form; counts its calls."""

    capabilities = Capabilities(chat=True)

    def __init__(self):
        self.calls = 0

    async def complete(self, request):
        self.calls += 1
        number = int(request.messages[-1].text.split("[[ ## n ## ]]")[1].split()[0])
        shown = len(request.messages) // 2
        right = number % 2 == 0 or number % 5 < shown
        return LMResponse.from_text(f"[[ ## twice ## ]]\n{2 * number if right else -1}", Usage(10, 5))


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path / "runs"))
    provider = Doubler()
    with dspex.context(lm=dspex.LM("double/er", provider=provider, cache=False)):
        yield provider


def is_right(example, prediction, trace=None):
    return prediction.twice == example.twice


TRAIN = [dspex.Example(n=n, twice=2 * n).with_inputs("n") for n in range(40)]
VAL = [dspex.Example(n=n, twice=2 * n).with_inputs("n") for n in range(100, 130)]


def test_labelled_demos_cost_no_call(model):
    program = dspex.LabeledFewShot(k=3).compile(dspex.Predict("n: int -> twice: int"), trainset=TRAIN)
    assert [len(program.demos), model.calls] == [3, 0]


def test_a_search_finds_demos_and_tells_what_it_can_claim(model, tmp_path):
    search = dspex.BootstrapRS(is_right, max_bootstrapped_demos=2, max_labeled_demos=4, num_candidate_programs=3)
    student = dspex.Predict("n: int -> twice: int")
    program = search.compile(student, trainset=TRAIN, valset=VAL, holdout=0, run_dir=tmp_path / "run")
    assert student.demos == []
    assert program.demos
    assert program.evidence.verdict in {"better", "not shown"}
    paid = model.calls
    again = search.compile(student, trainset=TRAIN, valset=VAL, holdout=0, run_dir=tmp_path / "run")
    assert model.calls == paid
    assert again.dump_state() == program.dump_state()
