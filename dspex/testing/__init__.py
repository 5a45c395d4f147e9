"""Floor 9: what tests of programs and plugins need; importing it needs no test tool."""

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex.runtime.callbacks import BaseCallback
    from dspex.testing.adapter_contract import AdapterContract
    from dspex.testing.apps import own_app
    from dspex.testing.asking import ask, pieces
    from dspex.testing.cache_contract import CacheContract
    from dspex.testing.command_contract import CommandContract
    from dspex.testing.dummies import DummyLM, DummyVectorizer, ScriptedProvider, dummy_rm, reset
    from dspex.testing.embedding_contract import EmbeddingContract
    from dspex.testing.embedding_provider_contract import EmbeddingProviderContract
    from dspex.testing.executor_contract import ExecutorContract
    from dspex.testing.fault_server import FaultServer
    from dspex.testing.faults import FAULTS, Fault, Step, StreamForm
    from dspex.testing.lm_asks import ASKS, Ask
    from dspex.testing.lm_contract import LMInProcessContract
    from dspex.testing.lm_provider_contract import LMProviderContract
    from dspex.testing.middleware_contract import MiddlewareContract
    from dspex.testing.optimizer_contract import OptimizerContract
    from dspex.testing.quick_clock import QuickClock
    from dspex.testing.recordings import PlayedHttp, Recording
    from dspex.testing.retriever_contract import RetrieverContract
    from dspex.testing.sandbox_contract import SandboxBehaviour, SandboxContract
    from dspex.testing.secret_source_contract import SecretSourceContract
    from dspex.testing.subscriber_contract import SubscriberContract
    from dspex.testing.virtual_time import Deadlock, VirtualClock, VirtualLoop, simulate
    from dspex.testing.wire_mock import WireMock, WireMockMissing
    from dspex.testing.wire_mock_contract import MOCKED, WireMockContract

__all__ = [
    "ASKS",
    "FAULTS",
    "MOCKED",
    "AdapterContract",
    "Ask",
    "BaseCallback",
    "CacheContract",
    "CommandContract",
    "Deadlock",
    "DummyLM",
    "DummyVectorizer",
    "EmbeddingContract",
    "EmbeddingProviderContract",
    "ExecutorContract",
    "Fault",
    "FaultServer",
    "LMInProcessContract",
    "LMProviderContract",
    "MiddlewareContract",
    "OptimizerContract",
    "PlayedHttp",
    "QuickClock",
    "Recording",
    "RetrieverContract",
    "SandboxBehaviour",
    "SandboxContract",
    "ScriptedProvider",
    "SecretSourceContract",
    "Step",
    "StreamForm",
    "SubscriberContract",
    "VirtualClock",
    "VirtualLoop",
    "WireMock",
    "WireMockContract",
    "WireMockMissing",
    "ask",
    "dummy_rm",
    "own_app",
    "pieces",
    "reset",
    "simulate",
]

_DUMMIES, _TIME = "dspex.testing.dummies", "dspex.testing.virtual_time"
_HOMES = MappingProxyType(
    {
        **dict.fromkeys(["DummyLM", "DummyVectorizer", "ScriptedProvider", "dummy_rm", "reset"], _DUMMIES),
        **dict.fromkeys(["Deadlock", "VirtualClock", "VirtualLoop", "simulate"], _TIME),
        **dict.fromkeys(["FAULTS", "Fault", "Step", "StreamForm"], "dspex.testing.faults"),
        **dict.fromkeys(["SandboxBehaviour", "SandboxContract"], "dspex.testing.sandbox_contract"),
        **dict.fromkeys(["WireMock", "WireMockMissing"], "dspex.testing.wire_mock"),
        **dict.fromkeys(["MOCKED", "WireMockContract"], "dspex.testing.wire_mock_contract"),
        **dict.fromkeys(["ask", "pieces"], "dspex.testing.asking"),
        "AdapterContract": "dspex.testing.adapter_contract",
        "BaseCallback": "dspex.runtime.callbacks",
        "CacheContract": "dspex.testing.cache_contract",
        "CommandContract": "dspex.testing.command_contract",
        "EmbeddingContract": "dspex.testing.embedding_contract",
        "EmbeddingProviderContract": "dspex.testing.embedding_provider_contract",
        "ExecutorContract": "dspex.testing.executor_contract",
        "FaultServer": "dspex.testing.fault_server",
        "RetrieverContract": "dspex.testing.retriever_contract",
        **dict.fromkeys(["ASKS", "Ask"], "dspex.testing.lm_asks"),
        "own_app": "dspex.testing.apps",
        **dict.fromkeys(["PlayedHttp", "Recording"], "dspex.testing.recordings"),
        "QuickClock": "dspex.testing.quick_clock",
        "LMInProcessContract": "dspex.testing.lm_contract",
        "LMProviderContract": "dspex.testing.lm_provider_contract",
        "MiddlewareContract": "dspex.testing.middleware_contract",
        "OptimizerContract": "dspex.testing.optimizer_contract",
        "SecretSourceContract": "dspex.testing.secret_source_contract",
        "SubscriberContract": "dspex.testing.subscriber_contract",
    }
)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'dspex.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value
