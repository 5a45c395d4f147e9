"""What plugins give an App beside its services: middleware, subscribers, sandboxes, executors and keys, each made at first use."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from dspex.app.settings import Settings
from dspex.core.clock import Clock
from dspex.core.errors import ConfigurationError, PluginError
from dspex.core.events import SecretAsked
from dspex.core.guests import PASSING
from dspex.core.secret import Secret
from dspex.core.warn import warn
from dspex.plugin.catalog import KIND_WORDS, OWN_ADAPTERS
from dspex.plugin.manager import PluginManager
from dspex.runtime.bridge import Bridge
from dspex.runtime.bus import Bus

if TYPE_CHECKING:
    from dspex.plugin.contracts import Middleware


class Owner(Protocol):
    """What its parts need of an App."""

    clock: Clock
    settings: Settings
    bus: Bus
    bridge: Bridge

    @property
    def lock(self) -> AbstractContextManager[Any]: ...

    @property
    def plugins(self) -> PluginManager: ...

    def supervise(self, name: str, start: Any, *, on_failure: Any) -> None: ...


def made(factory: Callable[..., Any], name: str, *arguments: Any) -> Any:
    """What a plugin's factory makes. Raises PluginError for what it raises itself."""
    try:
        return factory(*arguments)
    except (PluginError, ConfigurationError, *PASSING):
        raise
    except BaseException as error:  # the factory is a plugin's
        raise PluginError(f"{name!r} could not be made: {type(error).__name__}: {error}", plugin=name) from error


def check_adapter(wanted: str, plugins: PluginManager) -> None:
    """Raises ConfigurationError for a name that is no adapter's, or is that of one which needs more than a name."""
    if wanted == "two_step":
        raise ConfigurationError("'two_step' needs a second model: adapter=dspex.TwoStepAdapter(extraction_model).")
    if wanted not in plugins.names("adapters"):
        raise ConfigurationError(plugins.unknown("adapters", wanted, f"configure(adapter={wanted!r})", OWN_ADAPTERS))


class Plugged:
    """The parts of one App that its plugins make."""

    def __init__(self, app: Owner) -> None:
        self._app = app
        self._middleware: tuple[Middleware, ...] | None = None
        self._kept: dict[tuple[str, str], Any] = {}
        self._vault: dict[str, Secret | None] = {}
        self._has_subscribed = False

    def middleware(self) -> "tuple[Middleware, ...]":
        """What stands around each call, outermost first: as configured, or all that is installed."""
        chain = self._middleware
        if chain is None:
            with self._app.lock:
                given = self._app.settings.own("middleware")
                if given is None:
                    given = [made(spec.load(), spec.name) for spec in self._app.plugins.specs("middleware")]
                chain = self._middleware = tuple(given)
        return chain

    def forget_middleware(self) -> None:
        """It is another from now on."""
        with self._app.lock:
            self._middleware = None

    def kept(self, kind: str, name: str, asked: str) -> Any:
        """A plugin's sandbox or executor, which ends with the App. Raises ConfigurationError if none offers it."""
        with self._app.lock:
            if (kind, name) not in self._kept:
                self._kept[kind, name] = made(self._app.plugins.spec(kind, name, asked).load(), name, {})
            return self._kept[kind, name]

    def subscribe(self) -> None:
        """Let the plugins' subscribers hear events, once."""
        with self._app.lock:
            if self._has_subscribed:
                return
            self._has_subscribed = True
            for spec in self._app.plugins.specs("subscribers"):
                try:
                    self._app.bus.subscribe(made(spec.load(), spec.name).on_event, spec.name)
                except (PluginError, AttributeError) as error:
                    warn(f"Subscriber {spec.name!r} hears nothing: {error}")

    def key_of(self, provider: str) -> Secret | None:
        """The key of a provider: OPENAI_API_KEY, the file that OPENAI_API_KEY_FILE names, or what a secret source has.

        A source is asked once an App, for the names of the providers that are used and no others.
        Raises ConfigurationError for what cannot be a key, PluginError for a source that fails.
        """
        from dspex.app.keys import environment_key, key_variables, vault_key

        self.subscribe()
        app, (name, _) = self._app, key_variables(provider)
        key, sources = environment_key(provider), app.plugins.specs("secret_sources")
        if key is not None or not sources:
            return key

        def told(source: str, found: bool) -> None:
            if app.bus.active:
                app.bus.publish(SecretAsked(app.clock.now(), 0, name, source, found))

        if name not in self._vault:
            self._vault[name] = app.bridge.run(vault_key(sources, name, told))
        return self._vault[name]

    def emptied(self) -> dict[str, Any]:
        """The sandboxes and executors, to be closed, by what they are called; there are none any more."""
        with self._app.lock:
            kept, self._kept = self._kept, {}
        return {f"The {KIND_WORDS[kind]} {name!r}": one for (kind, name), one in kept.items()}

    def forked(self) -> None:
        """In a forked child: what the parent has begun is not ours."""
        self._kept = {}
