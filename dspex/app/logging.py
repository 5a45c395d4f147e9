"""Events as log lines: silent until asked for, and nothing of Python's or structlog's own configuration is touched."""

import atexit
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from dspex.app.app import App, current_app
from dspex.core.errors import ConfigurationError
from dspex.core.events import (
    AttemptFailed,
    BudgetRefused,
    CacheFailed,
    ChildRestarted,
    Event,
    LoopBlocked,
    Progressed,
    RequestStarted,
    SecretAsked,
    StepFinished,
)

NAME = "log"
LITELLM = "LiteLLM"  # as it calls its logger
LEVELS = ("debug", "info", "warning", "error", "critical")
QUIET = (RequestStarted, SecretAsked, StepFinished, Progressed)
BAD = (AttemptFailed, BudgetRefused, CacheFailed, ChildRestarted, LoopBlocked)


def enable_logging(level: str = "info", logger: Any = None) -> None:
    """Log the events of the current App: requests, failed attempts, restarts and what else it tells its subscribers.

    Lines bear the request's number, the path of the modules it comes from, and its endpoint; never bodies or keys. They go
    to standard error, or to a structlog `logger` of yours. Raises ConfigurationError for an unknown level.
    """
    if level not in LEVELS:
        raise ConfigurationError(f"There is no log level {level!r}: {', '.join(LEVELS)}.")
    disable_logging()
    app = current_app()
    log = _Log(app, level, logger if logger is not None else _to_stderr())
    app.bus.subscribe(log.write, NAME)
    atexit.register(app.bus.unsubscribe, NAME)  # the lines of a script's last moment


def disable_logging() -> None:
    """Log no more; what is queued is written first."""
    bus = current_app().bus
    bus.unsubscribe(NAME)
    atexit.unregister(bus.unsubscribe)


def enable_litellm_logging() -> None:
    """Let LiteLLM write its own log, where `dspex-litellm` uses it."""
    logging.getLogger(LITELLM).setLevel(logging.DEBUG)


def disable_litellm_logging() -> None:
    """Let LiteLLM write errors only."""
    logging.getLogger(LITELLM).setLevel(logging.ERROR)


def _to_stderr() -> Any:
    import structlog

    render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.add_log_level, render],
        wrapper_class=structlog.BoundLogger,
        context_class=dict,
    )


class _Log:
    def __init__(self, app: App, level: str, logger: Any) -> None:
        self._app = app
        self._lowest = LEVELS.index(level)
        self._logger = logger

    def write(self, event: Event) -> None:
        """One event as one line."""
        level = _level(event)
        if LEVELS.index(level) >= self._lowest:
            getattr(self._logger, level)(_words(type(event).__name__), **self._fields(event))

    def _fields(self, event: Event) -> dict[str, Any]:
        fields = msgspec.structs.asdict(event)
        at, path = fields.pop("at"), fields.pop("path", ())
        provider, model = fields.pop("provider", ""), fields.pop("model", "")
        usage = fields.pop("usage", None)
        if usage is not None:
            fields |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        bound = {
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
            "endpoint": f"{provider}/{model}" if provider else None,
            "module": " > ".join(path) or None,
        }
        shown = {name: self._shown(value) for name, value in (bound | fields).items()}
        return {name: value for name, value in shown.items() if value is not None and value != {}}

    def _shown(self, value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 4)
        return self._app.redact(value) if isinstance(value, str) else value


def _level(event: Event) -> str:
    if isinstance(event, BAD) or getattr(event, "error", None):
        return "warning"
    return "debug" if isinstance(event, QUIET) else "info"


def _words(name: str) -> str:
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return spaced.strip()
