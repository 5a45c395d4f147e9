"""The search: what it finds, which parts it changes, what it keeps, and what a failure costs."""

import json

import pytest

import dspex
from dspex.plugin import BadRequest
from dspex.teleprompt.gepa.gepa import DspyGEPAResult


def compiled(office, student=None, data=None, metric=None, **options):
    given = {"max_metric_calls": 150, "reflection_lm": dspex.settings.lm, "track_stats": True, **options}
    seeds = {"seed": given.pop("compile_seed")} if "compile_seed" in given else {}
    return dspex.GEPA(metric or office.metric, **given).compile(
        student or office.student, **(data or office.data), **seeds
    )


def test_instructions_get_better_by_what_is_said_of_runs(clerk, office):
    program = compiled(office)
    assert program.evidence.verdict == "better"
    assert all(f"{word} goes to {desk}" in program.signature.instructions for word, desk in office.desks.items())
    assert dspex.Evaluate(devset=office.tickets(6, 500), metric=office.metric)(program).score == 100.0
    assert office.student.signature.instructions != program.signature.instructions


def test_a_search_ends_when_the_valset_is_all_right(clerk, office):
    short, long = (compiled(office, max_metric_calls=calls).detailed_results for calls in (200, 2_000))
    assert short.total_metric_calls == long.total_metric_calls < 100
    other = compiled(office, max_metric_calls=200, skip_perfect_score=False).detailed_results
    assert other.total_metric_calls > 180


def test_detailed_results_have_dspys_names_and_add_up(clerk, office, tmp_path):
    program = compiled(office, track_best_outputs=True)
    found = program.detailed_results
    assert isinstance(found, DspyGEPAResult)
    count = len(found.candidates)
    assert count > 2
    assert found.parents[0] == [None]
    assert all(parent < place for place, [parent] in enumerate(found.parents) if place)
    assert len(found.val_aggregate_scores) == len(found.val_subscores) == found.num_full_val_evals == count
    for candidate, mean, scores in zip(found.candidates, found.val_aggregate_scores, found.val_subscores, strict=True):
        again = dspex.Evaluate(devset=office.data["valset"], metric=office.metric)(candidate)
        assert again.score == pytest.approx(100 * mean, abs=0.01)
        assert [float(score) for *_, score in again.results] == list(scores.values())
    assert found.discovery_eval_counts[0] == 0
    assert found.discovery_eval_counts == sorted(set(found.discovery_eval_counts))
    assert found.best_candidate is found.candidates[found.best_idx]
    assert found.best_candidate.dump_state() == program.dump_state()
    best = found.highest_score_achieved_per_val_task
    for place, front in found.per_val_instance_best_candidates.items():
        assert {one for one in range(count) if found.val_subscores[one][place] == best[place]} == front
        assert [one for one, _ in found.best_outputs_valset[place]] == sorted(front)
        assert all(made.desk for _, made in found.best_outputs_valset[place])
    assert json.loads(json.dumps(found.to_dict()))["best_idx"] == found.best_idx
    assert found.seed == 0
    program.save(tmp_path / "program.json")
    loaded = dspex.Predict("ticket -> desk").load(tmp_path / "program.json")
    assert loaded.dump_state() == program.dump_state()
    assert program.deepcopy().detailed_results is found


def test_results_are_left_out_unless_they_are_asked_for(clerk, office):
    assert not hasattr(compiled(office, track_stats=False), "detailed_results")
    assert compiled(office).detailed_results.best_outputs_valset is None


@pytest.mark.parametrize("strategy", ["pareto", "current_best"])
def test_the_seed_decides_and_nothing_else(clerk, office, strategy):
    clerk.most = 1
    made = [
        compiled(office, candidate_selection_strategy=strategy, max_metric_calls=80, **given).detailed_results.to_dict()
        for given in ({"seed": 1}, {"seed": 1, "num_threads": 1}, {"compile_seed": 1}, {"seed": 2}, {"seed": None})
    ]
    assert made[0] == made[1]
    assert made[2]["candidates"] == made[0]["candidates"] != made[3]["candidates"]


class Ward(dspex.Module):
    """Two parts, one for each half of the tickets, and one that is never run."""

    def __init__(self):
        super().__init__()
        self.inbox = dspex.Predict("ticket -> desk")
        self.outbox = dspex.Predict("ticket -> desk")
        self.spare = dspex.Predict("ticket -> desk")

    async def aforward(self, ticket):
        part = self.outbox if ticket.split()[-1] in ("parcel", "courier") else self.inbox
        return await part.acall(ticket=ticket)


def changed(found):
    """Which components each candidate has changed since its first parent."""
    texts = found.to_dict()["candidates"]
    return [
        {name for name in texts[0] if texts[place][name] != texts[found.parents[place][0]][name]}
        for place in range(1, len(texts))
    ]


def test_components_take_turns_and_one_that_is_not_called_has_none(clerk, office):
    asked = []

    def same(candidate, reflective_dataset, components_to_update):
        asked.extend(components_to_update)
        return candidate

    compiled(office, Ward(), instruction_proposer=same, reflection_minibatch_size=12, max_metric_calls=100)
    assert asked == ["inbox", "outbox"] * (len(asked) // 2) + ["inbox"] * (len(asked) % 2)
    assert len(asked) >= 3


def test_all_components_change_at_once(clerk, office):
    found = compiled(
        office, Ward(), component_selector="all", use_merge=False, reflection_minibatch_size=6
    ).detailed_results
    assert changed(found)[0] == {"inbox", "outbox"}
    assert found.candidates[-1].spare.signature.instructions == found.candidates[0].spare.signature.instructions


def test_a_function_chooses_the_components(clerk, office):
    seen = []

    def select(state, trajectories, subsample_scores, candidate_idx, candidate):
        seen.append((state, trajectories, subsample_scores, candidate_idx, candidate))
        return ["outbox"]

    found = compiled(office, Ward(), component_selector=select).detailed_results
    assert all(one == {"outbox"} for one in changed(found))
    for place, (state, trajectories, scores, idx, candidate) in enumerate(seen):
        assert list(candidate) == state.list_of_named_predictors == ["inbox", "outbox", "spare"]
        assert candidate == state.program_candidates[idx]
        assert [one["score"] for one in trajectories] == scores
        assert [one["example"].ticket for one in trajectories] == [one["trace"][0][1]["ticket"] for one in trajectories]
        assert state.total_num_evals >= 12 + 3 * (place + 1)
        assert state.program_full_scores_val_set[idx] <= max(state.pareto_front_valset.values())


@pytest.mark.parametrize("wrong", [["letterbox"], "inbox", None])
def test_a_component_that_there_is_not_is_refused(clerk, office, wrong):
    with pytest.raises(dspex.ConfigurationError, match="inbox, outbox, spare"):
        compiled(office, Ward(), component_selector=lambda *told: wrong)


def test_what_two_candidates_have_learnt_apart_is_merged(clerk, office):
    # Two proposals of the first round change a part each, as the parts take turns.
    options = {"max_metric_calls": 200, "proposals": 2, "reflection_minibatch_size": 12}
    found = compiled(office, Ward(), **options).detailed_results
    assert found.parents[:4] == [[None], [0], [0], [1, 2]]
    student, first, second, merged = found.to_dict()["candidates"][:4]
    assert first["outbox"] == student["outbox"]
    assert second["inbox"] == student["inbox"]
    assert merged == {"inbox": first["inbox"], "outbox": second["outbox"], "spare": student["spare"]}
    assert found.val_aggregate_scores[3] == pytest.approx(sum(found.val_aggregate_scores[1:3]))
    for none in ({"use_merge": False}, {"max_merge_invocations": 0}):
        other = compiled(office, Ward(), **options, **none).detailed_results
        assert all(len(parents) == 1 for parents in other.parents)
    assert compiled(office, Ward(), **options, max_merge_invocations=None).detailed_results.parents == found.parents


def test_a_merge_that_is_worse_on_its_sample_is_not_scored_further(clerk, office):
    class Jealous(Ward):
        """Runs badly where both parts have learnt something."""

        async def aforward(self, ticket):
            texts = [self.inbox.signature.instructions, self.outbox.signature.instructions]
            made = await super().aforward(ticket=ticket)
            return dspex.Prediction(desk="nobody") if all("goes to" in text for text in texts) else made

    options = {"max_metric_calls": 12 + 2 * (24 + 12) + 5 + 12, "proposals": 2, "reflection_minibatch_size": 12}
    program = compiled(office, Jealous(), **options)
    found = program.detailed_results
    assert found.parents == [[None], [0], [0]]
    assert found.total_metric_calls == 12 + 2 * (24 + 12) + 5


def test_a_proposer_of_ones_own_needs_no_model(clerk, office):
    asked = []

    def proposer(candidate, reflective_dataset, components_to_update):
        asked.append((candidate, reflective_dataset, components_to_update))
        rules = [record["Feedback"] for record in reflective_dataset["self"] if "goes to" in record["Feedback"]]
        return {"self": ". ".join([candidate["self"], *rules])}

    program = compiled(office, instruction_proposer=proposer, reflection_lm=None)
    assert program.evidence.verdict == "better"
    assert not clerk.reflections
    candidate, dataset, components = asked[0]
    assert (candidate, components) == ({"self": office.student.signature.instructions}, ["self"])
    assert len(dataset["self"]) == 3
    for record in dataset["self"]:
        assert list(record) == ["Inputs", "Generated Outputs", "Feedback"]
        assert record["Generated Outputs"] == {"desk": "nobody"}


@pytest.mark.parametrize("is_async", [False, True])
def test_a_proposer_is_called_under_the_reflection_model_and_its_calls_are_the_runs(clerk, office, is_async, tmp_path):
    other = office.Clerk()

    async def later(candidate, reflective_dataset, components_to_update):
        assert dspex.settings.lm.model == "other"
        await dspex.Predict("ticket -> desk").acall(ticket=candidate["self"])
        return {"self": "Look."}

    def now(candidate, reflective_dataset, components_to_update):
        dspex.Predict("ticket -> desk")(ticket=candidate["self"])
        return {"self": "Look."}

    lm = dspex.LM("other", provider=other, cache=False)
    options = {"instruction_proposer": later if is_async else now, "reflection_lm": lm, "max_metric_calls": 60}
    gepa = dspex.GEPA(office.metric, **options)
    program = gepa.compile(office.student, **office.data, run_dir=tmp_path / "run")
    asked = len(other.requests)
    assert asked == program.evidence.usage["compute"]["calls"] > 0
    gepa.compile(office.student, **office.data, run_dir=tmp_path / "run")
    assert len(other.requests) == asked


def failing(candidate, reflective_dataset, components_to_update):
    raise RuntimeError("out of ideas")


@pytest.mark.parametrize(
    "proposer", [failing, lambda **given: None, lambda **given: {"self": " "}, lambda **given: {"other": "x"}]
)
def test_a_proposer_that_fails_costs_its_round_only(clerk, office, proposer):
    program = compiled(office, instruction_proposer=proposer, max_metric_calls=60)
    assert program.evidence.stopped == "done"
    assert len(program.detailed_results.candidates) == 1
    assert any("new texts could not be had" in note for note in program.evidence.notes)


def test_a_reflection_that_fails_costs_its_round_only(office):
    reflections = []

    async def before(request):
        if "new_instruction" in request.messages[-1].text:
            reflections.append(request)
            if len(reflections) % 2:
                raise BadRequest("a fault by script")

    clerk = office.Clerk(before=before)
    dspex.configure(lm=clerk.lm)
    program = compiled(office)
    assert program.evidence.verdict == "better"
    notes = [note for note in program.evidence.notes if "could not be had" in note]
    assert len(notes) == 1
    assert "a fault by script" in notes[0]


def test_examples_that_fail_score_the_failure_score(clerk, office):
    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        if gold.ticket.endswith("login"):
            raise KeyError("login")
        return office.metric(gold, pred)

    found = compiled(office, metric=metric, failure_score=-1.0, max_metric_calls=100).detailed_results
    logins = [place for place, one in enumerate(office.data["valset"]) if one.ticket.endswith("login")]
    assert {scores[place] for scores in found.val_subscores for place in logins} == {-1.0}
    assert max(found.val_aggregate_scores) > found.val_aggregate_scores[0]


def test_a_text_that_was_there_before_is_not_scored_again(clerk, office):
    gepa = dspex.GEPA(office.metric, max_metric_calls=100, instruction_proposer=lambda candidate, **told: candidate)
    program = gepa.compile(office.student, **office.data)
    # The student on both sets, each run paid once, and no child anywhere.
    assert len(clerk.requests) == 24
    assert len(program.candidate_programs) == 1


def test_the_same_question_is_asked_for_another_answer(office):
    clerk = office.Clerk(most=0)
    dspex.configure(lm=clerk.lm)
    compiled(
        office, data={"trainset": office.tickets(2), "valset": office.tickets(2), "holdout": 0}, max_metric_calls=30
    )
    assert len(clerk.reflections) > 2
    assert len(set(clerk.reflections)) <= 2  # the two examples in either order


def test_a_trainset_that_is_the_valset_is_paid_once(clerk, office):
    clerk.most = 0
    compiled(office, data={"trainset": office.tickets(12), "holdout": 0}, max_metric_calls=60)
    assert len(clerk.requests) - len(clerk.reflections) == 12
