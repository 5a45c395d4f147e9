"""Packages that somebody else wrote, installed from their wheels beside the kernel's into an empty environment."""

import json

import pytest

PROGRAM = """
import asyncio, json, dspex

async def main():
    async with dspex.App(lm=dspex.LM("acme/m1")):
        return (await dspex.Predict("question -> answer").acall(question="2+2?")).answer

answer = asyncio.run(main())
from acme_dspex.parts import HEARD
print(json.dumps({"answer": answer, "heard": HEARD}))
"""
UNKNOWN = "import dspex; dspex.LM('lemon/m1')('hello')"


@pytest.fixture
def command(bare, bare_run, tmp_path):
    """Runs `dspex ...` of the bare environment in an empty folder."""
    return lambda *arguments, **options: bare_run(bare.parent / "dspex", *arguments, cwd=tmp_path, **options)


def test_a_provider_a_middleware_and_a_subscriber_are_found_and_used(bare, bare_run, tmp_path):
    said = json.loads(bare_run(bare, "-W", "error", "-c", PROGRAM, cwd=tmp_path).stdout)
    assert said["answer"] == "m1 says 4, stamped"
    assert said["heard"] == ["RequestStarted", "RequestFinished"]


@pytest.mark.fault("G01")
def test_a_broken_package_is_named_by_plugins_and_doctor_and_harms_nothing(command):
    rows = {row["name"]: row for row in json.loads(command("plugins", "--json").stdout)}
    assert rows["lemon"]["status"] == "broken"
    assert rows["lemon"]["error"] == "SystemExit: lemon was never finished"
    assert rows["lemon"]["distribution"] == "lemon-for-dspex"
    assert rows["acme"]["status"] == "ok"
    assert rows["acme"]["version"] == "2.5"
    assert rows["acme"]["provides"] == {
        "lm_providers": ["acme"],
        "middleware": ["stamp"],
        "subscribers": ["listener"],
        "commands": ["acme-hello"],
    }
    told = command("doctor", ok=False)
    assert told.returncode == 1
    assert "lemon (lemon-for-dspex 0.9) is broken. SystemExit: lemon was never finished" in told.stdout
    assert "DSPEX_PLUGINS=no:lemon" in told.stdout
    assert "acme: Acme's models are made of lemons." in told.stdout


def test_a_broken_package_is_named_where_what_it_might_offer_is_missing(bare, bare_run, tmp_path):
    done = bare_run(bare, "-c", UNKNOWN, cwd=tmp_path, ok=False)
    assert "No LM provider 'lemon', asked for by dspex.LM('lemon/m1')" in done.stderr
    assert "Installed: acme. Failed to load: lemon (SystemExit: lemon was never finished)" in done.stderr


def test_a_blocked_package_is_not_loaded(command):
    told = command("-p", "no:lemon", "doctor")
    assert "lemon (lemon-for-dspex 0.9) is blocked by DSPEX_PLUGINS or -p" in told.stdout
    assert "Nothing is broken." in told.stdout


def test_a_package_adds_commands(command):
    assert command("acme-hello").stdout == "hello from Acme\n"
    assert "Greet from Acme." in command("--help").stdout
    assert command("-p", "no:acme", "acme-hello", ok=False).returncode == 2


def test_a_saved_program_runs_by_command(command, tmp_path, bare, bare_run):
    bare_run(bare, "-c", "import dspex; dspex.Predict('question -> answer').save('p.json')", cwd=tmp_path)
    done = command("run", "p.json", "--input", "question=2+2?", "--lm", "acme/m2", "--json")
    assert json.loads(done.stdout) == {"answer": "m2 says 4, stamped"}
