"""DSPy's path of traced runs."""

from dspex.engine.trace_data import FailedPrediction, TraceData, bootstrap_trace_data

__all__ = ["FailedPrediction", "TraceData", "bootstrap_trace_data"]
