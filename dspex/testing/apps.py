"""A default App of a test's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dspex.app.app import App, default_app


@contextmanager
def own_app(**settings: Any) -> Iterator[App]:
    """Let another App be the default one for a block, with these settings; it is closed at the end, and the one before is back."""
    made = App(**settings)
    before = default_app.replace(made)
    try:
        yield made
    finally:
        default_app.replace(before)
        made.close(drain=0)
