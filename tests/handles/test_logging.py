"""Events as lines, where they are asked for."""

import logging
import subprocess
import sys

import pytest
import structlog

import dspex
from dspex.plugin import LMResponse, Usage
from dspex.testing import VirtualClock, simulate

KEY = "sk-canary-4711"


class Provider:
    """Fails once where its model is named so."""

    failed = False

    async def complete(self, request):
        if request.model == "fails" and not self.failed:
            self.failed = True
            raise dspex.Unavailable("down", retry_after=0.0)
        if request.model == "bad":
            raise dspex.BadRequest(f"no {KEY}")
        return LMResponse.from_text("[[ ## answer ## ]]\n4", Usage(10, 5))


class Program(dspex.Module):
    def __init__(self, name):
        self.predict = dspex.Predict("question -> answer")
        self.predict.lm = dspex.LM(f"x/{name}", provider=Provider(), api_key=KEY, cache=False)

    async def aforward(self):
        return await self.predict.acall(question="What is secret?")


class Kept:
    """A structlog logger's target that keeps (level, event, fields)."""

    def __init__(self):
        self.lines = []

    def __getattr__(self, level):
        return lambda event, **fields: self.lines.append((level, event, fields))


@pytest.fixture
def kept():
    target = Kept()
    yield target
    dspex.disable_logging()


def test_nothing_is_said_unasked(capfd):
    Program("fine")()
    assert capfd.readouterr() == ("", "")


def test_a_request_is_a_line_with_its_place_and_endpoint(kept):
    dspex.enable_logging(logger=kept)
    Program("fine")()
    dspex.disable_logging()
    [(level, event, fields)] = kept.lines
    assert (level, event) == ("info", "request finished")
    assert (fields["endpoint"], fields["module"], fields["attempts"]) == ("x/fine", "Program", 1)
    assert (fields["input_tokens"], fields["output_tokens"]) == (10, 5)
    assert fields["request"] > 0


def test_lines_of_one_request_share_its_number(kept):
    async def main():
        async with dspex.App(clock=VirtualClock()):
            dspex.enable_logging("debug", kept)
            await Program("fails").acall()

    simulate(main)
    assert [(level, event) for level, event, _ in kept.lines] == [
        ("debug", "request started"),
        ("warning", "attempt failed"),
        ("info", "request finished"),
    ]
    assert len({(fields["request"], fields["module"]) for *_, fields in kept.lines}) == 1


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("warning", 2), ("error", 0)])
def test_a_level_leaves_out_what_is_below(kept, level, count):
    dspex.enable_logging(level, kept)
    with pytest.raises(dspex.BadRequest):
        Program("bad")()
    dspex.disable_logging()
    assert len(kept.lines) == count


def test_an_unknown_level_is_refused():
    with pytest.raises(dspex.ConfigurationError, match="no log level 'loud'"):
        dspex.enable_logging("loud")


def test_it_ends_with_disable_and_is_never_twofold(kept):
    dspex.enable_logging(logger=kept)
    dspex.enable_logging(logger=kept)
    Program("fine")()
    dspex.disable_logging()
    Program("fine")()
    assert len(kept.lines) == 1


@pytest.mark.fault("X02")
def test_lines_hold_neither_keys_nor_bodies_and_nothing_global_is_configured(capfd):
    dspex.enable_logging("debug")
    with pytest.raises(dspex.BadRequest):
        Program("bad")()
    dspex.disable_logging()
    out, err = capfd.readouterr()
    assert "request finished" in err
    assert "x/bad" in err
    assert [text for text in (KEY, "secret") if text in err] == []
    assert out == ""
    assert not structlog.is_configured()
    assert not logging.getLogger("dspex").handlers


def test_a_scripts_last_lines_are_written(tmp_path):
    script = """
import dspex
from dspex.plugin import LMResponse
class Provider:
    async def complete(self, request):
        return LMResponse.from_text("4")
dspex.enable_logging()
dspex.LM("x/y", provider=Provider())("2+2?")
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "request finished" in done.stderr
