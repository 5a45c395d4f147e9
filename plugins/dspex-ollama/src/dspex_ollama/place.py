"""Where Ollama is, what it is shown, and what its refusals mean: what models and embedders have in common."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches

import msgspec

from dspex.plugin import (
    BadRequest,
    ContextWindowExceeded,
    Endpoint,
    Headers,
    HttpClient,
    LMError,
    Unavailable,
    decode_json,
    status_error,
)

OLLAMA = "http://127.0.0.1:11434"
NOT_PULLED = "model_not_found"
_NO_MODEL = rb"model .{0,200}not found|try pulling it"
_NO_MEMORY = rb"requires more system memory|out of memory"


class WireModel(msgspec.Struct):
    """A model that is installed."""

    name: str = ""


class WireModels(msgspec.Struct):
    """The models that are installed."""

    models: list[WireModel] | None = None


def base_url(endpoint: Endpoint) -> str:
    """The address without a path: the user's, else OLLAMA_HOST as Ollama itself reads it, else this machine."""
    given = endpoint.base_url or _host(os.environ.get("OLLAMA_HOST", "")) or OLLAMA
    return re.sub(r"/(v1|api)?/*$", "", given)


def _host(given: str) -> str:
    if not given:
        return ""
    scheme, mark, rest = given.partition("://")
    host = rest if mark else given
    if not re.search(r":\d+$", host.rstrip("/")) and not mark:
        host = f"{host}:11434"
    # What a server may listen on is not what a client can call.
    return f"{scheme if mark else 'http'}://{host.replace('0.0.0.0', '127.0.0.1', 1)}"  # noqa: S104  read, not bound


def own_headers(endpoint: Endpoint) -> Headers:
    """The key, for Ollama's cloud or a proxy that asks for one."""
    return Headers({} if endpoint.api_key is None else {"authorization": f"Bearer {endpoint.api_key.reveal()}"})


def refined_error(
    endpoint: Endpoint, base: str, status: int, headers: Mapping[str, str], body: bytes
) -> LMError | None:
    """What Ollama tells by words only: a model that is not there, or does not fit into memory."""
    if status == 404 and re.search(_NO_MODEL, body):
        message = f"Ollama at {base} has no model {endpoint.model!r}. Get it by `ollama pull {endpoint.model}`."
        return BadRequest(message, code=NOT_PULLED)
    error = status_error(endpoint, status, headers, body, base_url=base)
    if isinstance(error, ContextWindowExceeded):
        return ContextWindowExceeded(f"{error.message} A larger num_ctx takes more, as dspex.LM(..., num_ctx=16384).")
    if status == 500 and re.search(_NO_MEMORY, body):
        return Unavailable(f"{error.message} A smaller model, or a smaller num_ctx, needs less.", retryable=False)
    return None


async def installed(http: HttpClient, base: str, headers: Headers) -> list[str]:
    """Names of the models that are installed. Raises LMError classes."""
    reply = await http.request("GET", f"{base}/api/tags", headers=headers)
    return [model.name for model in decode_json(reply.body, WireModels).models or ()]


async def explain(error: BadRequest, endpoint: Endpoint, http: HttpClient, base: str, headers: Headers) -> None:
    """Add to the error for a model that is not there what is there instead."""
    if error.code != NOT_PULLED:
        return
    try:
        names = await installed(http, base, headers)
    except LMError:
        return
    near = get_close_matches(endpoint.model, names, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    error.message += f"{meant} Installed: {', '.join(names[:20]) or 'none'}."
    error.args = (error.message,)
