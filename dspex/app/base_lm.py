"""BaseLM: a model whose calls the user writes, behind the same service as any other."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import msgspec

from dspex.app.lm import LM
from dspex.core.dictionaries import to_dictionaries
from dspex.core.errors import ConfigurationError, ProtocolError
from dspex.core.messages import Choice, LMRequest, LMResponse, ToolCall
from dspex.core.usage import Usage
from dspex.runtime.worker_threads import in_thread


class BaseLM(LM):
    """Base of own LMs: write `forward(prompt=None, messages=None, **kwargs)`, or `aforward`, or both.

    It gives a text, a list of texts, an LMResponse, or a reply in OpenAI's form as object or dictionary. `messages` are
    dictionaries, `kwargs` the parameters of handle and call, and `tools` and `response_format` where they are asked
    for; `prompt` is always None. The sync form runs in a thread. Replies are cached only where `cache_key` is set, in
    the class or as a keyword: it says what tells this object's replies from those of another with the same model.
    """

    cache_key: str | None = None

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        model: str,
        model_type: Literal["chat", "text", "responses"] = "chat",
        temperature: float | None = None,
        max_tokens: int | None = None,
        cache: bool = True,
        callbacks: Sequence[Any] | None = None,
        num_retries: int = 3,
        *,
        cache_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.cache_key = cache_key or self.cache_key
        cached = cache and self.cache_key is not None
        provider = _Written(self)
        super().__init__(model, model_type, temperature, max_tokens, cached, callbacks, num_retries, provider, **kwargs)

    def copy(self, **changes: Any) -> Self:
        """As that of an LM; the copy's own `forward` is called."""
        twin = super().copy(**changes)
        twin._provider = _Written(twin)
        return twin


class _Written:
    """The LMProvider that a BaseLM is."""

    def __init__(self, lm: BaseLM) -> None:
        kind = type(lm)
        self._lm = lm
        self._aforward = getattr(lm, "aforward", None)
        self._forward = getattr(lm, "forward", None)
        # Stands in the cache's keys, where others have their address.
        self.base_url = f"{kind.__module__}.{kind.__qualname__}#{lm.cache_key}"
        if self._aforward is None and self._forward is None:
            raise ConfigurationError(f"{kind.__name__} has neither `forward` nor `aforward`; write one of them.")

    async def complete(self, request: LMRequest) -> LMResponse:
        """The reply of the user's code."""
        messages = [turn for message in request.messages for turn in to_dictionaries(message)]
        arguments = {**_arguments(request), "prompt": None, "messages": messages}
        if self._aforward is not None:
            given = await self._aforward(**arguments)
        else:
            given = await in_thread(self._forward, **arguments)  # type: ignore[arg-type]  # one of them is there
        return _response(given, self._lm)


def _arguments(request: LMRequest) -> dict[str, Any]:
    arguments = dict(request.params)
    if request.tools:
        arguments["tools"] = list(request.tools)
    if request.schema is not None:
        schema = {"name": "outputs", "schema": dict(request.schema), "strict": True}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    return arguments


def _response(given: Any, lm: BaseLM) -> LMResponse:
    if isinstance(given, LMResponse):
        return given
    if isinstance(given, str):
        return LMResponse.from_text(given)
    if isinstance(given, (list, tuple)):
        return LMResponse(tuple(map(_choice, given)))
    choices = _part(given, "choices")
    if choices is None:
        raise ProtocolError(
            f"{type(lm).__name__}.forward gave a {type(given).__name__}: a text, a list of texts, an LMResponse or a "
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
    return Choice(
        text or "",
        tuple(_tool_calls(_part(message, "tool_calls") or ())),
        _part(given, "finish_reason") or "stop",
        _part(given, "logprobs"),
        _part(message, "reasoning_content"),
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
