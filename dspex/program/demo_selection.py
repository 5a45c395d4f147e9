"""The seam where a predictor's demos are chosen anew for each call."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from dspex.core.errors import ConfigurationError, DspexError, ProgramFileError
from dspex.core.example import Example
from dspex.runtime.stepping import HOP

DemoSelector = Callable[[Mapping[str, Any], Sequence[Any]], Sequence[Any] | Awaitable[Sequence[Any]]]


async def select_demos(selector: DemoSelector, inputs: Mapping[str, Any], demos: Sequence[Any]) -> list[Any]:
    """The demos that a selector, plain or async, picks or makes. Its own dspex errors pass.

    Raises ConfigurationError if it fails otherwise, or gives anything but Examples and dictionaries.
    """
    name = getattr(selector, "__qualname__", type(selector).__name__)
    try:
        given = selector(inputs, demos)
        if inspect.isawaitable(given):
            await HOP  # a sync call has had no loop until here
            given = await given
        found = list(given)
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


def selector_state(selector: DemoSelector | None) -> dict[str, Any]:
    """What a saved program keeps of a selector, under its name there; nothing of a function."""
    dump = getattr(selector, "dump_state", None)
    return {"demo_selector": dump()} if dump is not None else {}


def nearest_again(state: Any) -> DemoSelector | None:
    """A `NearestDemos` by its state; None if there is none, or it takes a function that the state cannot hold."""
    if not isinstance(state, Mapping) or not isinstance(state.get("vectorizer"), Mapping):
        return None
    from dspex.program.nearest_demos import NearestDemos  # late: few programs have one

    try:
        return NearestDemos.from_state(state)
    except ProgramFileError:
        return None


def selector_from(state: Mapping[str, Any], own: DemoSelector | None) -> DemoSelector | None:
    """The selector of a saved predictor, its `own` where none was saved or the saved one cannot be made again.

    Raises ProgramFileError if it cannot be made and there is no own one.
    """
    saved = state.get("demo_selector")
    if not saved:
        return own
    from dspex.program.nearest_demos import NearestDemos  # late: few programs have one

    try:
        return NearestDemos.from_state(saved)
    except ProgramFileError:
        if own is None:
            raise
        return own
