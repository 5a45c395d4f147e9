"""The plugin as its users meet it, on every supported Python."""

import subprocess
import sys

import dspex
from dspex.plugin import LMResponse


class Provider:
    """Answers with the number of its calls."""

    calls = 0

    async def complete(self, request):
        self.calls += 1
        return LMResponse.from_text(str(self.calls))


async def test_a_reply_is_paid_for_once(shared):
    async with dspex.App(cache=dspex.Cache("redis", url=shared.url, prefix="smoke:", patience=5.0)):
        lm = dspex.LM("smoke/one", provider=Provider())
        first = await lm.acall("hello")
        assert [await lm.acall("hello") for _ in range(2)] == [first] * 2


def test_importing_the_plugin_loads_nothing_heavy():
    program = (
        "import sys, dspex.plugin; before = set(sys.modules); import dspex_redis; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"redis", "asyncio"} & set(done.stdout.split())
