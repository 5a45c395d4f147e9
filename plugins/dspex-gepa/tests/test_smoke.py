"""The least that must hold on every Python."""

import dspex


def test_it_is_found_by_its_name():
    assert dspex.GEPA.__module__ == "dspex_gepa.gepa"


def test_a_program_learns_from_feedback_and_says_what_it_cost(clerk, office, tmp_path):
    gepa = dspex.GEPA(office.metric, max_metric_calls=120, reflection_lm=clerk.lm, track_stats=True)
    program = gepa.compile(office.student, **office.data, run_dir=tmp_path / "run")
    assert program.evidence.verdict == "better"
    assert "goes to" in program.signature.instructions
    assert program.ledger.paid == len(clerk.requests)
    assert program.detailed_results.total_metric_calls <= 120
    paid = len(clerk.requests)
    again = gepa.compile(office.student, **office.data, run_dir=tmp_path / "run")
    assert len(clerk.requests) == paid
    assert again.dump_state() == program.dump_state()


async def test_a_compile_on_a_running_loop(clerk, office):
    async with dspex.App(lm=dspex.settings.lm):
        gepa = dspex.GEPA(office.metric, auto="light", reflection_lm=clerk.lm)
        program = await gepa.acompile(office.student, **office.data)
    assert program.evidence.stopped == "done"
