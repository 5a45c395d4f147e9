"""The demo on a scripted model, in this process: what it finds, prints, keeps and refuses."""

import json
import re
import threading

import pytest

import dspex
from dspex_demo.study import study
from dspex_demo.tasks import TASKS


def saved(folder):
    return (folder / "program.json").read_bytes()


def test_it_prints_tables_words_prompts_and_what_to_try_next(run_demo, clerk, tmp_path):
    out = run_demo(clerk("name"), tmp_path / "run")
    for words in (
        "Gemma Terms of Use",
        "On 45 untouched test examples",
        "zero-shot",
        "first demo set",
        "optimised",
        "of the gain is having demos at all",
        "What the search adds to the first draw is",
        "the prompt before",
        "the prompt after",
        f"Program saved as  {tmp_path}/run/program.json",
        "Try next:",
        f"dspex run {tmp_path}/run/program.json --lm llamacpp/gemma-3-270m --input 'person=",
    ):
        assert words in out
    assert "reused" not in out
    assert "lost by" not in out


def test_no_line_but_paths_and_commands_is_wider_than_80_columns(run_demo, clerk, tmp_path):
    out = run_demo(clerk("name"), tmp_path / "run")
    assert [line for line in out.splitlines() if len(line.rstrip()) > 80 and str(tmp_path) not in line] == []


@pytest.mark.parametrize("task", TASKS)
def test_every_task_shows_that_demos_help(run_demo, clerk, tmp_path, task):
    told = json.loads(run_demo(clerk(task), tmp_path / "run", task, as_json=True))
    assert told["scores"]["zero-shot"][0] == 0
    assert told["gains"]["both"]["verdict"] == "better"
    assert told["program"] == f"{tmp_path}/run/program.json"
    [message] = dspex.PlainAdapter().render(*parts(task, tmp_path / "run" / "program.json"))
    assert message.text.count(f"\n{TASKS[task].given.title()}: ") == 9


def parts(task, path):
    program = TASKS[task].program().load(path)
    return program.signature, program.demos, {TASKS[task].given: "x"}


def test_a_second_run_reuses_all_and_asks_the_model_for_nothing(run_demo, clerk, tmp_path):
    first = clerk("name")
    before = run_demo(first, tmp_path / "run")
    program, again = saved(tmp_path / "run"), clerk("name")
    after = run_demo(again, tmp_path / "run")
    assert again.calls == 0
    assert f"Cost: {first.calls} calls; " in before
    assert f"Cost: {first.calls} calls, {first.calls} of them reused and not made again; " in after
    assert "lost by" not in after
    assert saved(tmp_path / "run") == program
    assert tables(after) == tables(before)


def tables(out):
    return out[out.index("On 45") : out.index("Cost:")]


def test_json_is_all_that_it_prints(run_demo, clerk, tmp_path):
    provider = clerk("name")
    told = json.loads(run_demo(provider, tmp_path / "run", as_json=True))
    assert (told["calls"], told["reused"], told["lost"]) == (provider.calls, 0, 0)
    assert set(told["gains"]) == {"having demos", "search on top", "both"}


def test_calls_that_no_cache_kept_are_counted_as_they_were_paid(clerk, tmp_path):
    provider, task = clerk("name"), TASKS["name"]
    lm = dspex.LM("office/clerk", provider=provider, cache=False)
    found = study(task, task.data(0, 12, 4, 10), lm, tmp_path / "run", lambda now: None, sets=2, demos=3)
    assert (found.calls, found.reused) == (provider.calls, 0)


def test_progress_is_told_with_the_calls_that_are_planned(clerk, tmp_path):
    seen, task = [], TASKS["name"]
    lm = dspex.LM("office/clerk", provider=clerk("name", delay=0.05))
    study(task, task.data(0, 12, 4, 10), lm, tmp_path / "run", seen.append, sets=2, demos=3)
    assert {now.planned for now in seen} == {2 * 4 + 3 * 10}
    assert [now.calls for now in seen] == sorted(now.calls for now in seen)
    assert {now.phase for now in seen} <= {"load the model", "draw demos", "search", "judge", "judge the first set"}


@pytest.mark.parametrize(
    ("task", "seed", "part"), [("city", 0, "student"), ("name", 1, "trainset")], ids=["another task", "another seed"]
)
def test_the_folder_of_another_run_is_refused_and_left_alone(run_demo, clerk, tmp_path, task, seed, part):
    run_demo(clerk("name"), tmp_path / "run")
    journal = (tmp_path / "run" / "journal.jsonl").read_bytes()
    other = clerk(task, seed)
    with pytest.raises(dspex.JournalError, match=rf"belongs to another run: .*{part}.*a run_dir of its own") as caught:
        run_demo(other, tmp_path / "run", task, seed)
    assert other.calls == 0
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == journal


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(run_demo, clerk, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(dspex.JournalError, match=r"run folder .* cannot be used: .* Choose another run_dir") as caught:
        run_demo(clerk("name"), tmp_path / "file" / "run")
    assert "\n" not in str(caught.value)


def test_a_folder_in_use_is_refused_in_one_line(run_demo, clerk, tmp_path):
    held, done = threading.Event(), threading.Event()
    task = TASKS["name"]

    def hold(now):
        held.set()
        done.wait(10)

    lm = dspex.LM("office/clerk", provider=clerk("name", delay=0.05))
    arguments = (task, task.data(0, 12, 4, 10), lm, tmp_path / "run", hold)
    other = threading.Thread(target=study, args=arguments, kwargs={"sets": 2, "demos": 3})
    other.start()
    try:
        assert held.wait(10)
        with pytest.raises(dspex.JournalError, match=r"in use by process \d+ on .*choose another run_dir"):
            run_demo(clerk("name"), tmp_path / "run")
    finally:
        done.set()
        other.join()


def test_the_score_on_the_terminal_is_that_of_the_saved_program(run_demo, clerk, tmp_path):
    out = run_demo(clerk("name"), tmp_path / "run")
    [shown] = re.findall(r"│ optimised +│ +([\d.]+) %", out)
    program, task = TASKS["name"].program().load(tmp_path / "run" / "program.json"), TASKS["name"]
    with dspex.context(lm=dspex.LM("office/clerk", provider=clerk("name"), cache=False)):
        again = dspex.Evaluate(task.data(0).test, task.metric)(program)
    assert f"{again.score:.1f}" == shown
