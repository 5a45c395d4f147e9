"""DSPy's path of callbacks."""

from dspex.runtime.callbacks import ACTIVE_CALL_ID, BaseCallback

__all__ = ["ACTIVE_CALL_ID", "BaseCallback"]
