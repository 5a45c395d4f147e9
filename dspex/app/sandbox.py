"""Which sandbox runs a model's code. There is always one: nothing here, or above, runs code without it."""

from typing import Any

from dspex.app.app import current_app
from dspex.core.errors import ConfigurationError, SandboxError
from dspex.plugin.contracts import Sandbox

PREFERRED = ("monty", "bwrap")  # by what a run costs; both are first-party


def sandbox_for(wanted: "Sandbox | str | None", asked: str, *, session: bool = False) -> Any:
    """The sandbox that was asked for: an object with `run`, a plugin's by name, or None for that of the settings.

    Raises SandboxError where there is none, and says what to install; with `session` also for one that has no sessions.
    """
    wanted = current_app().settings.sandbox if wanted is None else wanted
    found = _named(wanted, asked) if wanted is None or isinstance(wanted, str) else wanted
    if not callable(getattr(found, "run", None)):
        raise ConfigurationError(
            f"{asked}: a sandbox is a plugin's name, or has an async `run`; {wanted!r:.80} is none."
        )
    if session and not hasattr(found, "session"):
        raise SandboxError(f"{asked} runs code in pieces, and the sandbox {wanted or found!r:.80} offers no `session`.")
    return found


def _named(name: str | None, asked: str) -> Any:
    app = current_app()
    names = app.plugins.names("sandboxes")
    if name is None:
        name = next((one for one in (*PREFERRED, *names) if one in names), None)
    if name is None:
        raise SandboxError(
            f"{asked} runs code that a model wrote, and does so in a sandbox only; none is installed. "
            'Install one: pip install "dspex-monty", or pip install "dspex-bwrap" for all of Python on Linux.'
        )
    if name not in names:
        raise SandboxError(app.plugins.unknown("sandboxes", name, asked))
    return app.sandbox(name, asked)
