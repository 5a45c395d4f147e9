"""The evidence of a compile: all its figures, as a table, and the same after saving and loading."""

import pytest

import dspex


async def test_it_has_every_figure_and_prints_as_a_table(lab, app):
    evidence = (await lab.compiled(lab.Model())).evidence
    low, high = evidence.interval
    assert low < evidence.score - evidence.baseline < high
    assert evidence.calls == sum(used["calls"] for used in evidence.usage.values()) > 0
    assert evidence.tokens > evidence.calls
    assert evidence.usd == 0
    assert "dspex" in evidence.versions
    headline, *rows = str(evidence).splitlines()
    assert headline == evidence.headline
    said = {row.split("  ")[1].strip(): row for row in rows}
    assert {
        "verdict",
        "score",
        "gain",
        "returned",
        "search",
        "cost, task",
        "cost, total",
        "note",
        "versions",
    } <= said.keys()
    assert f"{evidence.calls:,} calls" in said["cost, total"]


@pytest.mark.parametrize(("calls", "is_told"), [(8, True), (1000, False)])
async def test_a_budget_that_was_used_up_before_a_second_program_was_whole_is_told(lab, app, calls, is_told):
    evidence = (await lab.compiled(lab.Model(), budget=dspex.Budget(calls=calls, on_short="stop"))).evidence
    assert ("used up before any other program" in evidence.headline) is is_told


async def test_it_is_the_same_after_saving_and_loading(lab, app, tmp_path):
    program = await lab.compiled(lab.Model())
    first = lab.saved(program, tmp_path)
    loaded = dspex.Predict("question -> answer").load(tmp_path / "program.json")
    assert loaded.evidence == program.evidence
    assert lab.saved(loaded, tmp_path) == first


def test_a_file_with_damaged_evidence_is_refused_whole(tmp_path):
    path = tmp_path / "program.json"
    program = dspex.Predict("question -> answer")
    program.demos = [{"question": "q", "answer": "a"}]
    program.save(path)
    path.write_text(path.read_text().replace('"version": 1', '"version": 1, "evidence": {"verdict": 3}'))
    fresh = dspex.Predict("question -> answer")
    with pytest.raises(dspex.ProgramFileError, match="its evidence is damaged"):
        fresh.load(path)
    assert fresh.demos == []
