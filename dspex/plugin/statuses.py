"""What an endpoint's refusal means: an HTTP status, or an `error` object in a reply, as one of our errors."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.core.endpoint import Endpoint
from dspex.core.errors import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextWindowExceeded,
    LMError,
    LMTimeout,
    ProtocolError,
    RateLimited,
    Unavailable,
)
from dspex.plugin.decoding import decode_json

SHOWN = 500

# The words of OpenAI, llama.cpp, vLLM, Anthropic, Gemini, Mistral, Cohere, Groq, Bedrock and xAI for a prompt that is too long.
# (Patterns are texts: compiling them when first needed keeps `import dspex` light.)
_TOO_LONG = (
    r"context_length_exceeded|exceed_context_size|maximum context length|context window|available context size"
    r"|prompt is too long|input token count .{0,40}exceeds|too many tokens|input is too long|maximum prompt length"
    r"|reduce the length of the messages|exceeds? (the|its) context"
)
_FILTERED = (
    r"content_policy|content_filter|content policy|content management policy|responsible_?ai|safety system"
    r"|moderation_blocked|input was flagged"
)
# A limit that waiting does not lift; Gemini has OpenAI's words for one of a minute, so that those tell nothing.
_NO_CREDIT = (
    r"insufficient[ _](quota|balance|credit|fund)|out of credit|available credits|spending limit|exceeded_current_quota"
)
_SECONDS = r"\d{1,9}(\.\d{1,9})?"
_TELLING_HEADER = r"auth|key|token|secret|cookie"

# Names of faults where no status tells them: the `error` object of a reply of 200, or of a stream.
_BY_CODE = MappingProxyType(
    {
        "rate_limit_exceeded": 429,
        "rate_limit_error": 429,
        "insufficient_quota": 429,
        "invalid_api_key": 401,
        "authentication_error": 401,
        "permission_error": 403,
        "model_not_found": 404,
        "not_found_error": 404,
        "context_length_exceeded": 400,
        "content_filter": 400,
        "invalid_request_error": 400,
        "timeout_error": 504,
        "server_error": 500,
        "api_error": 500,
        "internal_server_error": 500,
        "overloaded_error": 529,
    }
)


class _Refusal(msgspec.Struct, frozen=True):
    """What is known of one refusal, its texts free of keys."""

    endpoint: Endpoint
    status: int
    code: str
    detail: str
    host: str
    retry_after: float | None

    @property
    def says(self) -> str:
        end = "" if self.detail.endswith((".", "!", "?")) else "."
        return f": {self.detail}{end}" if self.detail else "."

    @property
    def name(self) -> str:
        from http import HTTPStatus

        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


def status_error(
    endpoint: Endpoint, status: int, headers: Mapping[str, str], body: bytes, *, base_url: str | None = None
) -> LMError:
    """The error for a status other than 2xx, or (status 200) for an `error` object in a reply; `headers` in lower case.

    `body` is the provider's own, in whatever shape; what is shown of it has 500 characters and no key of ours.
    """
    code, detail = _told(redacted(endpoint, body.decode("utf-8", "replace")))
    if status < 300:
        status = int(code) if re.fullmatch("[45][0-9][0-9]", code) else _BY_CODE.get(code, status)
    where = base_url or endpoint.base_url or endpoint.provider
    told = _Refusal(endpoint, status, code, detail[:SHOWN], where[:200], retry_after(headers))
    error = _error(told)
    error.status, error.code, error.retry_after = status, error.code or code or None, told.retry_after
    error.request_id = headers.get("x-request-id") or headers.get("request-id")
    return error


def redacted(endpoint: Endpoint, text: str) -> str:
    """`text` without the endpoint's key and without what its headers hold of the kind."""
    if endpoint.api_key is not None:
        text = endpoint.api_key.redact(text)
    for name, value in endpoint.headers.items():
        if re.search(_TELLING_HEADER, name.lower()) and len(value) > 3:
            text = text.replace(value.split()[-1], "***")
    return text


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait, a date taken against the reply's own; None where it makes no sense."""
    from email.utils import parsedate_to_datetime

    value = headers.get("retry-after", "").strip()
    if milliseconds := re.fullmatch(_SECONDS, headers.get("retry-after-ms", "").strip()):
        seconds = float(milliseconds[0]) / 1000
    elif re.fullmatch(_SECONDS, value):
        seconds = float(value)
    else:
        try:
            seconds = (parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
        except (ValueError, TypeError):
            return None
    return seconds if seconds > 0 else None


def _told(text: str) -> tuple[str, str]:
    """Code and message of an error body, in any of the shapes that providers use."""
    try:
        data: Any = decode_json(text, Any)
    except ProtocolError:
        return "", _squeezed(text)
    if isinstance(data, list) and data:
        data = data[0]
    if isinstance(data, dict):
        data = data.get("error") or data
    if not isinstance(data, dict):
        return "", _squeezed(str(data))
    codes = [str(data[name]) for name in ("code", "type", "status") if data.get(name)]
    known = next((code for code in codes if code in _BY_CODE), codes[0] if codes else "")
    said = data.get("message") or data.get("detail") or text
    message = _squeezed(said if isinstance(said, str) else str(said))
    return known, " ".join([*(code for code in codes[:2] if code not in message and not code.isdigit()), message])


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _error(told: _Refusal) -> LMError:
    status, host = told.status, told.host
    if (refused := _refused_content(told)) is not None:
        return refused
    if status in (408, 504):
        return LMTimeout(f"{host} gave up waiting ({told.name}){told.says}")
    if status in (401, 403):
        return _auth_error(told)
    if status == 404:
        model = told.endpoint.model
        return BadRequest(
            f"{host} does not know the model {model!r} or the path (404){told.says} Check both, and api_base."
        )
    if status in (409, 425, 499) or (status >= 500 and status not in (501, 505)):
        return Unavailable(f"{host} failed on its side ({told.name}){told.says}")
    if status >= 400:
        return BadRequest(f"{host} refuses the request as it is ({told.name}){told.says}")
    if status >= 300:
        advice = "That is not followed, as the key would go with it: set api_base to the final address."
        return ProtocolError(f"{host} redirects elsewhere ({told.name}). {advice}", retryable=False)
    return ProtocolError(f"{host} answered with an error{told.says}", code="retry_once")


def _refused_content(told: _Refusal) -> LMError | None:
    """Refusals whose words matter beside the status: too long, against a policy, too much."""
    status, words, host = told.status, told.detail.lower(), told.host
    if status in (400, 413, 422, 500) and re.search(_TOO_LONG, words):
        return ContextWindowExceeded(f"The prompt is longer than the model reads ({status} from {host}){told.says}")
    if status in (400, 403, 422) and re.search(_FILTERED, words):
        return ContentFiltered(f"A content policy of {host} refused the request ({status}){told.says}")
    if status == 402 or (status == 429 and re.search(_NO_CREDIT, f"{told.code} {words}")):
        advice = "Waiting will not help: see the plan and billing of the account."
        return RateLimited(f"The quota at {host} is used up ({status}){told.says} {advice}", retryable=False)
    if status in (429, 498):  # 498: Groq's, for a tier without room
        wait = f" It asks to wait {told.retry_after:g} s." if told.retry_after else ""
        return RateLimited(f"{host} limits the rate ({status}){told.says}{wait} Lower max_in_flight or num_threads.")
    return None


def _auth_error(told: _Refusal) -> AuthError:
    key, host = told.endpoint.api_key, told.host
    if key is None:
        name = f"{told.endpoint.provider.upper().replace('-', '_')}_API_KEY"
        return AuthError(f"{host} wants a key ({told.status}){told.says} Set {name}, or pass api_key=.")
    source = "api_key=" if key.source == "argument" else key.source
    if told.status == 403:
        return AuthError(f"{host} does not allow this to the key from {source} (403){told.says}")
    return AuthError(
        f"{host} refuses the key from {source} (401){told.says} Is it complete, valid and for this address?"
    )
