"""Services that speak OpenAI's API, as data: a line here is a provider."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.plugin import Capabilities
from dspex_openai.shapes import to_mistrals, with_strict_routing, with_thoughts


class Preset(msgspec.Struct, frozen=True):
    """One service.

    `base_url` stands where the user gives none, and no variable of `base_from` is set; without either it must be given.
    `options` are defaults of OpenAIOptions. `renamed` and `lacking` are parameters that the service knows by another name, or
    refuses; each of the latter with the capability that it would take. `embeds`: it makes embeddings, too. `batches`: whose batch
    API it has, of BATCH_FORMS or "xai"; None for one that has none, or one by another way than a file. `shape` changes the body
    of a request to what else the service wants.
    """

    summary: str
    base_url: str | None = None
    base_from: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    renamed: Mapping[str, str] = {}
    lacking: Mapping[str, str] = {}
    capabilities: Capabilities | None = None
    embeds: bool = False
    batches: str | None = None
    shape: Callable[[dict[str, Any]], None] | None = None


def _lacks(*names: str) -> Mapping[str, str]:
    return MappingProxyType({name: name for name in names})


_VLLM = Preset(
    "vLLM's server",
    "http://127.0.0.1:8000/v1",
    ("HOSTED_VLLM_API_BASE", "VLLM_API_BASE"),
    MappingProxyType({"server": "vllm"}),
    embeds=True,
)
_TOGETHER = Preset(
    "Together AI", "https://api.together.xyz/v1", ("TOGETHER_API_BASE",), embeds=True, batches="together"
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "deepseek": Preset(
            "DeepSeek",
            "https://api.deepseek.com/v1",
            ("DEEPSEEK_API_BASE",),
            lacking=_lacks("logit_bias", "seed"),
            # Its JSON mode knows no schema.
            capabilities=Capabilities(chat=True, stream=True, n=False, json_schema=False, tools=True, grammar=False),
            shape=with_thoughts,
        ),
        "groq": Preset(
            "Groq",
            "https://api.groq.com/openai/v1",
            ("GROQ_API_BASE",),
            lacking=_lacks("logit_bias", "logprobs", "top_logprobs"),
            capabilities=Capabilities(chat=True, stream=True, n=False, logprobs=False, grammar=False),
            batches="openai",
        ),
        "hosted_vllm": _VLLM,
        "llama_server": Preset(
            "llama.cpp's server",
            "http://127.0.0.1:8080/v1",
            ("LLAMA_SERVER_API_BASE",),
            MappingProxyType({"server": "llamacpp"}),
            embeds=True,
        ),
        "lm_studio": Preset("LM Studio", "http://127.0.0.1:1234/v1", ("LM_STUDIO_API_BASE",), embeds=True),
        "mistral": Preset(
            "Mistral AI",
            "https://api.mistral.ai/v1",
            ("MISTRAL_API_BASE",),
            # It refuses fields that it does not know, and counts a stream's tokens unasked.
            MappingProxyType({"stream_usage": False}),
            MappingProxyType({"seed": "random_seed", "max_completion_tokens": "max_tokens"}),
            _lacks("logit_bias", "logprobs", "top_logprobs", "user"),
            Capabilities(chat=True, stream=True, json_schema=True, tools=True, logprobs=False, grammar=False),
            embeds=True,
            batches="mistral",
            shape=to_mistrals,
        ),
        "openrouter": Preset(
            "OpenRouter",
            "https://openrouter.ai/api/v1",
            ("OPENROUTER_API_BASE",),
            embeds=True,
            shape=with_strict_routing,
        ),
        "together": _TOGETHER,
        "together_ai": _TOGETHER,
        "vllm": _VLLM,
        "xai": Preset(
            "xAI",
            "https://api.x.ai/v1",
            ("XAI_API_BASE",),
            lacking=_lacks("logit_bias"),
            capabilities=Capabilities(chat=True, stream=True, json_schema=True, tools=True, grammar=False),
            batches="xai",
        ),
    }
)
