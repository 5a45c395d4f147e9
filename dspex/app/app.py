"""The App: owns plugins, services, settings and background work; the default one serves plain scripts."""

import asyncio
import itertools
import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from dspex.app.background import Background
from dspex.app.cache_slot import CacheSlot
from dspex.app.plugged import Plugged, check_adapter, made
from dspex.app.services import Services, endpoint_identity
from dspex.app.settings import Settings, checked
from dspex.core.clock import Clock, SystemClock
from dspex.core.endpoint import Endpoint
from dspex.core.events import CacheFailed
from dspex.core.guests import PASSING
from dspex.core.secret import Secret
from dspex.core.usage import Budget
from dspex.core.warn import warn
from dspex.plugin.catalog import OWN_ADAPTERS
from dspex.plugin.manager import PluginManager
from dspex.runtime.bridge import Bridge
from dspex.runtime.bus import Bus
from dspex.runtime.scope import SCOPE
from dspex.service.attempts import Attempts, Terms
from dspex.service.cache import CacheService
from dspex.service.call import Shared
from dspex.service.ledger import BudgetScope
from dspex.service.limits import Limiter, Pace
from dspex.service.lm import LMService
from dspex.service.prices import Prices
from dspex.service.under_way import UnderWay

if TYPE_CHECKING:
    from dspex.core.errors import SupervisorFailed
    from dspex.runtime.supervisor import Restart, Row, Supervisor
    from dspex.service.http import HttpService

ServiceT = TypeVar("ServiceT")

EMPTY: tuple[Any, ...] = ()
CLOSE_LIMIT_S = 5.0
DRAIN_S = 5.0  # what calls under way may still take when their App is closed
END_S = 1.0  # and then, to give back what they hold


class App:
    """The root of everything stateful.

    Scripts use the default App through `dspex.configure`; `async with dspex.App(lm=...) as app:` gives an independent
    one, whose background work lives on the entering loop.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        plugins: PluginManager | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.settings = Settings(**settings)
        self.bridge = Bridge()
        self.bus = Bus(warn)
        self.prices = Prices(self.settings.in_force)
        self.under_way = UnderWay()
        self.history: deque[Any] = deque()
        self._plugins = plugins
        self._seed = os.urandom(8).hex() if seed is None else seed
        self.lock = threading.RLock()  # one for all its parts: what a plugin makes may ask for more of them
        self._services = Services(self, self._keep_alive)
        self._plugged = Plugged(self)
        self._background = Background(self.clock, self.bus, self.under_way)
        self._cache = CacheSlot(self, lambda: self.settings.own("cache"), self._cache_failed)
        self._clients: list[HttpService] = []
        self._ceilings: tuple[BudgetScope, ...] | None = None
        self._workers: dict[int, Limiter] = {}
        self._backgrounds: dict[int, Any] = {}  # providers whose background work is supervised
        self._loop: asyncio.AbstractEventLoop | None = None
        self._token: Any = None
        self.shared = Shared(
            self.clock,
            self.bus,
            self._cache.get,
            self._plugged.middleware,
            self._budget_ceilings,
            self.prices,
            itertools.count(1),
            self.under_way,
        )
        self._background.watch(self.settings.own("watchdog"))
        self.check_adapter(self.settings.own("adapter"))

    # Settings

    def configure(self, **given: Any) -> None:
        """Change settings; allowed from any thread or task. One that is given as it was goes on as it is."""
        given = {name: value for name, value in checked(given).items() if value is not self.settings.own(name)}
        self.check_adapter(given.get("adapter"))
        if "watchdog" in given:
            self._background.watch(given["watchdog"])
        self.settings.update(given)
        if "middleware" in given:
            self._plugged.forget_middleware()
        if "budget" in given:
            self._ceilings = None
        if given.get("prefer"):
            self.plugins.prefer.update(given["prefer"])
        if "cache" in given:
            self._cache.reset()

    def check_adapter(self, wanted: Any) -> None:
        """Raises ConfigurationError for the name of no adapter; plugins are looked at for a name that is not our own."""
        if isinstance(wanted, str) and wanted not in OWN_ADAPTERS:
            check_adapter(wanted, self.plugins)

    @property
    def plugins(self) -> PluginManager:
        """The plugin manager; plugins are discovered when one is first needed."""
        plugins = self._plugins
        if plugins is None:
            with self.lock:
                plugins = self._plugins = self._plugins or PluginManager(prefer=self.settings.own("prefer"))
        return plugins

    # Services

    def lm_service(self, endpoint: Endpoint, provider: Any, terms: Terms) -> LMService:
        """The service for an endpoint, made at first use; equal endpoints share one."""

        def make() -> LMService:
            made_by, attempts = provider, self.attempts(endpoint, terms)
            if made_by is None:
                asked = f"dspex.LM('{endpoint.provider}/{endpoint.model}')"
                made_by = self.provider("lm_providers", endpoint, asked, attempts)
            return LMService(endpoint, made_by, self.shared, attempts, terms.known)

        # By id: the service keeps the provider alive for as long as the key stands there.
        return self.service((LMService, endpoint_identity(endpoint), id(provider), terms), make, provider)

    def service(self, identity: Any, make: Callable[[], ServiceT], guest: Any = None) -> ServiceT:
        """The service of that identity, made at first use; `guest` is an object of the user's that it stands around."""
        self._plugged.subscribe()
        return self._services.get(identity, make, guest)

    def _keep_alive(self, service: Any) -> None:
        background = getattr(service.provider, "background", None)
        if background is not None and id(service.provider) not in self._backgrounds:
            self._backgrounds[id(service.provider)] = service.provider
            self.supervise(f"{service.name} #{len(self._backgrounds)}", background)

    def provider(
        self,
        kind: str,
        endpoint: Endpoint,
        asked: str,
        attempts: Attempts,
        arguments: Callable[["HttpService"], tuple[Any, ...]] | None = None,
    ) -> Any:
        """A plugin's provider for an endpoint, with an HTTP client of its own; `arguments` are the factory's."""
        spec = self.plugins.spec(kind, endpoint.provider, asked)
        from dspex.service.http import HttpService

        providers: list[Any] = []
        error, told = (lambda *reply: _refined(providers, reply)), attempts.limits.hear
        client = HttpService(endpoint, error=error, limits=attempts.terms.http, told=told, clock=self.clock)
        provider = made(spec.load(), spec.name, *(arguments(client) if arguments else (endpoint, client)))
        providers.append(provider)
        self._clients.append(client)
        return provider

    def key_of(self, provider: str) -> Secret | None:
        """The key of a provider, from the environment, a file or a secret source.

        Raises ConfigurationError for what cannot be a key, PluginError for a source that fails.
        """
        return self._plugged.key_of(provider)

    def attempts(self, endpoint: Endpoint, terms: Terms) -> Attempts:
        """How the calls of a new service go out to its endpoint."""
        return Attempts(endpoint, self.shared, terms, self._seed)

    def cache_service(self) -> CacheService | None:
        """The cache, made at first use; None where there is none."""
        return self._cache.get()

    def _cache_failed(self, backend: str, message: str) -> None:
        warn(message)
        if self.bus.active and backend:
            self.bus.publish(CacheFailed(self.clock.now(), 0, backend, message))

    def sandbox(self, name: str, asked: str) -> Any:
        """A plugin's sandbox, made at first use and closed with the App. Raises ConfigurationError if none offers it."""
        return self._plugged.kept("sandboxes", name, asked)

    def executor(self, name: str, asked: str) -> Any:
        """A plugin's executor, made at first use and closed with the App. Raises ConfigurationError if none offers it."""
        return self._plugged.kept("executors", name, asked)

    def _budget_ceilings(self) -> tuple[BudgetScope, ...]:
        ceilings = self._ceilings
        if ceilings is None:
            budget: Budget | None = self.settings.own("budget")
            ceilings = self._ceilings = (BudgetScope(budget, self.clock),) if budget else EMPTY
        return ceilings

    def workers(self) -> Limiter:
        """The gate of `asyncify`'s threads, for the `async_max_workers` in force."""
        limit = self.settings.async_max_workers
        found = self._workers.get(limit)
        return found or self._workers.setdefault(limit, Limiter(Pace(limit), self.clock, queue_limit=math.inf))

    def redact(self, text: str) -> str:
        """`text` without any key that a service of this App holds."""
        for service in self._services:
            key = service.endpoint.api_key
            text = text if key is None else key.redact(text)
        return text

    # Background work and life

    @property
    def supervisor(self) -> "Supervisor":
        """The root of the supervised children."""
        return self._background.supervisor

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where supervised children live: the entering loop of `async with`, else the bridge's."""
        return self._loop or self.bridge.loop

    def supervise(
        self,
        name: str,
        start: Callable[[], Awaitable[None]],
        restart: "Restart" = "permanent",
        on_failure: Callable[["SupervisorFailed"], None] | None = None,
    ) -> None:
        """Keep a background coroutine alive as a child of the App, in place of one of that name; from any thread.

        One that dies more than 3 times in 5 s is given up: `on_failure(error)` is told, or without it the App stops, and
        every call that is under way or comes later gets Unavailable.
        """
        self._background.supervise(self.loop, name, start, restart, on_failure)

    def tree(self) -> "list[Row]":
        """Services, subscribers, then supervised children, with their states, restarts and last errors; a row prints as a line."""
        from dspex.runtime.supervisor import Row

        return [
            *(service.attempts.row() for service in self._services),
            *(Row(f"events to {one.name}", "running", 0, one.trouble) for one in self.bus.channels),
            *self.supervisor.tree(),
        ]

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._token = SCOPE.set(SCOPE.get().child(app=self, overlay={}))
        return self

    async def __aexit__(self, kind: object, *_error: object) -> None:
        SCOPE.reset(self._token)
        await self.aclose(DRAIN_S if kind is None else 0.0)

    async def aclose(self, drain: float = DRAIN_S) -> None:
        """Stop jobs, let calls under way end, then stop background work and close every service, flushed first.

        A call that takes longer than `drain` seconds is ended with Unavailable.
        """
        with self.bridge.kept():  # what belongs to its loop is closed there
            await self._close(drain)

    async def _close(self, drain: float) -> None:
        await self._background.settled()
        await self._end_calls(drain)
        await self._background.stop()
        services, caches, kept = self._services.emptied(), self._cache.emptied(), self._plugged.emptied()
        clients, self._clients, self._backgrounds = self._clients, [], {}
        for service in services:
            await _closed(service.name, service)
        for client in clients:
            await _closed("An HTTP client", client)
        for cache in caches:
            await _closed("A cache", cache.backend)
        for name, one in kept.items():
            if hasattr(one, "aclose"):
                await _closed(name, one)
        self.bus.close()
        self._background.watch(self.settings.own("watchdog"))
        self.under_way.failure = None

    async def _end_calls(self, drain: float) -> None:
        await self._background.end_jobs()
        await self.under_way.drained(drain, self.clock)
        self.under_way.abort("Its App was closed while it was under way.")
        await self.under_way.drained(END_S, self.clock)

    def forked(self) -> None:
        """In a forked child: go on without the parent's locks, permits, calls in flight and background work."""
        self.lock = threading.RLock()
        self.bridge.forked()
        self._workers, self._backgrounds = {}, {}
        for part in (self._background, self._cache, self._plugged, self.bus, self.under_way):
            part.forked()
        self._background.watch(self.settings.own("watchdog"))
        self._services.forked()
        for ceiling in self._ceilings or ():
            ceiling.forked()

    def close(self, drain: float = DRAIN_S) -> None:
        """`aclose` for scripts; also stops the bridge's thread."""
        self.bridge.run(self.aclose(drain))
        self.bridge.stop()


class _Default:
    """The slot for the default App; `app` is None until it is needed."""

    def forked(self) -> None:
        """In a forked child: locks anew, for the slot and its App."""
        self._lock = threading.Lock()
        if self.app is not None:
            self.app.forked()
        for one in list(self._told):
            one.forked()

    def __init__(self) -> None:
        self.app: App | None = None
        self._lock = threading.Lock()
        self._told: weakref.WeakSet[Any] = weakref.WeakSet()

    def tell_of_forks(self, one: Any) -> None:
        """Call `one.forked()` in every child that this process forks while `one` lives, whichever App it belongs to."""
        self._told.add(one)

    def get(self) -> App:
        """The default App, made at first use."""
        app = self.app
        if app is None:
            with self._lock:
                app = self.app = self.app or App()
        return app

    def replace(self, app: App | None) -> App | None:
        """Put another in its place; gives back the one before."""
        with self._lock:
            before, self.app = self.app, app
        return before


default_app = _Default()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=default_app.forked)


def current_app() -> App:
    """The App of this scope: that of the enclosing `async with App`, else the default one."""
    app: App | None = SCOPE.get().app or default_app.app
    return app if app is not None else default_app.get()


def configure(**given: Any) -> None:
    """Change settings of the current App. Raises ConfigurationError for one that does not exist."""
    current_app().configure(**given)


async def _closed(name: str, owner: Any) -> None:
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await owner.aclose()
    except PASSING:
        raise
    except BaseException as error:  # noqa: BLE001  it is a plugin's, and others wait to be closed
        warn(f"{name} could not be closed: {type(error).__name__}: {error}")


def _refined(providers: list[Any], reply: tuple[Any, ...]) -> Any:
    refine = getattr(providers[0], "error", None) if providers else None
    return refine(*reply) if refine else None
