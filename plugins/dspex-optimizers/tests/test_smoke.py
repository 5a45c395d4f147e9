"""The least that must hold on every Python."""

import dspex


def test_each_optimizer_is_found_by_its_name():
    names = ["LabeledFewShot", "BootstrapFewShot", "BootstrapFewShotWithRandomSearch", "BootstrapRS"]
    assert [getattr(dspex, name).__name__ for name in names] == [*names[:3], names[2]]
    assert [getattr(dspex, name).__name__ for name in ("COPRO", "SIMBA", "InferRules")] == [
        "COPRO",
        "SIMBA",
        "InferRules",
    ]


def test_a_search_gives_the_best_program_and_what_it_cost(model, data, student, right, tmp_path):
    search = dspex.BootstrapRS(right, num_candidate_programs=4)
    program = search.compile(student, trainset=data.trainset, valset=data.valset, run_dir=tmp_path / "run")
    pool = program.candidate_programs
    assert program.demos
    assert pool[0]["score"] == max(one["score"] or 0 for one in pool)
    assert program.ledger.paid == len(model.prompts)
    paid = len(model.prompts)
    again = search.compile(student, trainset=data.trainset, valset=data.valset, run_dir=tmp_path / "run")
    assert len(model.prompts) == paid
    assert again.dump_state() == program.dump_state()


async def test_a_bootstrap_on_a_running_loop(model, data, student, right):
    async with dspex.App(lm=dspex.settings.lm):
        program = await dspex.BootstrapFewShot(right, max_labeled_demos=0).acompile(student, trainset=data.trainset)
    assert [demo["augmented"] for demo in program.demos] == [True] * 4
