"""Fallback: several LMs behind one handle; where one cannot serve, the next is asked."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Self

from dspex.app.app import current_app
from dspex.app.history import HistoryEntry, keep
from dspex.app.lm import LM
from dspex.core.endpoint import Capabilities
from dspex.core.errors import (
    AuthError,
    CircuitOpen,
    ConfigurationError,
    ContextWindowExceeded,
    DspexError,
    FallbackFailed,
    LMTimeout,
    PluginError,
    ProtocolError,
    RateLimited,
    Unavailable,
)
from dspex.core.messages import LMDelta, LMRequest, LMResponse, Message
from dspex.core.warn import warn
from dspex.runtime.scope import SCOPE, Proceed, ProceedToBytes, use
from dspex.service.lm import LMService
from dspex.service.pieces import whole
from dspex.service.retry import is_retryable_lm_error

# Another model may do better with these. A bad request stays bad, a policy is not to be got around, a budget is a wall.
FALLS_OVER = (
    *(RateLimited, LMTimeout, Unavailable, ProtocolError, CircuitOpen, AuthError, ContextWindowExceeded, PluginError),
    FallbackFailed,
)
SHOWN = 800


class Fallback(LM):
    """Asks the first of `lms`, and the next one where that cannot serve; usable wherever an LM is.

    Falls over for rate limits, time-outs, network and server faults, broken replies, an open breaker, a key that is
    refused (with one warning), a prompt too long for that model, and a broken plugin. Each keeps its own parameters,
    retries, limits and cache, so timeouts add up. Raises FallbackFailed if none answers, any other error at once.
    """

    def __init__(self, *lms: LM) -> None:
        given: tuple[Any, ...] = lms
        wrong = [lm for lm in given if not isinstance(lm, LM)]
        if wrong or not lms:
            told = f"; {wrong[0]!r:.80} is none" if wrong else ""
            raise ConfigurationError(f"Fallback needs LMs: dspex.Fallback(dspex.LM(...), dspex.LM(...)){told}.")
        super().__init__(" | ".join(lm.model for lm in lms), provider=self, cache=any(lm.cache for lm in lms))
        self.lms = lms
        self.kwargs = dict(lms[0].kwargs)
        self._warned = False

    @property
    def service(self) -> LMService:
        """That of the first LM."""
        return self.lms[0].service

    @property
    def _offered(self) -> Capabilities:
        # What all of them can do: the least of each.
        each = [lm.capabilities for lm in self.lms]
        return Capabilities(**{name: _least([getattr(one, name) for one in each]) for name in NAMES})

    @property
    def identity(self) -> dict[str, Any]:
        """The identities of all, in order."""
        return {"fallback": [lm.identity for lm in self.lms]}

    @property
    def is_ready(self) -> bool:
        """Whether all have started."""
        return all(lm.is_ready for lm in self.lms)

    async def ready(self) -> None:
        """Start all that can be started; why one cannot is told when it is asked."""
        for lm in self.lms:
            with suppress(DspexError):
                await lm.ready()

    def request(
        self,
        messages: tuple[Message, ...],
        params: Mapping[str, Any],
        *,
        tools: tuple[Mapping[str, Any], ...] = (),
        schema: Mapping[str, Any] | None = None,
        n: int = 1,
    ) -> LMRequest:
        """A request with the call's own parameters; each LM adds its own when it is asked."""
        overlay = SCOPE.get().overlay.get("lm_params")
        return LMRequest(self.model, messages, {**params, **(overlay or {})}, tools, schema, n)

    async def complete(self, request: LMRequest, *, by_base: bool = False) -> LMResponse:
        """The reply of the first that answers. Raises FallbackFailed, or what none could mend."""
        recorder = SCOPE.get().recorder
        if recorder is None:
            reply = await self._answer(request)
        else:
            # A run records which answer it got, not who failed before: that may not come again.
            reply = await recorder.record(request, _Unrecorded(self))
        self._remember(request, reply)
        return reply

    def _remember(self, request: LMRequest, response: LMResponse, failure: BaseException | None = None) -> None:
        # In the App's history it stands already, by the LM that answered.
        settings, clock = current_app().settings, current_app().clock
        if not settings.disable_history:
            entry = HistoryEntry(self.model, request, response, clock.now())
            keep(entry, (self._history,), settings.max_history_size, settings.max_history_characters)

    async def _answer(self, request: LMRequest) -> LMResponse:
        failures: list[DspexError] = []
        for lm in self.lms:
            try:
                return await lm.complete(_asked_of(lm, request))
            except FALLS_OVER as error:
                self._failed(lm, error, failures)
        raise self._failure(failures)

    async def stream(self, request: LMRequest) -> AsyncGenerator[LMDelta, None]:
        """The pieces of the first that begins to answer; after its first piece nobody else is asked."""
        if SCOPE.get().recorder is not None:
            yield LMDelta.last_of(await self.complete(request))
            return
        failures: list[DspexError] = []
        for lm in self.lms:
            pieces: list[LMDelta] = []
            try:
                async with aclosing(lm.stream(_asked_of(lm, request))) as deltas:
                    async for delta in deltas:
                        pieces.append(delta)
                        yield delta
            except FALLS_OVER as error:
                if pieces:
                    raise
                self._failed(lm, error, failures)
            else:
                self._remember(request, whole(pieces))
                return
        raise self._failure(failures)

    async def forget(self, request: LMRequest) -> None:
        """Drop what any of them has cached for it."""
        for lm in self.lms:
            with suppress(DspexError):
                await lm.forget(_asked_of(lm, request))

    def copy(self, **changes: Any) -> Self:
        """A Fallback of copies."""
        return type(self)(*(lm.copy(**changes) for lm in self.lms))

    def dump_state(self) -> dict[str, Any]:
        """What a saved program keeps of each."""
        return {"fallback": [lm.dump_state() for lm in self.lms]}

    def _failed(self, lm: LM, error: DspexError, failures: list[DspexError]) -> None:
        failures.append(error)
        if isinstance(error, AuthError) and not self._warned:
            self._warned = True
            warn(f"{self!r} goes on without {lm.model}: {error}")

    def _failure(self, failures: list[DspexError]) -> FallbackFailed:
        most = SHOWN // len(failures)
        told = " ".join(
            f"{lm.model}: {type(error).__name__}: {str(error)[:most]}"
            for lm, error in zip(self.lms, failures, strict=True)
        )
        waits = [wait for error in failures if (wait := getattr(error, "retry_after", None)) is not None]
        return FallbackFailed(
            f"None of {len(failures)} LMs answered. {told}",
            errors=tuple(failures),
            attempts=sum(getattr(error, "attempts", 0) for error in failures),
            retry_after=min(waits, default=None),
            retryable=any(is_retryable_lm_error(error) for error in failures),
        )

    def __repr__(self) -> str:
        return f"dspex.Fallback({', '.join(map(repr, self.lms))})"


NAMES = Capabilities.__struct_fields__


class _Unrecorded:
    """The way to an answer below a recorder; `call` tells the recorder how many attempts it took."""

    def __init__(self, fallback: Fallback) -> None:
        self.call = _Attempts()
        self._fallback = fallback

    async def __call__(self, request: LMRequest) -> LMResponse:
        with use(recorder=self.call):
            return await self._fallback._answer(request)


class _Attempts:
    """A recorder that only counts."""

    def __init__(self) -> None:
        self.attempts = 0
        self.cached = False

    async def record(self, request: LMRequest, proceed: Proceed) -> LMResponse:
        call: Any = getattr(proceed, "call", None)
        try:
            return await proceed(request)
        finally:
            self.attempts += getattr(call, "attempts", 1)
            self.cached = getattr(call, "cached", False)

    async def record_bytes(self, request: bytes, proceed: ProceedToBytes) -> bytes:
        return (await proceed())[0]


def _asked_of(lm: LM, request: LMRequest) -> LMRequest:
    return lm.request(request.messages, request.params, tools=request.tools, schema=request.schema, n=request.n)


def _least(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known:
        return None
    least = min(known)
    # What one cannot do none should be asked for; what one may not be able to do is unknown.
    return None if least is True and len(known) < len(values) else least


def lm_from_state(state: Mapping[str, Any]) -> LM:
    """An LM or Fallback from a saved program's state."""
    if "fallback" in state:
        return Fallback(*map(lm_from_state, state["fallback"]))
    return LM.load_state(state)
