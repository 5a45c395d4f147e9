"""The App: owns plugins, services, settings and background work; the default one serves plain scripts."""

import asyncio
import itertools
import math
import os
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from dspex.app.settings import Settings, checked
from dspex.core.clock import Clock, SystemClock
from dspex.core.endpoint import Endpoint
from dspex.core.errors import ConfigurationError, PluginError
from dspex.core.events import CacheFailed, ChildRestarted, LoopBlocked, SecretAsked
from dspex.core.guests import PASSING
from dspex.core.secret import Secret
from dspex.core.usage import Budget
from dspex.plugin.manager import PluginManager
from dspex.runtime.bridge import Bridge
from dspex.runtime.bus import Bus
from dspex.runtime.scope import SCOPE
from dspex.service.attempts import Attempts, Terms
from dspex.service.cache import Cache, CacheService
from dspex.service.call import Shared
from dspex.service.ledger import BudgetScope
from dspex.service.limits import Limiter, Pace
from dspex.service.lm import LMService
from dspex.service.prices import Prices
from dspex.service.under_way import UnderWay

if TYPE_CHECKING:
    from dspex.core.errors import SupervisorFailed
    from dspex.plugin.contracts import Middleware
    from dspex.runtime.supervisor import ChildSpec, Restart, Row, Supervisor
    from dspex.runtime.watchdog import Watchdog
    from dspex.service.http import HttpService

ServiceT = TypeVar("ServiceT")

EMPTY: tuple[Any, ...] = ()
CLOSE_LIMIT_S = 5.0
LIFE = ("start", "background", "aclose")  # what a provider has that has a life of its own
KEPT_GUESTS = 64  # services of the user's own objects that are kept though nobody holds them
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
        self._plugins = plugins
        self._seed = os.urandom(8).hex() if seed is None else seed
        self._lock = threading.RLock()
        self._services: dict[Any, Any] = {}
        self._guests: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
        self._recent: deque[Any] = deque(maxlen=KEPT_GUESTS)
        self._clients: list[HttpService] = []
        self._cache: CacheService | None = None
        self._cache_made = False
        self._caches: dict[int, CacheService] = {}  # also those that another has replaced
        self._middleware: tuple[Middleware, ...] | None = None
        self._ceilings: tuple[BudgetScope, ...] | None = None
        self._sandboxes: dict[str, Any] = {}
        self._workers: dict[int, Limiter] = {}
        self._backgrounds: dict[int, Any] = {}  # providers whose background work is supervised
        self._vault: dict[str, Secret | None] = {}
        self._watchdog: Watchdog | None = None
        self.prices = Prices(self.settings.in_force)
        self.under_way = UnderWay()
        self.history: deque[Any] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._token: Any = None
        self._supervising = False
        self._adding: set[asyncio.Task[None]] = set()
        self._subscribed = False
        self.shared = Shared(
            self.clock,
            self.bus,
            self.cache_service,
            self._middlewares,
            self._budget_ceilings,
            self.prices,
            itertools.count(1),
            self.under_way,
        )
        self._watch(self.settings.own("watchdog"))

    # Settings

    def configure(self, **given: Any) -> None:
        """Change settings; allowed from any thread or task. One that is given as it was goes on as it is."""
        given = {name: value for name, value in checked(given).items() if value is not self.settings.own(name)}
        if "watchdog" in given:
            self._watch(given["watchdog"])
        self.settings.update(given)
        with self._lock:
            if "middleware" in given:
                self._middleware = None
            if "budget" in given:
                self._ceilings = None
            if "prefer" in given:
                self.plugins.prefer.update(given["prefer"] or {})
            if "cache" in given:
                self._cache_made, self._cache = False, None

    @property
    def plugins(self) -> PluginManager:
        """The plugin manager; plugins are discovered when one is first needed."""
        plugins = self._plugins
        if plugins is None:
            with self._lock:
                plugins = self._plugins = self._plugins or PluginManager(prefer=self.settings.own("prefer"))
        return plugins

    # Services

    def lm_service(self, endpoint: Endpoint, provider: Any, terms: Terms) -> LMService:
        """The service for an endpoint, made at first use; equal endpoints share one."""

        def make() -> LMService:
            made, attempts = provider, self.attempts(endpoint, terms)
            if made is None:
                asked = f"dspex.LM('{endpoint.provider}/{endpoint.model}')"
                made = self.provider("lm_providers", endpoint, asked, attempts)
            return LMService(endpoint, made, self.shared, attempts)

        # By id: the service keeps the provider alive for as long as the key stands there.
        return self.service((LMService, endpoint_identity(endpoint), id(provider), terms), make, provider)

    def service(self, identity: Any, make: Callable[[], ServiceT], guest: Any = None) -> ServiceT:
        """The service of that identity, made at first use.

        That of a `guest`, an object of the user's, goes some time after its last handle, unless the App must close it.
        """
        with self._lock:
            service: ServiceT | None = self._services.get(identity) or self._guests.get(identity)
            if service is None:
                self._subscribe()
                service = make()
                if guest is None or any(hasattr(guest, name) for name in LIFE):
                    self._services[identity] = service
                    self._keep_alive(service)
                else:
                    self._guests[identity] = service
                    self._recent.append(service)
            return service

    def _all_services(self) -> list[Any]:
        return [*self._services.values(), *self._guests.values()]

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

        made: list[Any] = []
        error, told = (lambda *reply: _refined(made, reply)), attempts.limits.hear
        client = HttpService(endpoint, error=error, limits=attempts.terms.http, told=told, clock=self.clock)
        provider = _made(spec.load(), spec.name, *(arguments(client) if arguments else (endpoint, client)))
        made.append(provider)
        self._clients.append(client)
        return provider

    def key_of(self, provider: str) -> Secret | None:
        """The key of a provider: OPENAI_API_KEY, the file that OPENAI_API_KEY_FILE names, or what a secret source has.

        A source is asked once an App, for the names of the providers that are used and no others.
        Raises ConfigurationError for what cannot be a key, PluginError for a source that fails.
        """
        from dspex.app.keys import environment_key, key_variables, vault_key

        self._subscribe()
        name, _ = key_variables(provider)
        key, sources = environment_key(provider), self.plugins.specs("secret_sources")
        if key is not None or not sources:
            return key

        def told(source: str, found: bool) -> None:
            if self.bus.active:
                self.bus.publish(SecretAsked(self.clock.now(), 0, name, source, found))

        if name not in self._vault:
            self._vault[name] = self.bridge.run(vault_key(sources, name, told))
        return self._vault[name]

    def attempts(self, endpoint: Endpoint, terms: Terms) -> Attempts:
        """How the calls of a new service go out to its endpoint."""
        return Attempts(endpoint, self.shared, terms, self._seed)

    def cache_service(self) -> CacheService | None:
        """The cache, made at first use; None where there is none."""
        if not self._cache_made:
            with self._lock:
                if not self._cache_made:
                    self._cache = self._make_cache()
                    self._cache_made = True
                    if self._cache is not None:
                        self._caches[id(self._cache.backend)] = self._cache
        return self._cache

    def _make_cache(self) -> CacheService | None:
        wanted = self.settings.own("cache")
        if wanted is False:
            return None
        if wanted is None or wanted is True:
            if self.plugins.find("caches", "default") is None:
                return None
            wanted = Cache("default")
        elif isinstance(wanted, str):
            wanted = Cache(wanted)
        backend = wanted
        if isinstance(wanted, Cache):
            factory = self.plugins.spec("caches", wanted.name, f"configure(cache={wanted.name!r})").load()
            backend = _made(factory, wanted.name, wanted.options, self.clock)
        if not hasattr(backend, "set"):
            raise ConfigurationError(f"cache={wanted!r} is no CacheBackend, nor a name, a dspex.Cache or False.")
        background = getattr(backend, "background", None)
        if background is not None:
            self.supervise("cache", background, on_failure=self._cache_gave_up)
        return CacheService(backend, self._cache_failed, self.clock)

    def _cache_failed(self, message: str) -> None:
        warn(message)
        if self.bus.active and self._cache is not None:
            self.bus.publish(CacheFailed(self.clock.now(), 0, type(self._cache.backend).__name__, message))

    def _cache_gave_up(self, error: "SupervisorFailed") -> None:
        # As with any other fault of a cache: it costs misses, and no call.
        self._cache_failed(f"The cache is off until it is configured again. {error}")
        self._cache = None

    def sandbox(self, name: str, asked: str) -> Any:
        """A plugin's sandbox, made at first use and closed with the App. Raises ConfigurationError if none offers it."""
        with self._lock:
            if name not in self._sandboxes:
                self._sandboxes[name] = _made(self.plugins.spec("sandboxes", name, asked).load(), name, {})
            return self._sandboxes[name]

    def _middlewares(self) -> "tuple[Middleware, ...]":
        chain = self._middleware
        if chain is None:
            with self._lock:
                given = self.settings.own("middleware")
                if given is None:
                    given = [_made(spec.load(), spec.name) for spec in self.plugins.specs("middleware")]
                chain = self._middleware = tuple(given)
        return chain

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
        for service in self._all_services():
            key = service.endpoint.api_key
            text = text if key is None else key.redact(text)
        return text

    def _subscribe(self) -> None:
        if self._subscribed:
            return
        self._subscribed = True
        for spec in self.plugins.specs("subscribers"):
            try:
                self.bus.subscribe(_made(spec.load(), spec.name).on_event, spec.name)
            except (PluginError, AttributeError) as error:
                warn(f"Subscriber {spec.name!r} hears nothing: {error}")

    # Background work and life

    @cached_property
    def supervisor(self) -> "Supervisor":
        """The root of the supervised children."""
        from dspex.runtime.supervisor import Supervisor

        # Per child, so that one cause that kills many of them once is no storm.
        return Supervisor("app", per_child=True, clock=self.clock, on_restart=self._restarted, on_failure=self._gave_up)

    def _gave_up(self, error: "SupervisorFailed") -> None:
        why = f"This App has stopped. {error}"
        self.under_way.fail(why)
        warn(why)

    def _restarted(self, child: str, error: BaseException | None, restarts: int) -> None:
        if self.bus.active:
            what = type(error).__name__ if error is not None else "it returned"
            self.bus.publish(ChildRestarted(self.clock.now(), 0, child, what, restarts))

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
        from dspex.runtime.supervisor import ChildSpec

        spec = ChildSpec(name, start, restart, on_failure=on_failure)
        self.loop.call_soon_threadsafe(self._begin_child, spec)

    def _begin_child(self, spec: "ChildSpec") -> None:
        task = asyncio.get_running_loop().create_task(self._add_child(spec))
        self._adding.add(task)
        task.add_done_callback(self._adding.discard)

    async def _add_child(self, spec: "ChildSpec") -> None:
        if not self._supervising:
            self._supervising = True
            self.__dict__.pop("supervisor", None)
            await self.supervisor.start()
        await self.supervisor.remove(spec.name)
        self.supervisor.add(spec)

    def tree(self) -> "list[Row]":
        """Services, subscribers, then supervised children, with their states, restarts and last errors; a row prints as a line."""
        from dspex.runtime.supervisor import Row

        return [
            *(service.attempts.row() for service in self._all_services()),
            *(Row(f"events to {one.name}", "running", 0, one.trouble) for one in self.bus.channels),
            *self.supervisor.tree(),
        ]

    # Watching loops

    def _watch(self, limit: float | None) -> None:
        watchdog = None if limit is None else self._new_watchdog(limit)
        before, self._watchdog = self._watchdog, watchdog
        self.under_way.watch = None if watchdog is None else watchdog.watch
        if before is not None:
            before.stop()

    def _new_watchdog(self, limit: float) -> "Watchdog":
        from dspex.runtime.watchdog import Watchdog

        return Watchdog(limit, self._blocked)

    def _blocked(self, what: str, where: str, seconds: float) -> None:
        if self.bus.active:
            self.bus.publish(LoopBlocked(self.clock.now(), 0, what, where, seconds))
        limit = self.settings.own("watchdog")  # not the seconds: equal warnings are shown once
        warn(f"{what} ({where}) holds an event loop for more than {limit:g} s: make it async, or give it a thread.")

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
        # A child that was asked for and has not begun would outlive the supervisor.
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(task for task in self._adding if task.get_loop() is loop), return_exceptions=True)
        await self._end_calls(drain)
        if self._supervising:
            self._supervising = False
            await self.supervisor.stop()
        with self._lock:
            services, self._services = list(self._services.values()), {}
            self._guests.clear()
            self._recent.clear()
            clients, self._clients = self._clients, []
            caches, self._caches = list(self._caches.values()), {}
            sandboxes, self._sandboxes = self._sandboxes, {}
            self._cache, self._cache_made = None, False
            self._backgrounds = {}
        providers = {id(service.provider): service for service in services}
        for service in providers.values():
            await _closed(service.name, service)
        for client in clients:
            await _closed("An HTTP client", client)
        for cache in caches:
            await _closed("A cache", cache.backend)
        for name, sandbox in sandboxes.items():
            if hasattr(sandbox, "aclose"):
                await _closed(f"The sandbox {name!r}", sandbox)
        self.bus.close()
        self._watch(self.settings.own("watchdog"))
        self.under_way.failure = None

    async def _end_calls(self, drain: float) -> None:
        for spec in self.supervisor.children if self._supervising else ():
            if spec.restart == "temporary":  # a job, which would make ever more of them
                await self.supervisor.remove(spec.name)
        await self.under_way.drained(drain, self.clock)
        self.under_way.abort("Its App was closed while it was under way.")
        await self.under_way.drained(END_S, self.clock)

    def forked(self) -> None:
        """In a forked child: go on without the parent's locks, permits, calls in flight and background work."""
        self._lock = threading.RLock()
        self._supervising = False
        self.__dict__.pop("supervisor", None)
        self._cache, self._cache_made, self._caches, self._sandboxes = None, False, {}, {}
        self._workers, self._backgrounds, self._adding = {}, {}, set()
        self.bus.forked()
        self.under_way.forked()
        self._watch(self.settings.own("watchdog"))
        for service in self._all_services():
            service.forked()
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


def warn(message: str) -> None:
    """Tell the user once, through Python's own warnings."""
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def endpoint_identity(endpoint: Endpoint) -> Any:
    """What is equal for equal endpoints, and can be a key."""
    key = endpoint.api_key
    options: Mapping[str, Any] = endpoint.options
    return (
        endpoint.provider,
        endpoint.model,
        endpoint.base_url,
        key,
        tuple(sorted(endpoint.headers.items())),
        repr(sorted(options.items())),
    )


def _made(factory: Callable[..., Any], name: str, *arguments: Any) -> Any:
    try:
        return factory(*arguments)
    except (PluginError, ConfigurationError, *PASSING):
        raise
    except BaseException as error:  # the factory is a plugin's
        raise PluginError(f"{name!r} could not be made: {type(error).__name__}: {error}", plugin=name) from error


async def _closed(name: str, owner: Any) -> None:
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await owner.aclose()
    except PASSING:
        raise
    except BaseException as error:  # noqa: BLE001  it is a plugin's, and others wait to be closed
        warn(f"{name} could not be closed: {type(error).__name__}: {error}")


def _refined(made: list[Any], reply: tuple[Any, ...]) -> Any:
    refine = getattr(made[0], "error", None) if made else None
    return refine(*reply) if refine else None
