"""Who asks: a Bedrock API key, or AWS's credentials, by which a request is signed; and where."""

import asyncio
import os
import time
from typing import Any, Protocol

from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from yarl import URL

from dspex.plugin import AuthError, ConfigurationError, Endpoint, Headers, Secret
from dspex_bedrock.options import BedrockEmbedderOptions, BedrockOptions
from dspex_bedrock.signature import Keys, Signature

BEARER = "AWS_BEARER_TOKEN_BEDROCK"
_JSON = {"content-type": "application/json"}


class Signer(Protocol):
    """Gives a request the headers that say who asks."""

    async def headers(self, url: str, body: bytes) -> Headers:
        """All headers of one request. Raises AuthError."""


class KeySigner:
    """A Bedrock API key, the same for every request."""

    def __init__(self, key: Secret) -> None:
        self._headers = Headers({**_JSON, "authorization": f"Bearer {key.reveal()}"})

    async def headers(self, url: str, body: bytes) -> Headers:
        """Always the same."""
        return self._headers


class AwsSigner:
    """AWS's credentials, wherever its chain finds them: variables, profiles, single sign-on, roles of the machine."""

    def __init__(self, profile: str | None, region: str) -> None:
        self._profile = profile
        self._signature = Signature(region)
        self._credentials: Any = None
        self._written = (0, "")  # a second, and how it is written

    async def headers(self, url: str, body: bytes) -> Headers:
        """The headers of one request, signed for it and the present time."""
        found = await self._current()
        keys = Keys(found.access_key, found.secret_key, found.token)
        return self._signature.headers(url, body, self._now(int(time.time())), keys)

    def _now(self, second: int) -> str:
        last, text = self._written
        if last != second:
            text = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._written = (second, text)
        return text

    async def _current(self) -> Any:
        """The credentials; found, and renewed, in a thread, as botocore may ask over the network for them."""
        found = self._credentials
        if found is None:
            found = self._credentials = await asyncio.to_thread(self._found)
        if type(found) is Credentials or not found.refresh_needed():
            return found.get_frozen_credentials()
        return await asyncio.to_thread(self._frozen)

    def _found(self) -> Any:
        try:
            found = Session(profile=self._profile).get_credentials()
        except BotoCoreError as error:
            raise AuthError(f"AWS's credentials cannot be had: {error}") from error
        if found is None:
            raise AuthError(
                "No credentials for Bedrock: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile= of your AWS "
                f"configuration, or set {BEARER} to a Bedrock API key."
            )
        return found

    def _frozen(self) -> Any:
        try:
            return self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise AuthError(f"AWS's credentials cannot be renewed: {error}") from error


class Place:
    """Where a region's Bedrock is, and who asks there. Raises ConfigurationError where no region is named."""

    def __init__(self, endpoint: Endpoint, options: BedrockOptions | BedrockEmbedderOptions) -> None:
        given = endpoint.base_url or os.environ.get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME")
        bearer = os.environ.get(BEARER)
        self.key = endpoint.api_key or (Secret(bearer, f"the environment variable {BEARER}") if bearer else None)
        region = options.region or os.environ.get("AWS_REGION")
        if region is None and (given is None or self.key is None):
            region = _configured(options.profile)
        if region is None and given is None:
            raise ConfigurationError(
                "bedrock: name a region, as dspex.LM(..., region='us-east-1'), in AWS_REGION or in your AWS configuration."
            )
        self.base_url = (given or f"https://bedrock-runtime.{region}.amazonaws.com").rstrip("/")
        self.signer: Signer = KeySigner(self.key) if self.key else AwsSigner(options.profile, region or "us-east-1")

    def url(self, model: str, action: str) -> str:
        """The address of an action, written as it will be sent: what is signed is the text."""
        escaped = model.replace("%", "%25").replace("/", "%2F")
        return str(URL(f"{self.base_url}/model/{escaped}/{action}"))


def _configured(profile: str | None) -> str | None:
    """The region of the user's AWS configuration."""
    try:
        region: str | None = Session(profile=profile).get_config_variable("region")
    except BotoCoreError as error:
        raise ConfigurationError(f"bedrock: the AWS profile {profile!r} cannot be read: {error}") from error
    return region
