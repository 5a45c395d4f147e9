"""Recorded bytes of a provider's wire, and an HttpClient that plays them without a socket."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from dspex.core.errors import LMError
from dspex.core.messages import Choice
from dspex.core.usage import Usage
from dspex.core.wire import HttpLimits, HttpReply, MakeFraming, ServerEvent
from dspex.service.sse import EVENTS, EventReader
from dspex.testing.lm_asks import Ask


class Recording(msgspec.Struct, frozen=True):
    """One good reply as the wire has it, whole (`reply`) and as a stream (`events`), and what both mean.

    `asks` is what was asked for, where the reply is of another kind than a plain text.
    """

    reply: bytes
    events: bytes
    means: Choice
    usage: Usage
    asks: Ask = Ask()


class PlayedHttp:
    """An HttpClient that answers every request with the same bytes; `sent` holds what was asked, in order.

    A stream, of that content type, ends behind its last byte, and then raises `breaks` if that is given.
    """

    def __init__(
        self, reply: bytes, events: bytes = b"", breaks: LMError | None = None, content_type: str = EVENTS
    ) -> None:
        self._reply, self._events, self._breaks, self._content_type = reply, events, breaks, content_type
        self.sent: list[str] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        is_final: bool = False,
    ) -> HttpReply:
        """The whole reply."""
        self._note(json, body)
        return HttpReply(200, {}, self._reply)

    async def events(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        framings: Mapping[str, MakeFraming] = {},
    ) -> AsyncGenerator[ServerEvent, None]:
        """The events, as they are complete."""
        self._note(json, body)
        framing = {EVENTS: EventReader, **framings}[self._content_type]
        for event in framing(HttpLimits().event).feed(self._events):
            yield event
        if self._breaks is not None:
            raise self._breaks

    def _note(self, json: Any, body: bytes | None) -> None:
        self.sent.append((msgspec.json.encode(json) if body is None else body).decode("utf-8", "replace"))
