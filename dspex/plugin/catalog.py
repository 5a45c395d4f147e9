"""Which first-party package offers which name, so that an error can say what to install."""

from types import MappingProxyType

KIND_WORDS = MappingProxyType(
    {
        "lm_providers": "LM provider",
        "embedders": "embedder",
        "retrievers": "retriever",
        "caches": "cache",
        "optimizers": "optimizer",
        "adapters": "adapter",
        "executors": "executor",
        "sandboxes": "sandbox",
        "middleware": "middleware",
        "subscribers": "subscriber",
        "secret_sources": "secret source",
        "commands": "command",
    }
)

OWN_ADAPTERS = ("chat", "json", "xml", "plain")
OWN_COMMANDS = frozenset({"diff", "show", "doctor", "gate", "plugin", "plugins", "run", "runs"})

# What dspex-openai offers beside "openai": as models, and of these as embedders.
_OPENAI = tuple("azure hosted_vllm llama_server lm_studio mistral openrouter together together_ai vllm".split())
_OPENAI_MODELS = ("deepseek", "groq", "xai", *_OPENAI)

PACKAGES = MappingProxyType(
    {
        ("lm_providers", "anthropic"): "dspex-anthropic",
        ("lm_providers", "bedrock"): "dspex-bedrock",
        ("lm_providers", "gemini"): "dspex-gemini",
        ("lm_providers", "litellm"): "dspex-litellm",
        ("lm_providers", "llamacpp"): "dspex-llamacpp",
        ("lm_providers", "ollama"): "dspex-ollama",
        ("lm_providers", "ollama_chat"): "dspex-ollama",
        ("lm_providers", "openai"): "dspex-openai",
        ("lm_providers", "vertex_ai"): "dspex-gemini",
        **{("lm_providers", name): "dspex-openai" for name in _OPENAI_MODELS},
        ("embedders", "bedrock"): "dspex-bedrock",
        ("embedders", "gemini"): "dspex-gemini",
        ("embedders", "litellm"): "dspex-litellm",
        ("embedders", "llamacpp"): "dspex-llamacpp",
        ("embedders", "minilm"): "dspex-minilm",
        ("embedders", "ollama"): "dspex-ollama",
        ("embedders", "openai"): "dspex-openai",
        ("embedders", "vertex_ai"): "dspex-gemini",
        **{("embedders", name): "dspex-openai" for name in _OPENAI},
        ("retrievers", "bm25"): "dspex-bm25",
        ("retrievers", "chroma"): "dspex-chroma",
        ("retrievers", "lancedb"): "dspex-lancedb",
        ("retrievers", "pgvector"): "dspex-pgvector",
        ("retrievers", "qdrant"): "dspex-qdrant",
        ("retrievers", "vectors"): "dspex-vectors",
        ("caches", "default"): "dspex-cache",
        ("caches", "memory"): "dspex-cache",
        ("caches", "redis"): "dspex-redis",
        ("caches", "sqlite"): "dspex-cache",
        ("caches", "tiered"): "dspex-cache",
        ("optimizers", "BetterTogether"): "dspex-optimizers",
        ("optimizers", "BootstrapFewShot"): "dspex-optimizers",
        ("optimizers", "BootstrapFewShotWithOptuna"): "dspex-mipro",
        ("optimizers", "BootstrapFewShotWithRandomSearch"): "dspex-optimizers",
        ("optimizers", "BootstrapFinetune"): "dspex-optimizers",
        ("optimizers", "BootstrapRS"): "dspex-optimizers",
        ("optimizers", "COPRO"): "dspex-optimizers",
        ("optimizers", "Ensemble"): "dspex-optimizers",
        ("optimizers", "GEPA"): "dspex-gepa",
        ("optimizers", "InferRules"): "dspex-optimizers",
        ("optimizers", "KNNFewShot"): "dspex-optimizers",
        ("optimizers", "LabelCalibration"): "dspex-optimizers",
        ("optimizers", "LabeledFewShot"): "dspex-optimizers",
        ("optimizers", "MIPROv2"): "dspex-mipro",
        ("optimizers", "SIMBA"): "dspex-optimizers",
        ("optimizers", "StrategyRace"): "dspex-optimizers",
        ("executors", "processes"): "dspex-processes",
        ("sandboxes", "bwrap"): "dspex-bwrap",
        ("sandboxes", "monty"): "dspex-monty",
        ("commands", "cache"): "dspex-cache",
        ("commands", "demo"): "dspex[demo]",
        ("commands", "mcp"): "dspex-mcp",
        ("commands", "ollama"): "dspex-ollama",
    }
)


# Who passes calls on to services that no plugin here is for: the models of NAME are its NAME/MODEL.
BRIDGE = "litellm"


def bridge_hint(kind: str, name: str, asked: str, *, is_installed: bool) -> str:
    """How a service that no package here is for can be reached, else an empty string; `asked` is as the error names it."""
    if (kind, BRIDGE) not in PACKAGES or (kind, name) in PACKAGES:
        return ""
    whole = asked.replace(f"'{name}/", f"'{BRIDGE}/{name}/", 1)
    wanted = whole if whole != asked else f"'{BRIDGE}/{name}/MODEL'"
    needs = "" if is_installed else f', after pip install "{PACKAGES[kind, BRIDGE]}"'
    return f"It may be one of those that LiteLLM reaches: {wanted}{needs}."


def offered(kind: str) -> list[str]:
    """The names that first-party packages offer."""
    return [name for one, name in PACKAGES if one == kind]


def install_hint(kind: str, name: str) -> str:
    """`Install it: pip install ...` for a name that a first-party package offers, else an empty string."""
    package = PACKAGES.get((kind, name))
    return f'Install it: pip install "{package}".' if package else ""
