"""The data of the tasks: made from a seed, the same everywhere, and fair."""

import hashlib
import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import msgspec
import pytest

from dspex_demo.tasks import TASKS, TEST, TRAIN, VALIDATION

SEEDS = range(5)
# What llama.cpp's grammars say here is what these regular expressions say.
FORMS = {
    "name": r" [A-Z][a-z]+, [A-Z][a-z]+\n",
    "header": r" [a-z]+_[a-z]+\n",
    "city": r" [A-Z][A-Z]\n",
    "date": r" [0-9]{4}-[0-9]{2}-[0-9]{2}\n",
}


def rows(task, seed):
    data = TASKS[task].data(seed)
    return [
        [(one[TASKS[task].given], one[TASKS[task].wanted]) for one in part] for part in msgspec.structs.astuple(data)
    ]


def digest(task, seed):
    return hashlib.sha256(repr(rows(task, seed)).encode()).hexdigest()


def to_regex(grammar):
    """GBNF of this module's kind, a row of literals and classes, as a regular expression."""
    assert grammar.startswith("root ::= ")
    parts = re.findall(r'"[^"]*"|\[[^\]]*\][+*]?(?:\{\d+\})?', grammar)
    return "".join(part[1:-1] if part.startswith('"') else part for part in parts)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_examples_share_an_answer_or_an_input(task, seed):
    train, validation, test = rows(task, seed)
    assert (len(train), len(validation), len(test)) == (TRAIN, VALIDATION, TEST)
    everything = [*train, *validation, *test]
    assert len({answer for _, answer in everything}) == len(everything)
    assert len({given for given, _ in everything}) == len(everything)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_test_answer_can_be_copied_from_what_a_program_learns_from(task, seed):
    train, validation, test = rows(task, seed)
    known = {answer for _, answer in (*train, *validation)}
    assert not known.intersection(answer for _, answer in test)


@pytest.mark.parametrize("task", TASKS)
def test_every_answer_has_the_form_that_the_grammar_allows(task):
    assert to_regex(TASKS[task].grammar) == FORMS[task]
    for seed in SEEDS:
        for given, answer in chain(*rows(task, seed)):
            assert re.fullmatch(FORMS[task], f" {answer}\n"), (given, answer)


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_makes_the_same_data_and_another_one_other_data(task):
    assert digest(task, 3) == digest(task, 3)
    assert digest(task, 3) != digest(task, 4)


def test_the_data_do_not_depend_on_the_hash_seed():
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_tasks as t; "
        "print([t.digest(task, 0) for task in t.TASKS])"
    )

    def told(hash_seed):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        ).stdout

    assert told("0") == told("7") == f"{[digest(task, 0) for task in TASKS]}\n"


@pytest.mark.parametrize("task", TASKS)
def test_the_program_has_the_tasks_fields_and_no_demos(task):
    one = TASKS[task]
    program = one.program()
    assert list(program.signature.input_fields) == [one.given]
    assert list(program.signature.output_fields) == [one.wanted]
    assert (program.signature.instructions, program.demos) == (one.instructions, [])
    assert program.config == {"grammar": one.grammar, "max_tokens": one.max_tokens}


@pytest.mark.parametrize(("told", "is_right"), [("AT", True), (" AT\n", True), ("at", False), ("ATX", False)])
def test_an_answer_counts_if_it_is_right_to_the_letter(told, is_right):
    from dspex import Example, Prediction

    example = Example(city="Vienna", country="AT").with_inputs("city")
    assert TASKS["city"].metric(example, Prediction(country=told)) is is_right


def test_smaller_data_are_the_beginning_of_the_same_draw():
    small, whole = TASKS["name"].data(0, 4, 2, 3), TASKS["name"].data(0)
    assert [len(part) for part in msgspec.structs.astuple(small)] == [4, 2, 3]
    assert small.train == whole.train[:4]
