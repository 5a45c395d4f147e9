"""Calls of a model by the way that Predict takes, in one line of a test."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from dspex.app.lm import LM
from dspex.core.messages import LMDelta, LMRequest, LMResponse, Message


async def ask(
    lm: LM,
    *said: Message | str,
    tools: Sequence[Mapping[str, Any]] = (),
    schema: Mapping[str, Any] | None = None,
    n: int = 1,
    **params: Any,
) -> LMResponse:
    """The whole reply to these turns; a text is a user's, and without any it is "Hello?". Raises LMError classes."""
    return await lm.complete(_request(lm, said, params, tools=tuple(tools), schema=schema, n=n))


def pieces(lm: LM, *said: Message | str, **params: Any) -> AsyncIterator[LMDelta]:
    """As `ask`, in pieces as they come."""
    return lm.stream(_request(lm, said, params))


def _request(lm: LM, said: Sequence[Message | str], params: Mapping[str, Any], **more: Any) -> LMRequest:
    turns = tuple(Message.of("user", one) if isinstance(one, str) else one for one in said or ("Hello?",))
    return lm.request(turns, dict(params), **more)
