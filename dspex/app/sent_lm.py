"""An LM as data that may leave this machine: which model it is and how it is called, and nothing that opens a door."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.app.fallback import Fallback
from dspex.app.lm import LM
from dspex.core.errors import ConfigurationError
from dspex.core.identity import plain
from dspex.core.wire import HttpLimits
from dspex.service.breaker import BreakerPolicy

# `max_tokens` and its like are counts.
_SECRET = re.compile(r"(^|_)(key|secret|token|password|passwd|credentials?|authorization)$", re.IGNORECASE)
_USER_IN_ADDRESS = re.compile(r"//[^/@]*@")
_HOW = ("model_type", "cache", "num_retries", "timeout", "hedge_after")


def lm_as_data(lm: Any) -> dict[str, Any]:
    """An LM without key and headers, as JSON data. Raises ConfigurationError for one that is more than data."""
    if type(lm) is Fallback:
        return {"fallback": [lm_as_data(one) for one in lm.lms]}
    if why := _stays(lm):
        raise ConfigurationError(f"{lm!r:.80} cannot be sent to an executor: {why}.")
    pace, policy = msgspec.structs.asdict(lm._terms.pace), lm._terms.breaker
    try:
        kwargs = plain(lm._given())
    except TypeError as error:
        raise ConfigurationError(f"{lm!r:.80} cannot be sent to an executor: {error} among its keywords.") from error
    return {
        "model": lm.model,
        "api_base": lm._connection.base_url,
        **{name: getattr(lm, name) for name in _HOW},
        **({"api_key": ""} if lm._connection.keyless else {}),  # it says that there is none
        **pace,
        "breaker": policy and msgspec.to_builtins(policy),
        "http_limits": msgspec.to_builtins(lm._terms.http),
        "kwargs": kwargs,
    }


def lm_of_data(data: Mapping[str, Any]) -> LM:
    """The LM of that data; its key is found where it is made, as that of any other."""
    if "fallback" in data:
        return Fallback(*map(lm_of_data, data["fallback"]))
    given = {name: value for name, value in data.items() if name not in ("kwargs", "breaker", "http_limits")}
    policy, limits = data["breaker"], msgspec.convert(data["http_limits"], HttpLimits)
    breaker = policy is not None and msgspec.convert(policy, BreakerPolicy)
    return LM(**given, breaker=breaker, http_limits=limits, **data["kwargs"])


def _stays(lm: Any) -> str:
    """Why an LM cannot leave, or nothing."""
    if type(lm) is not LM or lm._provider is not None:
        return "it is an object of this process; name a model, as dspex.LM('openai/gpt-4o-mini')"
    if lm._connection.headers:
        return (
            "its headers may hold a key, and keys never travel; let the worker's environment or a secret source have it"
        )
    if _USER_IN_ADDRESS.search(lm._connection.base_url or ""):
        return "its address has a user's name and password in it"
    if found := next(filter(_SECRET.search, lm._given()), None):
        return f"its {found!r} looks like a key, and keys never travel; let the worker's environment have it"
    if lm.retry is not None:
        return "its `retry` is an object of this process; use num_retries"
    return "its calls are answered in batches, which the coordinator has to know" if lm.dispatch != "live" else ""
