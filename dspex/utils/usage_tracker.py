"""DSPy's path of what counts usage."""

from dspex.app.accounting import UsageTracker, track_usage

__all__ = ["UsageTracker", "track_usage"]
