"""What AWS tells otherwise than most: refused credentials, a model that failed (424), a quota of the day."""

import re
from collections.abc import Mapping

from dspex.plugin import AuthError, Endpoint, LMError, RateLimited, Unavailable, status_error

_OF_THE_DAY = rb"tokens per day"


def refined_error(
    endpoint: Endpoint, base_url: str, status: int, headers: Mapping[str, str], body: bytes
) -> LMError | None:
    """The error for a status and a body of Bedrock's."""
    error = status_error(endpoint, status, headers, body, base_url=base_url)
    kind = headers.get("x-amzn-errortype", "").partition(":")[0]
    if status in (401, 403) and endpoint.api_key is None:
        said = re.sub(r" (Set BEDROCK_API_KEY, or pass api_key=\.)$", "", error.message)
        return AuthError(f"{said} ({kind or status}) Is the model enabled in this region, and allowed to whom you are?")
    if status == 424:
        return Unavailable(error.message)
    if status == 429 and re.search(_OF_THE_DAY, body):
        return RateLimited("The tokens of the day are used up (429): see your account's quotas.", retryable=False)
    return error
