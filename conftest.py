"""Python blocks of Markdown pages are tests wherever sybil is installed: `nox -s docs`.

`<!--- skip: next -->` before a block leaves it out; say why on the same line. Each page begins with the settings and the
empty folder of a new user, and leaves nothing to the next one.
"""

import gc
import signal
import tempfile
from contextlib import ExitStack, chdir
from typing import Any


def pytest_configure() -> None:
    """Ctrl-C reaches what tests start, also where a shell has put the whole run in the background and so ignores it.

    Garbage collection begins by itself more rarely than in a user's process: a tenth of the tests' time went there.
    """
    gc.set_threshold(50_000)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


try:
    from sybil import Sybil
    from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
except ImportError:
    pass  # every other session runs without
else:

    def _begin(namespace: dict[str, Any]) -> None:
        page = namespace["_page"] = ExitStack()
        page.enter_context(chdir(page.enter_context(tempfile.TemporaryDirectory())))

    def _end(namespace: dict[str, Any]) -> None:
        import dspex.testing

        dspex.testing.reset()
        namespace["_page"].close()

    pytest_collect_file = Sybil(
        parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"], setup=_begin, teardown=_end
    ).pytest()
