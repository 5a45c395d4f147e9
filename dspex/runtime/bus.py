"""Events to subscribers: a second channel that may lose some and never slows a call."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from dspex.core.events import Event

QUEUE_LIMIT = 10_000


class Bus:
    """One bounded queue and one daemon thread a subscriber; `active` is False while nobody listens."""

    def __init__(self, on_failure: Callable[[str], object] = str) -> None:
        self.active = False
        self._channels: tuple[Channel, ...] = ()
        self._on_failure = on_failure

    def subscribe(self, on_event: Callable[[Event], None], name: str) -> "Channel":
        """Send all later events to `on_event`."""
        channel = Channel(on_event, name, self._on_failure)
        self._channels = (*self._channels, channel)
        self.active = True
        return channel

    def unsubscribe(self, name: str, timeout: float = 1.0) -> None:
        """Deliver what is queued for the subscribers of that name, and send them no more."""
        ended = [channel for channel in self._channels if channel.name == name]
        self._channels = tuple(channel for channel in self._channels if channel.name != name)
        self.active = bool(self._channels)
        for channel in ended:
            channel.close(timeout)

    def publish(self, event: Event) -> None:
        """Hand an event to each subscriber's queue."""
        for channel in self._channels:
            channel.put(event)

    def forked(self) -> None:
        """In a forked child: threads anew."""
        for channel in self._channels:
            channel.forked()

    def close(self, timeout: float = 1.0) -> None:
        """Deliver what is queued, within `timeout` seconds a subscriber, and stop."""
        for channel in self._channels:
            channel.close(timeout)
        self._channels = ()
        self.active = False

    @property
    def channels(self) -> Sequence["Channel"]:
        """The subscribers' queues, with `dropped` counts."""
        return self._channels


class Channel:
    """A subscriber's queue; `dropped` counts the events that it had no room for, the oldest go first."""

    def __init__(self, on_event: Callable[[Event], None], name: str, on_failure: Callable[[str], object]) -> None:
        self.name = name
        self.dropped = 0
        self.error = ""
        self._on_event = on_event
        self._on_failure = on_failure
        self._queue: deque[Event] = deque(maxlen=QUEUE_LIMIT)
        self._closing = False
        self.forked()

    def forked(self) -> None:
        """Be as if nothing had been put yet."""
        self._ready = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._queue.clear()

    @property
    def trouble(self) -> str:
        """What went wrong so far, in words."""
        lost = f"{self.dropped} events dropped" if self.dropped else ""
        return ", ".join(part for part in (lost, self.error) if part)

    def put(self, event: Event) -> None:
        """Queue an event; never waits."""
        if len(self._queue) == QUEUE_LIMIT:
            self.dropped += 1
        self._queue.append(event)
        if not self._ready.is_set():
            self._ready.set()
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._drain, name=f"dspex-events-{self.name}", daemon=True)
                self._thread.start()

    def _drain(self) -> None:
        while True:
            self._ready.wait()
            self._ready.clear()
            while self._queue:
                try:
                    self._on_event(self._queue.popleft())
                except BaseException as error:  # noqa: BLE001  a subscriber is a guest: named once, and offered the next event
                    said, self.error = self.error, f"{type(error).__name__}: {error}"
                    if not said:
                        self._on_failure(f"Subscriber {self.name!r} failed: {self.error}")
            if self._closing:
                return

    def close(self, timeout: float) -> None:
        """Deliver what is queued and stop the thread."""
        self._closing = True
        self._ready.set()
        if self._thread is not None:
            self._thread.join(timeout)
