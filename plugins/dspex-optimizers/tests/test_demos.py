"""Labelled and bootstrapped demonstrations: which, how many, at what price."""

from types import SimpleNamespace

import pytest

import dspex
from dspex_optimizers.bootstrap import chosen


def numbers(demos):
    return [int(demo["question"][2:]) for demo in demos]


def test_labelled_demos_are_drawn_without_a_call(model, data, student):
    program = dspex.LabeledFewShot(k=5).compile(student, trainset=data.trainset)
    assert len(set(numbers(program.demos))) == 5
    assert numbers(program.demos) != [0, 1, 2, 3, 4]
    assert model.prompts == []
    assert student.demos == []


@pytest.mark.parametrize(("k", "count"), [(3, 3), (16, 16), (99, 40)])
def test_the_first_ones_are_taken_where_nothing_is_drawn(model, data, student, k, count):
    program = dspex.LabeledFewShot(k).compile(student, trainset=data.trainset, sample=False)
    assert numbers(program.demos) == list(range(count))


def test_another_seed_draws_other_demos(model, data, student):
    drawn = [dspex.LabeledFewShot(4).compile(student, trainset=data.trainset, seed=seed).demos for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_each_predictor_has_a_draw_of_its_own(model, data):
    class Two(dspex.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = dspex.Predict("question -> answer"), dspex.Predict("question -> answer")

        async def aforward(self, question):
            return await self.second.acall(question=question)

    program = dspex.LabeledFewShot(4).compile(Two(), trainset=data.trainset)
    assert program.first.demos != program.second.demos


def test_the_first_runs_that_pass_become_demos_and_labelled_ones_fill_up(model, data, student, right):
    program = dspex.BootstrapFewShot(right, max_bootstrapped_demos=3, max_labeled_demos=8).compile(
        student, trainset=data.trainset
    )
    made = [demo for demo in program.demos if demo.get("augmented")]
    assert len(made) == 3
    assert numbers(made) == sorted(numbers(made))
    assert program.demos[:3] == made
    assert len(set(numbers(program.demos))) == 8


def test_without_a_metric_every_run_that_ends_is_good(model, data, student):
    program = dspex.BootstrapFewShot(max_bootstrapped_demos=4, max_labeled_demos=0).compile(
        student, trainset=data.trainset
    )
    assert numbers(program.demos) == [0, 1, 2, 3]
    assert len(model.prompts) == 4


def test_a_threshold_of_zero_is_a_threshold(model, data, student, right):
    program = dspex.BootstrapFewShot(right, metric_threshold=0, max_labeled_demos=0).compile(
        student, trainset=data.trainset
    )
    assert numbers(program.demos) == [0, 1, 2, 3]


def test_an_example_that_fails_is_tried_again_as_another_sample(model, data, student, right):
    bootstrap = dspex.BootstrapFewShot(right, max_bootstrapped_demos=40, max_labeled_demos=0, max_rounds=3)
    program = bootstrap.compile(student, trainset=data.trainset)
    warm = [text for text in model.prompts if "'temperature': 1.0" in text]
    assert len(model.prompts) == 40 + len(warm)
    assert 0 < len(warm) <= 80
    once = dspex.BootstrapFewShot(right, max_bootstrapped_demos=40, max_labeled_demos=0)
    assert len(program.demos) > len(once.compile(student, trainset=data.trainset).demos)


def test_a_teacher_of_ones_own_and_its_settings_are_used(model, data, student, right):
    class Exact(type(model)):
        async def complete(self, request):
            reply = await super().complete(request)
            number = int(request.messages[-1].text.rsplit("n=", 1)[1].split()[0])
            fields = f"[[ ## answer ## ]]\n{2 * number}\n\n[[ ## completed ## ]]"
            return type(reply).from_text(fields, reply.usage)

    better = Exact()
    settings = {"lm": dspex.LM("better", provider=better, cache=False)}
    bootstrap = dspex.BootstrapFewShot(right, teacher_settings=settings, max_labeled_demos=0)
    teacher = dspex.Predict(dspex.Signature("question -> answer", "Double the number."))
    program = bootstrap.compile(student, trainset=data.trainset, teacher=teacher)
    assert numbers(program.demos) == [0, 1, 2, 3]
    assert model.prompts == []
    assert all("Double the number." in text for text in better.prompts)
    assert program.signature.instructions == student.signature.instructions


def test_a_program_that_is_compiled_already_is_refused(model, data, student, right):
    once = dspex.LabeledFewShot(2).compile(student, trainset=data.trainset)
    with pytest.raises(dspex.ConfigurationError, match=r"student\.reset_copy\(\)"):
        dspex.BootstrapFewShot(right).compile(once, trainset=data.trainset)


def test_of_several_calls_of_a_predictor_one_is_taken():
    steps = tuple(
        SimpleNamespace(predictor="p", inputs={"question": str(n)}, outputs={"answer": "a"}) for n in range(3)
    )
    taken = {chosen(dspex.Rollout(f"{n}", "c", 1.0, trace=steps), "p").fields["question"] for n in range(40)}
    assert taken == {"0", "1", "2"}
    assert chosen(dspex.Rollout("e", "c", 1.0, trace=steps), "q") is None


class Buggy(dspex.Module):
    def __init__(self):
        super().__init__()
        self.predictor = dspex.Predict("question -> answer")

    def forward(self, **inputs):
        raise RuntimeError("a slip of the teacher")


def test_at_max_errors_the_teachers_own_error_comes_out(model, data, right):
    bootstrap = dspex.BootstrapFewShot(right, max_bootstrapped_demos=1, max_labeled_demos=1, max_errors=1)
    with pytest.raises(RuntimeError, match="a slip of the teacher"):
        bootstrap.compile(Buggy(), teacher=Buggy(), trainset=data.trainset[:1])


@pytest.mark.parametrize(
    "teacher", [dspex.Predict("question -> answer, more"), dspex.ChainOfThought("question -> answer")]
)
def test_a_teacher_whose_runs_could_be_no_demos_is_refused_before_anything_is_paid(
    model, data, student, right, teacher
):
    with pytest.raises(dspex.ConfigurationError, match="cannot be demonstrations for the student"):
        dspex.BootstrapFewShot(right).compile(student, teacher=teacher, trainset=data.trainset)
    assert model.prompts == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("max_bootstrapped_demos", -1), ("max_labeled_demos", 1.5), ("max_rounds", 0), ("max_errors", 0)],
)
def test_numbers_that_mean_nothing_are_refused(name, wrong):
    with pytest.raises(dspex.ConfigurationError, match=f"{name}={wrong}: a whole number"):
        dspex.BootstrapFewShot(**{name: wrong})
