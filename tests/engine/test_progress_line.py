"""What the terminal says while a compile runs."""

import pytest

from dspex.engine.progress import Ledger, Progress, ProgressLine


class Hands:
    """A clock that is set by hand."""

    def __init__(self):
        self.at = 0.0

    def monotonic(self):
        return self.at


@pytest.fixture
def hands():
    return Hands()


def said(line):
    return line()[2]


def test_it_says_for_how_long_nothing_has_come(hands):
    told = [Progress("running", "search", 3, 10, spent=Ledger(calls=3))]
    line = ProgressLine(lambda: told[-1], hands)
    assert line() == (3, 10, "search  3 calls, 0 tokens")
    hands.at = 9.0
    assert "no answer" not in said(line)
    hands.at = 34.4
    assert said(line).endswith("no answer for 34 s")
    told.append(Progress("running", "search", 3, 10, spent=Ledger(calls=3, failed=1)))  # an error is an answer too
    assert "no answer" not in said(line)


@pytest.mark.parametrize("status", ["parked", "paused", "pausing", "stopping", "queued"])
def test_what_is_not_waited_for_is_no_silence(hands, status):
    line = ProgressLine(lambda: Progress(status, "search"), hands)
    said(line)
    hands.at = 3_600.0
    assert said(line) == f"{status}  search  0 calls, 0 tokens"
