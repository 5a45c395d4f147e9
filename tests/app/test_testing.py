"""`dspex.testing` offers its names lazily, and needs no test tool itself."""

import subprocess
import sys

import pytest

import dspex.testing

WITHOUT_PYTEST = """
import sys
sys.modules.update(dict.fromkeys(["pytest", "_pytest", "hypothesis", "pytest_asyncio"]))
import dspex.testing
before = set(sys.modules)
for name in dspex.testing.__all__:
    getattr(dspex.testing, name)
print(len(before & {"dspex.testing.dummies", "dspex.testing.fault_server", "dspex.app.lm"}))
"""


@pytest.mark.parametrize("name", dspex.testing.__all__)
def test_each_name_is_there(name):
    assert getattr(dspex.testing, name) is not None


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = dspex.testing.Nothing


def test_no_test_tool_is_needed_and_nothing_is_loaded_before_its_use():
    done = subprocess.run([sys.executable, "-c", WITHOUT_PYTEST], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")
