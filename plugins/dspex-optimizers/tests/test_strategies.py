"""dspex.optimize and the race of strategies behind it."""

import re
from typing import Any, Literal

import pytest

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse

TEAMS = {"refund": "billing", "invoice": "billing", "parcel": "delivery", "courier": "delivery"}
WORDS = list(TEAMS)


class Clerk:
    """Knows a ticket's team if a demonstration shows a ticket of the same word, and else guesses."""

    capabilities = Capabilities(chat=True)

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        text = "\n".join(message.text for message in request.messages)
        self.prompts.append(text)
        if "proposed_instruction" in text:
            return LMResponse.from_text("[[ ## proposed_instruction ## ]]\nName the team by the ticket's last word.")
        *shown, word = re.findall(r"#\d+ (\w+)", text)
        knows = word in shown or "last word" in text
        return LMResponse.from_text(f"[[ ## team ## ]]\n{TEAMS[word] if knows else 'delivery'}")


@pytest.fixture
def clerk() -> Clerk:
    """The model of the test."""
    model = Clerk()
    dspex.configure(lm=dspex.LM("clerk", provider=model, cache=False))
    return model


def tickets(start: int, count: int) -> list[dspex.Example]:
    rows = [
        (f"ticket #{number} {WORDS[number % 4]}", TEAMS[WORDS[number % 4]]) for number in range(start, start + count)
    ]
    return [dspex.Example(ticket=ticket, team=team).with_inputs("ticket") for ticket, team in rows]


def same(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.team == prediction.team)


def student() -> dspex.Predict:
    team = Literal["billing", "delivery"]
    return dspex.Predict(dspex.Signature("ticket -> team: Team", "Name the team.", custom_types={"Team": team}))


def labels(program: Any) -> list[str]:
    return [entry["label"] for entry in program.candidate_programs]


@pytest.mark.parametrize("calls", [30, 60, 120, 300])
async def test_no_more_is_asked_than_the_budget_has_and_the_winner_is_better(clerk, calls):
    program = await dspex.aoptimize(student(), tickets(0, 40), same, calls, valset=tickets(100, 12))
    assert len(clerk.prompts) == program.ledger.calls <= calls
    assert program.evidence.stopped == "done"
    assert program.evidence.score > program.evidence.baseline


def test_demonstrations_by_words_lead_where_the_answers_tell_that_words_matter(clerk):
    program = dspex.optimize(student(), tickets(0, 40), same, valset=tickets(100, 12))
    assert any("by words" in label for label in labels(program))
    assert not any("by shapes" in label for label in labels(program))
    assert program(ticket="ticket #999 courier").team == "delivery"


async def test_the_sync_form_does_the_same(clerk):
    one = await dspex.aoptimize(student(), tickets(0, 30), same, 100)
    other = await dspex.asyncify(dspex.optimize)(student(), tickets(0, 30), same, 100)
    assert one.dump_state() == other.dump_state()


def test_a_saved_winner_chooses_its_demonstrations_when_it_is_loaded(clerk, tmp_path):
    program = dspex.optimize(student(), tickets(0, 40), same, 100, valset=tickets(100, 12))
    program.save(tmp_path / "p.json")
    loaded = student().load(tmp_path / "p.json")
    assert (loaded.demo_selector is None) == (program.demo_selector is None)
    assert loaded.dump_state() == program.dump_state()


def test_a_valset_is_drawn_from_the_trainset_and_shows_in_no_demonstration(clerk):
    program = dspex.optimize(student(), tickets(0, 30), same, 200)
    assert len(program.candidate_programs[0]["subscores"]) == 10
    assert len({demo["ticket"] for demo in program.demos}) <= 20


def compared(program: Any) -> int:
    """How many candidates were run on the whole valset."""
    return sum(None not in entry["subscores"] for entry in program.candidate_programs)


@pytest.mark.parametrize(
    ("examples", "calls", "decide"),
    [(400, 300, 25), (400, 1_000, 93), (96, 300, 32), (96, 100, 16), (30, 60, 10)],
)
def test_the_valset_is_as_large_as_the_calls_suffice_to_compare_many_on(clerk, examples, calls, decide):
    program = dspex.optimize(dspex.Predict("ticket -> team"), tickets(0, examples), same, calls)
    assert len(program.candidate_programs[0]["subscores"]) == decide
    assert compared(program) >= 4
    assert len(labels(program)) >= min(6, calls // decide - 2)
    assert program.ledger.calls <= calls


def test_a_program_of_more_steps_is_compared_on_fewer(clerk):
    for calls, decide in [(540, 30), (360, 20)]:
        program = dspex.optimize(Twice(), tickets(0, 90), same, calls, holdout=0)
        assert len(program.candidate_programs[0]["subscores"]) == decide


def test_with_more_calls_a_run_goes_on_with_the_same_demonstrations_to_choose_from(clerk, tmp_path):
    options = {"run_dir": tmp_path / "run", "holdout": 0}
    dspex.optimize(student(), tickets(0, 90), same, 150, **options)
    program = dspex.optimize(student(), tickets(0, 90), same, 250, **options)
    assert len(program.candidate_programs[0]["subscores"]) == 27
    assert len(clerk.prompts) == len(set(clerk.prompts))


def test_a_budget_that_one_look_at_the_program_passes_is_refused(clerk):
    with pytest.raises(dspex.BudgetExceeded, match="12 calls"):
        dspex.optimize(student(), tickets(0, 30), same, 5, valset=tickets(100, 12))
    assert not clerk.prompts


def test_a_budget_in_tokens_is_a_wall(clerk):
    program = dspex.optimize(student(), tickets(0, 30), same, dspex.Budget(tokens=3_000), valset=tickets(100, 12))
    assert program.evidence.stopped == "budget"
    assert program.ledger.tokens <= 3_000


@pytest.mark.parametrize("options", [{}, {"controls": True}, {"holdout": tickets(200, 10)}], ids=str)
def test_what_a_compile_takes_besides_comes_out_of_the_same_budget(clerk, options):
    program = dspex.optimize(student(), tickets(0, 30), same, 100, valset=tickets(100, 12), **options)
    assert len(clerk.prompts) == program.ledger.calls <= 100
    assert any("made smaller" in note for note in program.evidence.notes) is bool(options)


def test_a_race_takes_no_more_than_it_was_made_for(clerk):
    budget = dspex.Budget(calls=1_000, on_short="fit")
    program = dspex.StrategyRace(same, 50).compile(
        student(), trainset=tickets(0, 30), valset=tickets(100, 12), budget=budget
    )
    assert program.ledger.calls <= 50


def test_without_a_bound_nothing_is_dropped(clerk):
    racing = dspex.StrategyRace(same, 120, race_z=None)
    program = racing.compile(student(), trainset=tickets(0, 30), valset=tickets(100, 12))
    assert {len(one["subscores"]) for one in program.candidate_programs} == {12}
    with pytest.raises(dspex.ConfigurationError, match="race_z='never'"):
        dspex.StrategyRace(same, race_z="never")


async def test_a_prompt_model_writes_instructions_for_the_leader(clerk):
    prompt_model = dspex.LM("clerk", provider=clerk, cache=False)
    racing = dspex.StrategyRace(same, 200, prompt_model=prompt_model)
    program = await racing.acompile(student(), trainset=tickets(0, 3), valset=tickets(100, 12))
    assert any("instruction" in label for label in labels(program))
    assert program.evidence.usage["prompt"]["calls"] >= 1
    # The wording wins here only if no set of three examples shows all words.
    assert program.evidence.score >= program.evidence.baseline


class Twice(dspex.Module):
    """A first step whose field no example has."""

    def __init__(self) -> None:
        super().__init__()
        self.note, self.route = dspex.Predict("ticket -> team: str"), dspex.Predict("ticket, note -> team")

    async def aforward(self, ticket: str) -> Any:
        note = await self.note.acall(ticket=ticket)
        return await self.route.acall(ticket=ticket, note=note.team)


async def test_where_examples_lack_a_step_its_own_good_runs_are_the_demonstrations(clerk):
    program = await dspex.aoptimize(Twice(), tickets(0, 40), same, 300, valset=tickets(100, 12))
    tried = [entry["program"] for entry in program.candidate_programs]
    demos = [demo for one in tried for predictor in one.predictors() for demo in predictor.demos]
    assert demos
    assert all(demo["augmented"] for demo in demos)
    assert program.ledger.calls <= 300


def test_runs_of_more_calls_than_predictors_leave_room_to_compare_what_they_show(clerk):
    class Asks(dspex.Module):
        """Asks its predictors more than once, as an agent does."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = Twice()

        async def aforward(self, ticket: str) -> dspex.Prediction:
            for _ in range(2):
                await self.parts.acall(ticket=ticket)
            return await self.parts.acall(ticket=ticket)

    program = dspex.optimize(Asks(), tickets(0, 30), same, 200)
    assert len(clerk.prompts) <= 200
    assert program.evidence.n == 10


def test_what_is_not_meant_is_refused_before_anything_is_paid(clerk):
    with pytest.raises(dspex.ConfigurationError, match="metric"):
        dspex.optimize(student(), tickets(0, 30), None)
    with pytest.raises(dspex.ConfigurationError, match="no argument 'valst'"):
        dspex.optimize(student(), tickets(0, 30), same, valst=tickets(0, 3))
    assert not clerk.prompts


def test_the_valset_that_is_made_of_the_trainset_has_whole_groups(clerk):
    """Four tickets in a row are one customer's: none that is shown is of a customer of those that decide."""
    rows = [dspex.Example(**one, customer=f"c{at // 4}").with_inputs("ticket") for at, one in enumerate(tickets(0, 36))]
    dspex.StrategyRace(same, 60).compile(student(), trainset=rows, group="customer", holdout=0)
    found = [[int(number) // 4 for number in re.findall(r"#(\d+)", text)] for text in clerk.prompts]
    deciding = {one for (*shown, one) in found if not shown}
    learnt = {one for (*shown, _) in found for one in shown}
    assert len(deciding) == 3
    assert learnt == set(range(9)) - deciding
