"""Floor 9: what tests of programs and plugins need; importing it needs no test tool."""

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex.runtime.callbacks import BaseCallback
    from dspex.testing.cache_contract import CacheContract
    from dspex.testing.dummies import DummyLM, DummyVectorizer, ScriptedProvider, reset
    from dspex.testing.fault_server import FaultServer
    from dspex.testing.faults import FAULTS, Fault, Step, StreamForm
    from dspex.testing.lm_asks import ASKS, Ask
    from dspex.testing.lm_contract import LMInProcessContract
    from dspex.testing.lm_provider_contract import LMProviderContract
    from dspex.testing.optimizer_contract import OptimizerContract
    from dspex.testing.recordings import PlayedHttp, Recording
    from dspex.testing.sandbox_contract import SandboxBehaviour, SandboxContract
    from dspex.testing.virtual_time import Deadlock, VirtualClock, VirtualLoop, simulate
    from dspex.testing.wire_mock import WireMock, WireMockMissing

__all__ = [
    "ASKS",
    "FAULTS",
    "Ask",
    "BaseCallback",
    "CacheContract",
    "Deadlock",
    "DummyLM",
    "DummyVectorizer",
    "Fault",
    "FaultServer",
    "LMInProcessContract",
    "LMProviderContract",
    "OptimizerContract",
    "PlayedHttp",
    "Recording",
    "SandboxBehaviour",
    "SandboxContract",
    "ScriptedProvider",
    "Step",
    "StreamForm",
    "VirtualClock",
    "VirtualLoop",
    "WireMock",
    "WireMockMissing",
    "reset",
    "simulate",
]

_DUMMIES, _TIME = "dspex.testing.dummies", "dspex.testing.virtual_time"
_HOMES = MappingProxyType(
    {
        **dict.fromkeys(["DummyLM", "DummyVectorizer", "ScriptedProvider", "reset"], _DUMMIES),
        **dict.fromkeys(["Deadlock", "VirtualClock", "VirtualLoop", "simulate"], _TIME),
        **dict.fromkeys(["FAULTS", "Fault", "Step", "StreamForm"], "dspex.testing.faults"),
        **dict.fromkeys(["SandboxBehaviour", "SandboxContract"], "dspex.testing.sandbox_contract"),
        **dict.fromkeys(["WireMock", "WireMockMissing"], "dspex.testing.wire_mock"),
        "BaseCallback": "dspex.runtime.callbacks",
        "CacheContract": "dspex.testing.cache_contract",
        "FaultServer": "dspex.testing.fault_server",
        **dict.fromkeys(["ASKS", "Ask"], "dspex.testing.lm_asks"),
        **dict.fromkeys(["PlayedHttp", "Recording"], "dspex.testing.recordings"),
        "LMInProcessContract": "dspex.testing.lm_contract",
        "LMProviderContract": "dspex.testing.lm_provider_contract",
        "OptimizerContract": "dspex.testing.optimizer_contract",
    }
)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'dspex.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value
