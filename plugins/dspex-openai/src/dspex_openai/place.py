"""Where an endpoint of OpenAI's API is, and what it is shown: what its APIs other than chat completions have in common."""

import os

from dspex.plugin import AuthError, Endpoint, Headers
from dspex_openai.options import OpenAIOptions
from dspex_openai.provider import OPENAI


def base_of(endpoint: Endpoint) -> str:
    """The address: the user's, else OPENAI_BASE_URL, else OpenAI's."""
    return (endpoint.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")


def own_headers(endpoint: Endpoint, options: OpenAIOptions | None = None) -> Headers:
    """The key, and whom OpenAI bills."""
    headers = {} if endpoint.api_key is None else {"authorization": f"Bearer {endpoint.api_key.reveal()}"}
    if options is not None and options.organization:
        headers["openai-organization"] = options.organization
    if options is not None and options.project:
        headers["openai-project"] = options.project
    return Headers(headers)


def lacks_key(endpoint: Endpoint, base: str) -> bool:
    """Whether OpenAI would be called without a key."""
    named = {name.lower() for name in endpoint.headers}
    return base == OPENAI and endpoint.api_key is None and "authorization" not in named


def no_key(endpoint: Endpoint) -> AuthError:
    """The error for a call without a key."""
    return AuthError(
        f"No key for {OPENAI}: set OPENAI_API_KEY or pass api_key=. For another server pass api_base=.",
        model=f"openai/{endpoint.model}",
    )
