"""What makes a class with a `forward` or a `__call__` of its own an LM: its calls as a provider's, its replies in any usual form."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from dspex.core.dictionaries import to_dictionaries
from dspex.core.errors import ConfigurationError, ProtocolError
from dspex.core.messages import Choice, LMRequest, LMResponse, ToolCall
from dspex.core.usage import Usage
from dspex.runtime.worker_threads import in_thread

FORMS = ("forward", "aforward")  # sync and async
CALLS = ("__call__", "acall")
_BASE = frozenset({"super", *CALLS})


def is_written(kind: Any) -> bool:
    """Whether a class says itself how a model is called."""
    return any(hasattr(kind, form) for form in FORMS) or answers_itself(kind)


def answers_itself(kind: Any) -> bool:
    """Whether a class has a `__call__` or `acall` of its own that does not ask its base class."""
    return bool(kind._own_calls) and not kind._wraps


def asks_base(method: Any) -> bool:
    """Whether a `__call__` or `acall` asks that of its base class, by the names in its code."""
    code = getattr(inspect.unwrap(method), "__code__", None)
    return code is not None and not _BASE.isdisjoint(code.co_names)


class Written:
    """The LMProvider that an LM with a `forward` is, or with a `__call__` that does not ask its base class."""

    def __init__(self, lm: Any) -> None:
        kind = type(lm)
        self._lm = lm
        self._forms = CALLS if answers_itself(kind) else FORMS
        # Stands in the cache's keys, where others have their address.
        self.base_url = f"{kind.__module__}.{kind.__qualname__}#{lm.cache_key}"

    async def complete(self, request: LMRequest) -> LMResponse:
        """The reply of the user's code."""
        return await reply_of(self._lm, self._forms, request)


async def reply_of(lm: Any, forms: Sequence[str], request: LMRequest) -> LMResponse:
    """What an LM's own methods answer; of a sync and an async one the latter is asked. Raises what they raise, ProtocolError."""
    sync, asynchronous = (_own(lm, name) for name in forms)
    messages = [turn for message in request.messages for turn in to_dictionaries(message)]
    arguments = {**_arguments(request), "prompt": None, "messages": messages}
    try:
        given = await (in_thread(sync, **arguments) if asynchronous is None else asynchronous(**arguments))
    except AttributeError as error:
        if error.name not in FORMS:
            raise
        raise ConfigurationError(_no_super(lm)) from error
    return _response(given, lm, forms[0])


def _own(lm: Any, name: str) -> Any:
    """That method, None where it is LM's."""
    return None if name in CALLS and name not in lm._own_calls else getattr(lm, name, None)


def _no_super(lm: Any) -> str:
    name = type(lm).__name__
    return (
        f"{name}.forward calls a `forward` of dspex.LM, which has none: {name} makes the whole reply itself, or asks another "
        "handle, as `await dspex.LM(...).acall(messages=messages)` in its `aforward`. What stands around every call of a "
        "model is a middleware (docs/plugins.md)."
    )


def _arguments(request: LMRequest) -> dict[str, Any]:
    arguments = dict(request.params)
    if request.tools:
        arguments["tools"] = list(request.tools)
    if request.schema is not None:
        schema = {"name": "outputs", "schema": dict(request.schema), "strict": True}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.n > 1:
        arguments["n"] = request.n
    return arguments


def _response(given: Any, lm: Any, form: str) -> LMResponse:
    if isinstance(given, LMResponse):
        return given
    if isinstance(given, str):
        return LMResponse.from_text(given)
    if isinstance(given, (list, tuple)):
        return LMResponse(tuple(map(_choice, given)))
    choices = _part(given, "choices")
    if choices is None:
        raise ProtocolError(
            f"{type(lm).__name__}.{form} gave a {type(given).__name__}: a text, a list of texts, an LMResponse or a "
            "reply in OpenAI's form is wanted.",
            model=lm.model,
            retryable=False,
        )
    return LMResponse(tuple(map(_choice, choices)), _usage(_part(given, "usage")), _part(given, "model") or lm.model)


def _choice(given: Any) -> Choice:
    if isinstance(given, str):
        return Choice(given)
    message = _part(given, "message")
    text = _part(given, "text") if message is None else _part(message, "content")
    said = given if message is None else message  # as what calling an LM gives
    return Choice(
        text or "",
        tuple(_tool_calls(_part(said, "tool_calls") or ())),
        _part(given, "finish_reason") or "stop",
        _part(given, "logprobs"),
        _part(said, "reasoning_content"),
    )


def _tool_calls(given: Iterable[Any]) -> Iterable[ToolCall]:
    for place, call in enumerate(given):
        function = _part(call, "function")
        arguments = _part(function, "arguments") or "{}"
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        yield ToolCall(_part(call, "id") or f"call_{place}", _part(function, "name") or "", text)


def _usage(given: Any) -> Usage | None:
    prompt, completion = _part(given, "prompt_tokens"), _part(given, "completion_tokens")
    if prompt is None and completion is None:
        return None
    cached = _part(_part(given, "prompt_tokens_details"), "cached_tokens")
    reasoning = _part(_part(given, "completion_tokens_details"), "reasoning_tokens")
    return Usage(prompt or 0, completion or 0, cached or 0, reasoning or 0)


def _part(given: Any, name: str) -> Any:
    return given.get(name) if isinstance(given, Mapping) else getattr(given, name, None)
