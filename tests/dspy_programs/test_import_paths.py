"""Modules that DSPy has are reached after `import dspex` alone, where DSPy itself asks for an import of some."""

import subprocess
import sys

import pytest

import dspex


@pytest.mark.parametrize(
    "path",
    [
        "datasets.DataLoader",
        "evaluate.Evaluate",
        "evaluate.normalize_text",
        "experimental.Citations",
        "teleprompt.bootstrap_trace_data",
    ],
)
def test_a_path_needs_no_import_of_its_own(path, tmp_path):
    subprocess.run([sys.executable, "-c", f"import dspex; dspex.{path}"], check=True, cwd=tmp_path)


def test_optimizers_stand_where_dspy_has_them_and_a_missing_one_says_what_to_install():
    from dspex.teleprompt import Teleprompter

    assert issubclass(Teleprompter, dspex.Optimizer)
    with pytest.raises(AttributeError, match="NoSuchOptimizer"):
        dspex.teleprompt.NoSuchOptimizer  # noqa: B018


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("PythonInterpreter", "dspex-monty or dspex-bwrap"),
        ("ColBERTv2", "configure\\(rm="),
        ("Flex", "as they stand"),
        ("AvatarOptimizer", "SIMBA"),
    ],
)
def test_what_is_not_carried_says_what_stands_in_its_place(name, instead):
    with pytest.raises(AttributeError, match=f"dspex has no {name}: .*{instead}"):
        getattr(dspex, name)
    assert not hasattr(dspex, name)


def test_a_path_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nowhere'"):
        dspex.nowhere.thing  # noqa: B018
