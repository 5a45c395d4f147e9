"""These tests need bubblewrap, and a kernel that lets it work; they say so where it is not."""

import os

import pytest

from dspex.plugin import SandboxError
from dspex_bwrap.sandbox import BwrapSandbox


@pytest.fixture(scope="session", autouse=True)
def bubblewrap() -> None:
    """Skips where there is none; under CI that is a failure."""
    try:
        BwrapSandbox.notice()
    except SandboxError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
