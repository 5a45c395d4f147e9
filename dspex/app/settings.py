"""Settings: an App's own, and what `context()` lays over them for a block."""

from collections.abc import Collection, Mapping, MutableSequence, Sequence
from types import MappingProxyType
from typing import Any

from dspex.core.errors import ConfigurationError
from dspex.core.nearest import did_you_mean
from dspex.core.usage import Budget
from dspex.runtime.scope import SCOPE

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "lm": None,
        "adapter": None,
        "max_reasks": 1,  # further calls after a reply that does not parse; 0: none
        # Whether a streamed reply is given up as soon as a typed field of it cannot become valid, and so asked for again.
        "stop_early": False,
        "redact": (),  # names of fields that are never written into traces, or read from them
        "rm": None,
        "sandbox": None,  # None: that which is installed, "monty" before "bwrap" before others
        "cache": None,  # None: the plugin that offers "default", if one is installed; False: no cache
        "callbacks": (),
        "middleware": None,  # None: all that plugins offer, by name
        "budget": None,
        "prices": MappingProxyType({}),
        "prefer": MappingProxyType({}),
        "trace": None,
        "status_message_provider": None,  # what puts a streamed program's doings into words; None: nothing does
        "send_stream": None,  # where a streamed program may send objects of its own
        "num_threads": 64,
        "async_max_workers": 64,  # threads of asyncify at once
        "max_errors": 10,
        "provide_traceback": False,
        "track_usage": False,
        "warn_on_type_mismatch": True,
        "allow_tool_async_sync_conversion": True,  # False: a sync call of an async tool is refused
        "max_history_size": 1_000,
        "max_history_characters": 64 << 20,  # of prompts and replies together
        "disable_history": False,
        "watchdog": None,  # seconds: name what holds an event loop for longer, as 0.05
    }
)
SAYS_NOTHING = frozenset({"inherit_config"})  # of DSPy, whose programs and tests still give it
COUNTS = ("num_threads", "max_errors", "max_reasks", "max_history_size", "max_history_characters")
KINDS: Mapping[str, tuple[type, str]] = MappingProxyType(
    {
        "callbacks": (Sequence, "a list of callbacks"),
        "middleware": (Sequence, "a list of names and of middleware"),
        "prices": (Mapping, "a dict of prices by model"),
        "prefer": (Mapping, "a dict of plugins by what they offer"),
        "redact": (Collection, "names of fields"),
        "trace": (MutableSequence, "a list, to which calls are added"),
    }
)
APP_WIDE = frozenset({"cache", "middleware", "budget", "prefer", "watchdog"})


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, if all are known and may be so. Raises ConfigurationError, naming the nearest for one that is not known."""
    given = {name: value for name, value in given.items() if name not in SAYS_NOTHING}
    for name in given:
        if name not in DEFAULTS:
            hint = did_you_mean(name, DEFAULTS)
            raise ConfigurationError(f"There is no setting {name!r}.{hint} Settings: {', '.join(sorted(DEFAULTS))}.")
    for name in COUNTS:
        if name in given and not (isinstance(given[name], (int, float)) and given[name] >= 0):
            raise ConfigurationError(f"{name}={given[name]!r}: it takes a number from zero on.")
    for name in given.keys() & KINDS.keys():
        kind, wanted = KINDS[name]
        if given[name] is not None and (isinstance(given[name], str) or not isinstance(given[name], kind)):
            raise ConfigurationError(f"{name}={given[name]!r:.80}: it takes {wanted}.")
    budget = given.get("budget")
    if budget is not None and not isinstance(budget, Budget):
        raise ConfigurationError(f"budget={budget!r}: it takes a dspex.Budget, as in dspex.Budget(calls=1_000).")
    return given


class Settings:
    """The settings in force here: reads see the innermost `context()`, then the App, then the default."""

    __slots__ = ("_own",)
    _own: dict[str, Any]

    def __init__(self, **given: Any) -> None:
        # A list of one's own, which a user may append to.
        object.__setattr__(self, "_own", {**DEFAULTS, "callbacks": [], **checked(given)})

    def __getattr__(self, name: str) -> Any:
        scope = SCOPE.get()
        if name in scope.overlay:
            return scope.overlay[name]
        if name == "trace" and scope.trace is not None:
            return scope.trace
        try:
            return self._own[name]
        except KeyError:
            if name == "usage_tracker":
                return next((one for one in reversed(scope.trackers) if hasattr(one, "add_usage")), None)
            raise AttributeError(f"There is no setting {name!r}.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, given: Mapping[str, Any]) -> None:
        """Set some of the App's own settings."""
        self._own.update(checked(given))

    def own(self, name: str) -> Any:
        """The App's own setting, whatever a context lays over it."""
        return self._own[name]

    def in_force(self) -> Mapping[str, Any]:
        """All of them as they are here, for who reads several; `trace` is the scope's own."""
        overlay = SCOPE.get().overlay
        return {**self._own, **overlay} if overlay else self._own

    def get(self, name: str, default: Any = None) -> Any:
        """The setting in force, or `default` if there is none of that name."""
        return getattr(self, name, default)

    def copy(self) -> dict[str, Any]:
        """All settings in force, good for `configure(**copy)`."""
        return {name: getattr(self, name) for name in self._own}

    def __repr__(self) -> str:
        default = {**DEFAULTS, "callbacks": []}
        changed = {name: value for name, value in self.copy().items() if value != default[name]}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in changed.items())})"
