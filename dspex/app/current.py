"""The settings in force here, and a block with others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dspex.app.app import configure, current_app
from dspex.app.settings import APP_WIDE, checked
from dspex.core.errors import ConfigurationError
from dspex.runtime.scope import SCOPE, Scope, use


@contextmanager
def context(**given: Any) -> Iterator[Scope]:
    """Override settings inside a block; it reaches tasks, our threads and nothing beside it.

    `usage_tracker`, which counts what the block pays, is no setting that lasts, but may be given here too. Those that belong to the whole App may be given as they are, so that `context(**settings.copy())` is good elsewhere.
    Raises ConfigurationError for one that does not exist, or that only `configure` can change.
    """
    tracker = given.pop("usage_tracker", None)
    overlay = checked(given)
    if overlay.get("adapter") is not None:
        current_app().check_adapter(overlay["adapter"])
    for name in APP_WIDE & overlay.keys():
        if overlay.pop(name) is not current_app().settings.own(name):
            raise ConfigurationError(f"{name!r} belongs to the whole App: use dspex.configure({name}=...).")
    changes: dict[str, Any] = {"trace": overlay.pop("trace")} if "trace" in overlay else {}
    if tracker is not None:
        changes["trackers"] = (*SCOPE.get().trackers, tracker)
    with use(overlay={**SCOPE.get().overlay, **overlay}, **changes) as scope:
        yield scope


class CurrentSettings:
    """The settings in force at the place where they are read: `dspex.settings.lm`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(current_app().settings, name)

    def __setattr__(self, name: str, value: Any) -> None:
        configure(**{name: value})

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        configure(**{name: value})

    def __contains__(self, name: str) -> bool:
        return name in self.copy()

    configure = staticmethod(configure)
    context = staticmethod(context)

    def copy(self) -> dict[str, Any]:
        """All settings in force, good for `configure(**copy)`."""
        return current_app().settings.copy()

    @property
    def config(self) -> dict[str, Any]:
        """As `copy()`."""
        return self.copy()

    def __repr__(self) -> str:
        return repr(current_app().settings)


settings = CurrentSettings()
