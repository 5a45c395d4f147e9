"""Several programs as one: side by side, all or some, and what is made of their results."""

import asyncio

import pytest

import dspex


class Says(dspex.Module):
    """Answers with its own word when all have begun."""

    def __init__(self, word, begun=None):
        super().__init__()
        self.part = dspex.Predict("question -> answer")
        self.word, self.begun = word, begun

    async def aforward(self, question):
        if self.begun is not None:
            await asyncio.wait_for(self.begun.wait(), 5)
        if self.word == "fails":
            raise ZeroDivisionError(question)
        return dspex.Prediction(answer=self.word)


WORDS = [Says(word) for word in ("Rome", "Paris", "paris", "Oslo")]


def test_all_results_come_back_in_the_order_of_the_programs():
    program = dspex.Ensemble().compile(WORDS)
    assert [one.answer for one in program(question="?")] == ["Rome", "Paris", "paris", "Oslo"]


async def test_they_run_side_by_side_and_their_results_are_reduced():
    program = dspex.Ensemble(reduce_fn=dspex.majority).compile([Says(one.word, asyncio.Barrier(4)) for one in WORDS])
    barrier = asyncio.Barrier(4)
    for one in program.programs:
        one.begun = barrier
    assert (await program.acall(question="?")).answer == "Paris"


async def test_a_reduction_may_be_async():
    async def last(results):
        return results[-1].answer

    program = await dspex.Ensemble(reduce_fn=last).acompile(WORDS)
    assert await program.acall(question="?") == "Oslo"


def test_equal_inputs_draw_equal_programs_if_asked():
    program = dspex.Ensemble(size=2, deterministic=True).compile(WORDS)
    drawn = [[one.answer for one in program(question=str(n % 10))] for n in range(20)]
    assert drawn[:10] == drawn[10:]
    assert len({tuple(one) for one in drawn}) > 3
    assert len(dspex.Ensemble(size=3).compile(WORDS)(question="?")) == 3


def test_the_first_error_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError, match="why"):
        dspex.Ensemble().compile([Says("fails"), Says("Rome")])(question="why")


def test_the_candidates_of_a_search_make_an_ensemble_that_saves_and_loads(model, data, student, right, tmp_path):
    search = dspex.BootstrapRS(right, num_candidate_programs=3, race_z=None)
    found = search.compile(student, trainset=data.trainset, valset=data.valset)
    program = dspex.Ensemble(reduce_fn=dspex.majority).compile([one["program"] for one in found.candidate_programs[:3]])
    program.save(tmp_path / "ensemble.json")
    loaded = dspex.Ensemble(reduce_fn=dspex.majority).compile([dspex.Predict("question -> answer")] * 3)
    loaded.load(tmp_path / "ensemble.json")
    assert loaded.dump_state() == program.dump_state()
    answers = [one(question="n=77").answer for one in (program, loaded)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("options", "programs", "says"),
    [
        ({"size": 0}, WORDS, "size=0"),
        ({"size": 5}, WORDS, "there are 4 programs"),
        ({"reduce_fn": "majority"}, WORDS, "reduce_fn='majority'"),
        ({}, [], "takes a list of programs"),
        ({}, WORDS[0], "takes a list of programs"),
        ({}, [{"program": WORDS[0]}], r'one\["program"\]'),
    ],
)
def test_what_cannot_be_an_ensemble_is_refused(options, programs, says):
    with pytest.raises(dspex.ConfigurationError, match=says):
        dspex.Ensemble(**options).compile(programs)


def test_an_ensemble_has_no_job():
    with pytest.raises(dspex.ConfigurationError, match="makes no call"):
        dspex.Ensemble().start(WORDS)
