"""A provider's own life: it is started once, before its first attempt, and let go with its App."""

from typing import Any

from dspex.core.errors import DspexError, PluginError
from dspex.core.guests import PASSING
from dspex.runtime.stepping import HOP
from dspex.service.flight import SingleFlight


class Life:
    """The optional `start` and `aclose` of one provider object; `started` is True where there is nothing to wait for."""

    def __init__(self, provider: Any, name: str) -> None:
        self._provider = provider
        self._name = name
        self.forked()

    async def start(self) -> None:
        """Start the provider, if nobody has. Raises PluginError for what it raises beyond its contract."""
        if not self.started:
            await HOP
            await self._flight.join(b"", self._start)

    async def _start(self) -> bool:
        try:
            await self._provider.start()
        except (DspexError, *PASSING):
            raise
        except BaseException as error:  # the provider is a plugin
            message = f"The provider {self._name!r} could not start: {type(error).__name__}: {error}"
            raise PluginError(message, plugin=self._name) from error
        self.started = True
        return True

    def forked(self) -> None:
        """In a forked child: what the parent has started, or begun to, is not there."""
        self.started = getattr(self._provider, "start", None) is None
        self._flight: SingleFlight[bool] = SingleFlight()

    async def aclose(self) -> None:
        """Let the provider go."""
        close = getattr(self._provider, "aclose", None)
        if close is not None:
            await close()
