"""Where the Gemini API is, what it is shown, and what its refusals mean: what models and embedders have in common."""

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from dspex.plugin import AuthError, Endpoint, Headers, LMError, ProtocolError, RateLimited, decode_json, status_error

GEMINI = "https://generativelanguage.googleapis.com/v1beta"
_WRONG_KEY = rb"API_KEY_INVALID|API key not valid|API key expired"
_DELAY = r"(\d{1,6}(?:\.\d{1,9})?)s"


class _Fault(msgspec.Struct):
    details: list[dict[str, Any]] | None = None


class _Body(msgspec.Struct):
    error: _Fault | None = None


def base_url(endpoint: Endpoint) -> str:
    """The address with its version: the user's, else GEMINI_BASE_URL, else Google's."""
    return (endpoint.base_url or os.environ.get("GEMINI_BASE_URL") or GEMINI).rstrip("/")


def model_path(model: str) -> str:
    """The path of a model; those of one's own (`tunedModels/x`) are written with their kind."""
    return quote(model if "/" in model else f"models/{model}", safe="/")


def lacks_key(endpoint: Endpoint, base: str) -> bool:
    """Whether Google would be called without a key."""
    named = {name.lower() for name in endpoint.headers}
    return base == GEMINI and endpoint.api_key is None and not named & {"authorization", "x-goog-api-key"}


def no_key(endpoint: Endpoint) -> AuthError:
    """The error for a call without a key."""
    return AuthError(
        f"No key for {GEMINI}: set GEMINI_API_KEY or pass api_key=. For another server pass api_base=.",
        model=f"gemini/{endpoint.model}",
    )


def own_headers(endpoint: Endpoint) -> Headers:
    """The key, in a header: in the address it would stand in logs."""
    return Headers({} if endpoint.api_key is None else {"x-goog-api-key": endpoint.api_key.reveal()})


def refined_error(
    endpoint: Endpoint, base: str, status: int, headers: Mapping[str, str], body: bytes
) -> LMError | None:
    """What Google tells in the details of a refusal: a wrong key (400), when to come back, a quota of the day (429)."""
    if status == 400 and re.search(_WRONG_KEY, body):
        return status_error(endpoint, 401, headers, body, base_url=base)
    if status != 429:
        return None
    details = _details(body)
    error = status_error(endpoint, status, headers, body, base_url=base)
    violations = [str(one) for detail in details for one in detail.get("violations") or ()]
    if any("PerDay" in one for one in violations):
        message = "The quota of the day is used up (429): see the plan and billing of the account."
        return RateLimited(message, retryable=False, retry_after=error.retry_after)
    waits = [found for detail in details if (found := re.fullmatch(_DELAY, str(detail.get("retryDelay", ""))))]
    if waits:
        error.retry_after = float(waits[0][1])
    return error


def _details(body: bytes) -> list[dict[str, Any]]:
    try:
        given = decode_json(body, _Body).error
    except ProtocolError:
        return []
    return (given.details if given else None) or []
