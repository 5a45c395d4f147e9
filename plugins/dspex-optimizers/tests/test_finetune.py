"""Models trained on the good runs of a teacher."""

import re

import pytest

import dspex
from dspex.plugin import Capabilities, FineTuneStatus, LMResponse, Usage
from dspex.testing import OptimizerContract


class School:
    """Doubles numbers: as it is a third of them, what it has trained all of them. `ends` are states by the job's number."""

    capabilities = Capabilities(chat=True)

    def __init__(self, ends=()):
        self.ends = dict(ends)
        self.specs, self.asked = {}, []

    async def complete(self, request):
        self.asked.append(request)
        number = int(re.findall(r"n=(\d+)", request.messages[-1].text)[-1])
        right = request.model != "small" or number % 3 == 0
        names = re.findall(r"`\[\[ ## (\w+) ## \]\]`", request.messages[-1].text)
        text = "\n\n".join(f"[[ ## {name} ## ]]\n{2 * number if right else 0}" for name in names if name != "completed")
        return LMResponse.from_text(f"{text}\n\n[[ ## completed ## ]]", Usage(10, 2))

    async def finetune_start(self, spec):
        self.specs.setdefault(spec.key, spec)
        return f"job {list(self.specs).index(spec.key)}"

    async def finetune_status(self, job):
        state = self.ends.get(int(job[4:]), "succeeded")
        return FineTuneStatus(state, f"small-{job[4:]}", "by script" if state != "succeeded" else "", wait=0.0)

    async def finetune_cancel(self, job):
        """Nothing goes on."""

    def lm(self, name="house/small"):
        return dspex.LM(name, provider=self, cache=False)

    @property
    def trained(self):
        return list(self.specs.values())


@pytest.fixture
def school():
    model = School()
    dspex.configure(lm=model.lm())
    return model


class Pair(dspex.Module):
    """Two predictors in a row."""

    def __init__(self):
        super().__init__()
        self.hint = dspex.Predict("question -> hint")
        self.answer = dspex.Predict("question, hint -> answer")

    def forward(self, question):
        return self.answer(question=question, hint=self.hint(question=question).hint)


def test_a_model_is_trained_on_what_the_metric_passes_and_stands_in_the_program(school, data, student, right):
    program = dspex.BootstrapFinetune(right).compile(student, data.trainset)
    (spec,) = school.trained
    assert len(spec.rows) == 14  # a third of 40
    assert {row["messages"][-1]["role"] for row in spec.rows} == {"assistant"}
    numbers = [int(re.findall(r"n=(\d+)", row["messages"][-2]["content"])[-1]) for row in spec.rows]
    answers = [row["messages"][-1]["content"] for row in spec.rows]
    assert answers == [f"[[ ## answer ## ]]\n{2 * number}\n\n[[ ## completed ## ]]" for number in numbers]
    assert numbers != sorted(numbers)
    assert (program.lm.model, student.lm) == ("house/small-0", None)
    assert dspex.Evaluate(data.valset, right)(program).score == 100


def test_a_row_is_what_the_program_will_ask(school, data, student, right):
    student.demos = [data.examples(500, 1)[0]]
    program = dspex.BootstrapFinetune(right).compile(student, data.trainset)
    asked = school.asked[-1]
    program(question="n=0")
    sent = [(message.role, message.text) for message in school.asked[-1].messages]
    rows = [[(turn["role"], turn["content"]) for turn in row["messages"][:-1]] for row in school.trained[0].rows]
    assert sent in rows
    assert asked.model == "small"


def test_a_demonstration_does_not_give_away_the_answer_of_its_own_row(school, data, student, right):
    student.demos = [data.trainset[3]]
    dspex.BootstrapFinetune(right).compile(student, data.trainset[:10])
    turns = {len(row["messages"]): row["messages"][-2]["content"] for row in school.trained[0].rows}
    assert sorted(turns) == [3, 5]
    assert "n=3" in turns[3]


def test_demonstrations_can_be_left_out_of_rows_and_program(school, data, student, right):
    student.demos = [data.examples(500, 1)[0]]
    program = dspex.BootstrapFinetune(right, exclude_demos=True).compile(student, trainset=data.trainset)
    assert program.demos == []
    assert {len(row["messages"]) for row in school.trained[0].rows} == {3}


def test_without_a_metric_every_run_is_learned_from(school, data, student):
    dspex.BootstrapFinetune().compile(student, trainset=data.trainset)
    assert len(school.trained[0].rows) == 40


@pytest.mark.parametrize(("multitask", "sizes"), [(True, [28]), (False, [14, 14])])
def test_one_training_a_model_or_one_a_predictor(school, data, right, multitask, sizes):
    program = dspex.BootstrapFinetune(right, multitask=multitask).compile(Pair(), trainset=data.trainset)
    assert [len(spec.rows) for spec in school.trained] == sizes
    assert [part.lm.model for part in program.predictors()] == [f"house/small-{0 if multitask else n}" for n in (0, 1)]


def test_what_an_lm_says_of_its_training_holds_where_the_optimizer_says_nothing(school, data, right, student):
    lm = dspex.LM("house/small", provider=school, cache=False, finetuning_model="tiny", train_kwargs={"epochs": 3})
    student.lm = lm
    program = dspex.BootstrapFinetune(right).compile(student, data.trainset)
    assert [(spec.model, spec.train_kwargs) for spec in school.trained] == [("tiny", {"epochs": 3})]
    assert {request.model for request in school.asked} == {"small"}
    assert program.predictors()[0].lm.model == "house/small-0"
    dspex.BootstrapFinetune(right, train_kwargs={"epochs": 9}).compile(student, data.trainset)
    assert school.trained[-1].train_kwargs == {"epochs": 9}


def test_each_model_of_a_program_has_its_own_training_and_arguments(school, data, right):
    student, other = Pair(), school.lm("house/other")
    student.answer.lm = other
    kwargs = {dspex.settings.lm: {"epochs": 1}, other: {"epochs": 5}}
    adapters = {other: dspex.JSONAdapter()}
    program = dspex.BootstrapFinetune(right, train_kwargs=kwargs, adapter=adapters).compile(student, data.trainset)
    found = {spec.model: spec for spec in school.trained}
    assert {name: spec.train_kwargs["epochs"] for name, spec in found.items()} == {"small": 1, "other": 5}
    assert found["other"].rows[0]["messages"][-1]["content"].startswith("{")
    assert found["small"].rows[0]["messages"][-1]["content"].startswith("[[ ## hint")
    assert len({part.lm.model for part in program.predictors()}) == 2


def test_all_teachers_are_learned_from(school, data, student, right):
    good = student.deepcopy()
    good.lm = school.lm("house/large")
    dspex.BootstrapFinetune(right).compile(student, trainset=data.trainset[:9], teacher=[good, student])
    assert len(school.trained[0].rows) == 9 + 3
    assert [request.model for request in school.asked].count("large") == 9


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_training_that_fails_is_told_and_those_beside_it_are_kept(school, data, right, tmp_path, state):
    school.ends = {1: state}
    finetune = dspex.BootstrapFinetune(right, multitask=False)
    options = {"trainset": data.trainset, "run_dir": tmp_path / "run"}
    with pytest.raises(
        dspex.EvaluationError, match=f"1 of 2 trainings failed: the training 'job 1' .* {state}: by script"
    ):
        finetune.compile(Pair(), **options)
    paid, school.ends = len(school.asked), {}
    program = finetune.compile(Pair(), **options)
    assert len(school.asked) == paid
    assert len(school.trained) == 2
    assert [part.lm.model for part in program.predictors()] == ["house/small-0", "house/small-1"]


def test_in_a_chain_a_training_that_fails_ends_the_chain(school, data, student, right):
    school.ends = {0: "failed"}
    together = dspex.BetterTogether(right, p=dspex.LabeledFewShot(2), w=dspex.BootstrapFinetune(right))
    program = together.compile(student, trainset=data.trainset, valset=data.valset)
    assert program.flag_compilation_error_occurred
    assert program.lm is None
    assert any("BootstrapFinetune inside step 2" in note for note in program.evidence.notes)


def test_in_a_chain_prompts_and_weights_take_turns(school, data, student, right):
    together = dspex.BetterTogether(right, p=dspex.LabeledFewShot(2), w=dspex.BootstrapFinetune(right))
    program = together.compile(student, trainset=data.trainset, valset=data.valset, strategy="p -> w -> p -> w")
    assert [spec.model for spec in school.trained] == ["small", "small-0"]
    assert program.evidence.score == 1.0
    best = program.candidate_programs[0]
    assert (best["strategy"], program.lm.model) == ("p -> w", "house/small-0")


def test_a_run_that_passed_nothing_trains_nothing(school, data, student):
    with pytest.raises(dspex.EvaluationError, match="nothing to train on"):
        dspex.BootstrapFinetune(lambda example, made: 0).compile(student, trainset=data.trainset)
    assert school.trained == []


def test_a_predictor_that_no_run_has_called_cannot_be_trained(school, data, right):
    class Idle(Pair):
        def forward(self, question):
            return self.answer(question=question, hint="none")

    with pytest.raises(dspex.EvaluationError, match="No good run has a call of hint"):
        dspex.BootstrapFinetune(right, multitask=False).compile(Idle(), trainset=data.trainset)
    assert school.trained == []


def test_what_cannot_be_trained_is_refused_before_anything_is_paid(model, data, student, right):
    with pytest.raises(dspex.ConfigurationError, match="has no finetune_start"):
        dspex.BootstrapFinetune(right).compile(student, trainset=data.trainset)
    assert model.prompts == []


@pytest.mark.parametrize(("arguments", "says"), [({"usd": -1}, "usd=-1"), ({"num_threads": 0}, "num_threads=0")])
def test_wrong_arguments_are_refused(right, arguments, says):
    with pytest.raises(dspex.ConfigurationError, match=says):
        dspex.BootstrapFinetune(right, **arguments)


def test_a_budget_in_dollars_counts_the_trainings(school, data, student, right):
    dspex.configure(prices={"house/small": (0.0, 0.0)})
    finetune = dspex.BootstrapFinetune(right, usd=20.0)
    assert finetune.quote(student, trainset=data.trainset).usd == 20.0
    with pytest.raises(dspex.BudgetExceeded, match="the budget has 10"):
        finetune.compile(student, trainset=data.trainset, budget=dspex.Budget(usd=10.0))
    assert school.asked == []


def test_a_saved_program_names_its_model_and_no_key(data, student, right, tmp_path):
    school = School()
    with dspex.context(
        lm=dspex.LM("house/small", provider=school, cache=False, api_key="sk-1234", api_base="http://h")
    ):
        program = dspex.BootstrapFinetune(right).compile(student, trainset=data.trainset)
    program.save(tmp_path / "program.json")
    text = (tmp_path / "program.json").read_text()
    assert '"house/small-0"' in text
    assert "sk-1234" not in text
    assert "http://h" not in text
    loaded = dspex.Predict("question -> answer").load(tmp_path / "program.json")
    loaded.lm = school.lm(loaded.lm.model)
    assert loaded(question="n=7").answer == "14"


class TestBootstrapFinetune(OptimizerContract):
    cuts = 20

    def make(self, metric, trainset):
        return dspex.BootstrapFinetune(metric, multitask=False)
