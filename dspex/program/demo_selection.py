"""The seam where a predictor's demos are chosen anew for each call."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from dspex.core.errors import ConfigurationError, DspexError
from dspex.core.example import Example

DemoSelector = Callable[[Mapping[str, Any], Sequence[Any]], Sequence[Any] | Awaitable[Sequence[Any]]]


async def select_demos(selector: DemoSelector, inputs: Mapping[str, Any], demos: Sequence[Any]) -> list[Any]:
    """The demos that a selector, plain or async, picks or makes. Its own dspex errors pass.

    Raises ConfigurationError if it fails otherwise, or gives anything but Examples and dictionaries.
    """
    name = getattr(selector, "__qualname__", type(selector).__name__)
    try:
        given = selector(inputs, demos)
        found = list(await given if inspect.isawaitable(given) else given)
    except DspexError:
        raise
    except Exception as error:
        raise ConfigurationError(f"The demo_selector {name} failed: {type(error).__name__}: {error}") from error
    for demo in found:
        if not isinstance(demo, (Example, Mapping)):
            raise ConfigurationError(
                f"The demo_selector {name} gave {demo!r:.80}; it has to give Examples or dictionaries."
            )
    return found
