"""The README's own lines, run as they stand, but for the address."""

import re
from pathlib import Path

import dspex

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_lines_of_use_do_what_they_say(shared):
    [block] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(block.replace("redis://localhost:6379/0", shared.url), {})
    assert dspex.settings.cache.name == "redis"
    lm = dspex.LM("house/one", provider=Once())
    assert lm("hello?") == lm("hello?") == ["once"]
    dspex.configure(cache=False)


class Once:
    """Answers one call."""

    calls = 0

    async def complete(self, request):
        from dspex.plugin import LMResponse

        self.calls += 1
        assert self.calls == 1
        return LMResponse.from_text("once")
