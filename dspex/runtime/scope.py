"""What belongs to one request: it travels in a context variable, so siblings never see each other's."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import msgspec

from dspex.core.messages import LMRequest, LMResponse
from dspex.core.usage import Usage
from dspex.runtime.deadline import Deadline

Proceed = Callable[[LMRequest], Awaitable[LMResponse]]
ProceedToBytes = Callable[[], Awaitable[tuple[bytes, Usage]]]


class Recorder(Protocol):
    """Stands around every logical call of a scope; a compile journals and replays through it.

    A `proceed` may have a `call` whose `attempts` and `cached` say what left the process.
    """

    async def record(self, request: LMRequest, proceed: Proceed) -> LMResponse:
        """Answer from the record, or `proceed` and record."""

    async def record_bytes(self, request: bytes, proceed: ProceedToBytes) -> bytes:
        """The same for a call that is no LM's, told by its `request`: an embedder's, a retriever's."""


class Scope(msgspec.Struct, frozen=True, eq=False):
    """The surroundings of a call; immutable, `child` makes a changed copy.

    `request` stands for the outermost block or program that runs here, None outside of any: its calls share one turn
    where calls queue. `overlay` holds the settings that `context()` overrides; `deadline` bounds all that is waited for; `trace` collects
    (predictor, inputs, prediction) where somebody asked for it, `weighed` the log-probabilities of an output's choices by the `id`
    of those inputs; `path` names the modules that are running. `listener`
    hears replies while they come (`streamify`), `tape` is the cassette that calls are recorded on or played from; a `patient`
    call waits for an endpoint that is left alone for a moment, where others fail at once.
    """

    app: Any = None
    overlay: Mapping[str, Any] = {}
    deadline: Deadline | None = None
    budgets: tuple[Any, ...] = ()
    trackers: tuple[Any, ...] = ()
    trace: list[Any] | None = None
    recorder: Recorder | None = None
    path: tuple[str, ...] = ()
    request: object = None
    listener: Any = None
    tape: Any = None
    patient: bool = False
    weighed: dict[int, Any] | None = None

    def child(self, **changes: Any) -> "Scope":
        """A copy with some parts changed."""
        return msgspec.structs.replace(self, **changes)


SCOPE: ContextVar[Scope] = ContextVar("dspex_scope", default=Scope())  # noqa: B039  a Scope is never changed

current = SCOPE.get


@contextmanager
def use(**changes: Any) -> Iterator[Scope]:
    """Run a block in a child of the current scope."""
    outer = SCOPE.get()
    scope = outer.child(request=outer.request or object(), **changes)
    token = SCOPE.set(scope)
    try:
        yield scope
    finally:
        SCOPE.reset(token)
