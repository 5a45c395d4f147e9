"""What an evaluation writes and shows."""

import csv
import json
import os
import pty
import stat
import sys
from contextlib import suppress

import pytest

from dspex.core.errors import ProgramFileError
from dspex.core.example import Example, Prediction
from dspex.core.usage import Usage
from dspex.evaluate.evaluate import Evaluate
from dspex.evaluate.meter import NOTHING
from dspex.evaluate.report import ProgressBar, Tally
from dspex.evaluate.running import Row
from dspex.evaluate.statistics import wilson
from dspex.runtime.callbacks import BaseCallback


def test_json_holds_the_fields_of_example_and_prediction_and_the_metric(run, echo, questions, exact, tmp_path):
    path = tmp_path / "rows.json"
    run(Evaluate(questions(2, wrong=1), exact, save_as_json=str(path)), echo())
    assert json.loads(path.read_text()) == [
        {"question": "0", "example_answer": "?", "pred_answer": "0", "exact": 0.0},
        {"question": "1", "example_answer": "1", "pred_answer": "1", "exact": 1.0},
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_csv_has_all_columns_also_of_rows_that_failed(run, echo, questions, exact, tmp_path):
    path = tmp_path / "rows.csv"
    run(Evaluate(questions(2), exact), echo(failing=frozenset({0})), save_as_csv=str(path))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    error = rows[0].pop("error")
    assert error.startswith("Traceback")
    assert rows[0] == {"question": "0", "answer": "0", "exact": "0.0", "example_answer": "", "pred_answer": ""}
    assert rows[1] == {
        "question": "1", "answer": "", "exact": "1.0", "error": "", "example_answer": "1", "pred_answer": "1",
    }  # fmt: skip


def test_values_that_are_no_text_are_written_as_data(run, tmp_path):
    path = tmp_path / "rows.json"
    devset = [Example(question="q", tags=["a"], day={"n": 1}).with_inputs("question")]

    async def bare(question):
        return "a bare text"

    run(Evaluate(devset, lambda example, prediction: 1, save_as_json=str(path)), bare)
    (row,) = json.loads(path.read_text())
    assert row == {"question": "q", "tags": ["a"], "day": {"n": 1}, "prediction": "a bare text", "<lambda>": 1.0}


def test_a_folder_that_cannot_be_written_is_named(run, echo, questions, exact, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProgramFileError, match=r"file/rows\.csv"):
        run(Evaluate(questions(1), exact, save_as_csv=str(tmp_path / "file" / "rows.csv")), echo())


@pytest.mark.parametrize(("asked", "shown"), [(True, 6), (2, 2)])
def test_the_table_shows_rows_on_stdout(run, echo, questions, exact, capsys, asked, shown):
    run(Evaluate(questions(6), exact, display_table=asked), echo())
    out = capsys.readouterr().out
    assert "question" in out
    assert out.count("│ 1.0 ") == shown
    assert "100.00 [61.0, 100.0] (n=6); 0 calls, 0 tokens" in out


def test_progress_is_silent_where_there_is_no_terminal(run, echo, questions, exact, capsys):
    run(Evaluate(questions(6), exact, display_progress=True), echo())
    assert capsys.readouterr() == ("", "")


def read_all(terminal: int) -> str:
    """All that was written, which may be more than a terminal gives at once."""
    os.set_blocking(terminal, False)
    parts = []
    with suppress(BlockingIOError):
        while part := os.read(terminal, 100_000):
            parts.append(part)
    return b"".join(parts).decode()


def test_progress_on_a_terminal_shows_score_interval_and_cost(echo, questions, exact, monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "140")
        Evaluate(questions(20, wrong=5), exact, display_progress=True)(echo())
        shown = read_all(ours)
    os.close(ours)
    assert "20/20" in shown
    assert "75.0 [53.1, 88.8], 0 calls, 0 tokens" in shown


def row(score: float, usage: Usage = NOTHING) -> Row:
    return Row(0, Example(), Prediction(), score, usage=usage, judge_usage=usage)


def test_the_bar_tells_score_interval_and_price_of_what_has_come():
    rows: list[Row] = []
    tally = Tally(rows, 30)
    assert tally.state() == (0, 30, "0 calls, 0 tokens")
    rows += [row(1.0, Usage(10, 2, calls=1, usd=0.01))] * 3 + [row(0.0)]
    low, high = wilson(3, 4)
    assert tally.state() == (4, 30, f"75.0 [{100 * low:.1f}, {100 * high:.1f}], 6 calls, 72 tokens, $0.0600")
    rows += [row(0.5)] * 4
    assert tally.state()[2].startswith("62.5 [39.6, 85.4], 6 calls")


def test_a_progress_bar_takes_any_number_of_updates_without_a_terminal():
    with ProgressBar("Compile") as bar:
        for done in range(1000):
            bar.update(done, 1000, "best 0.5")


def test_callbacks_hear_of_an_evaluation(run, echo, questions, exact, own_app):
    heard = []

    class Listener(BaseCallback):
        def on_evaluate_start(self, call_id, instance, inputs):
            heard.append((inputs["callback_metadata"], type(instance)))

        def on_evaluate_end(self, call_id, outputs, exception=None):
            heard.append((outputs and outputs.score, exception and type(exception)))

    own_app.configure(callbacks=[Listener()])
    run(Evaluate(questions(2), exact), echo(), callback_metadata={"step": 3})
    assert heard == [({"step": 3}, Evaluate), (100.0, None)]


def test_a_result_of_another_kind_has_the_same_form():
    result = Prediction(score=50.0, results=[])
    assert result.score == 50.0
