"""From an endpoint to its provider: by the service's preset, and by the API that its `model_type` names."""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from dspex.plugin import BadRequest, BatchSpec, Capabilities, Endpoint, HttpClient, LMDelta, LMRequest, LMResponse
from dspex_openai.azure import AzureHttp, AzurePlace
from dspex_openai.embedder import OpenAIEmbedder
from dspex_openai.options import AzureEmbedderOptions, AzureOptions, EmbedderOptions, ModelType, read_as, read_options
from dspex_openai.presets import PRESETS, Preset
from dspex_openai.provider import OpenAIProvider
from dspex_openai.responses import ResponsesProvider
from dspex_openai.texts import TextProvider

AnyProvider = OpenAIProvider | ResponsesProvider | TextProvider

_OPENAI, _AZURE = Preset("OpenAI", batches="openai"), Preset("Azure", batches="azure")


def make_lm(endpoint: Endpoint, http: HttpClient) -> Any:
    """The provider of a model at OpenAI, or at one of PRESETS."""
    preset = PRESETS.get(endpoint.provider, _OPENAI)
    placed = _placed(endpoint, preset)
    provider = _provider(placed, http, read_options(placed.options).model_type, preset)
    known = preset.capabilities or provider.capabilities
    if known is not None or endpoint.provider in PRESETS:
        has_batches = hasattr(provider, "batch_start")
        provider.capabilities = msgspec.structs.replace(known or Capabilities(), batch=has_batches)
    return Adapted(provider, preset) if preset.renamed or preset.lacking else provider


def make_embedder(endpoint: Endpoint, http: HttpClient) -> OpenAIEmbedder:
    """The embedder of a model at OpenAI, or at one of PRESETS."""
    placed = _placed(endpoint, PRESETS.get(endpoint.provider, _OPENAI), takes_options=False)
    return OpenAIEmbedder(placed, http, read_as(placed.options, EmbedderOptions))


def make_azure_lm(endpoint: Endpoint, http: HttpClient) -> AnyProvider:
    """The provider of a deployment at Azure."""
    options = read_as(endpoint.options, AzureOptions)
    place = AzurePlace(endpoint, options.api_version)
    ours = {"stream_usage": options.stream_usage, "model_type": options.model_type}
    placed = msgspec.structs.replace(endpoint, base_url=place.base_url, options=ours)
    return _provider(
        placed, AzureHttp(http, place, endpoint, place.base_url, options.token), options.model_type, _AZURE
    )


def make_azure_embedder(endpoint: Endpoint, http: HttpClient) -> OpenAIEmbedder:
    """The embedder of a deployment at Azure."""
    options = read_as(endpoint.options, AzureEmbedderOptions)
    place = AzurePlace(endpoint, options.api_version)
    encoding = "base64" if options.encoding == "auto" else options.encoding
    placed = msgspec.structs.replace(endpoint, base_url=place.base_url)
    ours = EmbedderOptions(options.dimensions, encoding)
    return OpenAIEmbedder(placed, AzureHttp(http, place, endpoint, place.base_url, options.token), ours)


def _provider(placed: Endpoint, http: HttpClient, model_type: ModelType, preset: Preset) -> AnyProvider:
    if model_type == "chat":
        return OpenAIProvider(placed, http, preset.batches, preset.shape)
    return ResponsesProvider(placed, http) if model_type == "responses" else TextProvider(placed, http)


def _placed(endpoint: Endpoint, preset: Preset, *, takes_options: bool = True) -> Endpoint:
    """The endpoint with what its preset has beside what the user gave."""
    given = endpoint.base_url or next(filter(None, map(os.environ.get, preset.base_from)), None) or preset.base_url
    options = {**preset.options, **endpoint.options} if takes_options else endpoint.options
    return msgspec.structs.replace(endpoint, base_url=given, options=options)


class Adapted:
    """A provider whose service has other names for some parameters, and none for others."""

    def __init__(self, provider: AnyProvider, preset: Preset) -> None:
        self._provider = provider
        self._preset = preset
        self.base_url = provider.base_url
        given: Any = provider
        if hasattr(provider, "batch_start"):
            self.batch_start = self._batch_start
            self.batch_status, self.batch_results = given.batch_status, given.batch_results
            self.batch_cancel = given.batch_cancel

    @property
    def capabilities(self) -> Capabilities | None:
        """Those of the provider."""
        return self._provider.capabilities

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes."""
        return await self._provider.complete(self._adapted(request))

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply in pieces. Raises LMError classes."""
        coming: Any = self._provider.stream(self._adapted(request))
        async with aclosing(coming) as deltas:
            async for delta in deltas:
                yield delta

    async def _batch_start(self, spec: BatchSpec) -> str:
        adapted = {name: self._adapted(request) for name, request in spec.requests.items()}
        given: Any = self._provider
        batch: str = await given.batch_start(BatchSpec(adapted, spec.key))
        return batch

    def _adapted(self, request: LMRequest) -> LMRequest:
        given, preset = request.params, self._preset
        for name in preset.lacking.keys() & given.keys():
            raise BadRequest(f"{preset.summary} has no {name!r} (capability: {preset.lacking[name]}).")
        if given.keys().isdisjoint(preset.renamed):
            return request
        params = {preset.renamed.get(name, name): value for name, value in given.items()}
        return msgspec.structs.replace(request, params=params)
