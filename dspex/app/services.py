"""The services of an App: made at first use, one for equal identities, and closed with it."""

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from dspex.app.plugged import Owner
from dspex.core.endpoint import Endpoint

ServiceT = TypeVar("ServiceT")

LIFE = ("start", "background", "aclose")  # what a provider has that has a life of its own
KEPT_GUESTS = 64  # services of the user's own objects that are kept though nobody holds them


class Services:
    """Services by identity; `on_kept` is told of each that stays until the App is closed."""

    def __init__(self, owner: Owner, on_kept: Callable[[Any], None]) -> None:
        self._owner = owner
        self._on_kept = on_kept
        self._kept: dict[Any, Any] = {}
        self._guests: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
        self._recent: deque[Any] = deque(maxlen=KEPT_GUESTS)

    def get(self, identity: Any, make: Callable[[], ServiceT], guest: Any = None) -> ServiceT:
        """The service of that identity.

        That of a `guest`, an object of the user's, goes some time after its last handle, unless the App must close it.
        """
        with self._owner.lock:
            service: ServiceT | None = self._kept.get(identity) or self._guests.get(identity)
            if service is None:
                service = make()
                if guest is None or any(hasattr(guest, name) for name in LIFE):
                    self._kept[identity] = service
                    self._on_kept(service)
                else:
                    self._guests[identity] = service
                    self._recent.append(service)
            return service

    def __iter__(self) -> Iterator[Any]:
        return iter([*self._kept.values(), *self._guests.values()])

    def emptied(self) -> list[Any]:
        """Those that are to be closed, one a provider; there are none any more."""
        with self._owner.lock:
            services, self._kept = list(self._kept.values()), {}
            self._guests.clear()
            self._recent.clear()
        return list({id(service.provider): service for service in services}.values())

    def forked(self) -> None:
        """In a forked child: services without what the parent's calls hold."""
        for service in self:
            service.forked()


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
