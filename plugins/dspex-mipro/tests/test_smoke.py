"""The least that must hold on every Python."""

import dspex


def test_each_optimizer_is_found_by_its_name():
    names = ["MIPROv2", "BootstrapFewShotWithOptuna"]
    assert [getattr(dspex, name).__name__ for name in names] == names


def test_a_search_gives_the_best_program_and_what_it_cost(model, data, student, right, tmp_path):
    search = dspex.MIPROv2(right)
    program = search.compile(student, trainset=data.trainset, valset=data.valset, run_dir=tmp_path / "run")
    assert program.score == max(one["score"] or 0 for one in program.candidate_programs)
    assert program.ledger.paid == model.calls
    paid = model.calls
    again = search.compile(student, trainset=data.trainset, valset=data.valset, run_dir=tmp_path / "run")
    assert model.calls == paid
    assert again.dump_state() == program.dump_state()


async def test_one_demonstration_is_found_on_a_running_loop(model, data, student, right):
    search = dspex.BootstrapFewShotWithOptuna(right, num_candidate_programs=3)
    async with dspex.App(lm=dspex.settings.lm):
        program = await search.acompile(student, trainset=data.trainset, valset=data.valset, max_demos=3)
    assert len(program.demos) <= 1
