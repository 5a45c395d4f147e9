"""What LiteLLM's exceptions mean, as our errors."""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from dspex.plugin import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextWindowExceeded,
    Endpoint,
    LMError,
    LMTimeout,
    ProtocolError,
    RateLimited,
    Unavailable,
    status_error,
)
from dspex_litellm.bounds import Refused

SHOWN = 500
DEEPEST = 10  # exceptions below one another

# By the name of its class, the most special first; a class is looked for with those that it is made of.
_KINDS = MappingProxyType(
    {
        "ContextWindowExceededError": ContextWindowExceeded,
        "ContentPolicyViolationError": ContentFiltered,
        "AuthenticationError": AuthError,
        "PermissionDeniedError": AuthError,
        "RateLimitError": RateLimited,
        "Timeout": LMTimeout,
        "APITimeoutError": LMTimeout,
        "JSONSchemaValidationError": ProtocolError,
        "APIResponseValidationError": ProtocolError,
        "MidStreamFallbackError": ProtocolError,
        "NotFoundError": BadRequest,
        "UnprocessableEntityError": BadRequest,
        "BadRequestError": BadRequest,
        "ServiceUnavailableError": Unavailable,
        "BadGatewayError": Unavailable,
        "InternalServerError": Unavailable,
        "APIConnectionError": Unavailable,
    }
)
# LiteLLM has one class for a server that fails and a reply that cannot be read; what lies below tells them apart.
_UNREADABLE = frozenset(
    {"ClientPayloadError", "ContentLengthError", "DecodingError", "HttpProcessingError", "JSONDecodeError",
     "NonHttpUrlClientError", "RecursionError", "RemoteProtocolError", "TransferEncodingError", "UnicodeDecodeError"}
)  # fmt: skip
_NO_REPLY = ("Empty or invalid response", "has no attribute 'model_dump'", "provider returned a response with no")
_NO_SCHEME = "LLM Provider NOT provided"


def translated(error: Exception, endpoint: Endpoint) -> Exception:
    """Our error for one of LiteLLM's; any other stays as it is."""
    names = [kind.__name__ for kind in type(error).__mro__]
    kind = next((_KINDS[name] for name in names if name in _KINDS), None)
    status = getattr(error, "status_code", None)
    headers = _headers(error)
    text = _text(error, endpoint)
    if kind is None and "APIError" not in names:
        return error
    if kind is None:
        code = status if isinstance(status, int) and status >= 400 else 500
        return status_error(endpoint, code, headers, text.encode())
    if kind is Unavailable and any(isinstance(cause, UnicodeEncodeError) for cause in _causes(error)):
        return BadRequest(f"The request cannot be written in UTF-8: {text}")
    refused = next((cause for cause in _causes(error) if isinstance(cause, Refused)), None)
    if refused is not None:
        return ProtocolError(
            f"LiteLLM got a reply that is not read: {_shown(str(refused), endpoint)}.", retryable=False
        )
    if kind is Unavailable and (fault := _unreadable(error, text)) is not None:
        return ProtocolError(f"LiteLLM cannot read the reply: {_shown(fault, endpoint)}", code="retry_once")
    if kind is BadRequest and isinstance(status, int):
        kind = type(status_error(endpoint, status, headers, _body(error)))
    made: LMError = kind(_advised(text, endpoint, kind))
    made.status = status if isinstance(status, int) else None
    if kind is RateLimited:
        told = status_error(endpoint, 429, headers, text.encode())
        made.retry_after, made.retryable = told.retry_after, told.retryable
    return made


def _advised(text: str, endpoint: Endpoint, kind: type[LMError]) -> str:
    if _NO_SCHEME in text:
        return f"LiteLLM does not know a provider for {endpoint.model!r}: write dspex.LM('litellm/PROVIDER/MODEL')."
    if kind is AuthError and endpoint.api_key is None:
        return f"{text} Set the variable of its key that LiteLLM reads, or pass api_key=."
    return text


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those below it."""
    below: BaseException | None = error
    for _ in range(DEEPEST):
        if below is None:
            return
        yield below
        below = below.__cause__ or below.__context__


def _unreadable(error: Exception, text: str) -> str | None:
    """What is wrong with a reply, if that is the fault."""
    for cause in _causes(error):
        if not _UNREADABLE.isdisjoint(kind.__name__ for kind in type(cause).__mro__):
            return str(cause)
    return text if any(said in text for said in _NO_REPLY) else None


def _body(error: Exception) -> bytes:
    """What the server said, where a client's exception below has it."""
    for cause in _causes(error):
        content = getattr(getattr(cause, "response", None), "content", None)
        if isinstance(content, bytes) and content:
            return content
    return b""


def _headers(error: Exception) -> dict[str, str]:
    given = getattr(error, "litellm_response_headers", None) or getattr(
        getattr(error, "response", None), "headers", None
    )
    return {str(name).lower(): str(value) for name, value in dict(given or {}).items()}


def _text(error: Exception, endpoint: Endpoint) -> str:
    """Its words, without a key, and without the name of its class."""
    given: Any = getattr(error, "message", None) or error
    return _shown(str(given), endpoint).removeprefix("litellm.").removeprefix(f"{type(error).__name__}: ")


def _shown(given: str, endpoint: Endpoint) -> str:
    """Words in one line, not too many, without the key."""
    text = " ".join(given.split())
    if endpoint.api_key is not None:
        text = endpoint.api_key.redact(text)
    return text[:SHOWN]
