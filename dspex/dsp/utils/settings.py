"""DSPy's path of the settings."""

from collections.abc import Mapping
from typing import Any

from dspex.app.current import settings
from dspex.app.settings import DEFAULTS

__all__ = ["settings"]


def __getattr__(name: str) -> Any:
    if name != "DEFAULT_CONFIG":
        raise AttributeError(f"module 'dspex.dsp.utils.settings' has no attribute {name!r}")
    # As suites want it for `configure(**deepcopy(DEFAULT_CONFIG))`: a read-only mapping has no copy.
    return {setting: dict(value) if isinstance(value, Mapping) else value for setting, value in DEFAULTS.items()}
