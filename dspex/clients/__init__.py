"""DSPy's path of what calls models."""

from dspex.app.cache import configure_cache
from dspex.app.logging import disable_litellm_logging, enable_litellm_logging
from dspex.clients.base_lm import BaseLM, inspect_history
from dspex.clients.cache import Cache
from dspex.clients.embedding import Embedder
from dspex.clients.lm import LM

__all__ = [
    "LM",
    "BaseLM",
    "Cache",
    "Embedder",
    "configure_cache",
    "disable_litellm_logging",
    "enable_litellm_logging",
    "inspect_history",
]
